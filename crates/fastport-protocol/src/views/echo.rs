//! Views of the echo messages.

use bytes::BufMut;

use super::{HEADER, list_header, merge_header, sign_extended};
use crate::codec::{Decode, Encode};
use crate::commons::Header;
use crate::error::{DecodeError, EncodeError};
use crate::tests::{EchoRequest, EchoResponse};
use crate::wire::{FieldReader, FieldSink, Fields, encode_fields, fields_len};

/// An [`EchoRequest`] that borrows its content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EchoRequestView<'a> {
    /// Names the request.
    pub header: Option<Header>,
    /// Any bytes.
    pub data: &'a [u8],
    /// Any text, independent of `data`.
    pub data_str: &'a str,
}

impl<'a> Decode<'a> for EchoRequestView<'a> {
    fn decode_from(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut view = Self::default();
        let mut fields = FieldReader::new(payload);
        while let Some(key) = fields.next_key()? {
            match key.field {
                HEADER => merge_header(&mut view.header, fields.message(key)?)?,
                2 => view.data = fields.bytes(key)?,
                3 => view.data_str = fields.string(key)?,
                _ => fields.skip(key)?,
            }
        }
        Ok(view)
    }
}

impl Fields for EchoRequestView<'_> {
    fn list(&self, sink: &mut impl FieldSink) {
        list_header(self.header, sink);
        sink.bytes(2, self.data);
        sink.bytes(3, self.data_str.as_bytes());
    }
}

impl Encode for EchoRequestView<'_> {
    fn wire_len(&self) -> usize {
        fields_len(self)
    }

    fn encode_into(&self, buffer: &mut impl BufMut) -> Result<(), EncodeError> {
        encode_fields(self, buffer)
    }
}

impl<'a> From<&'a EchoRequest> for EchoRequestView<'a> {
    fn from(message: &'a EchoRequest) -> Self {
        Self { header: message.header, data: &message.data, data_str: &message.data_str }
    }
}

/// An [`EchoResponse`] that borrows its content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EchoResponseView<'a> {
    /// The header of the request with `request_id + 1`.
    pub header: Option<Header>,
    /// How the request fared: a [`ResultCode`](crate::commons::ResultCode), or a number that this
    /// version does not know.
    pub result: i32,
    /// The bytes of the request.
    pub data: &'a [u8],
    /// The text of the request.
    pub data_str: &'a str,
}

impl<'a> Decode<'a> for EchoResponseView<'a> {
    fn decode_from(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut view = Self::default();
        let mut fields = FieldReader::new(payload);
        while let Some(key) = fields.next_key()? {
            match key.field {
                HEADER => merge_header(&mut view.header, fields.message(key)?)?,
                2 => view.result = fields.uint64(key)? as i32,
                3 => view.data = fields.bytes(key)?,
                4 => view.data_str = fields.string(key)?,
                _ => fields.skip(key)?,
            }
        }
        Ok(view)
    }
}

impl Fields for EchoResponseView<'_> {
    fn list(&self, sink: &mut impl FieldSink) {
        list_header(self.header, sink);
        sink.uint64(2, sign_extended(self.result));
        sink.bytes(3, self.data);
        sink.bytes(4, self.data_str.as_bytes());
    }
}

impl Encode for EchoResponseView<'_> {
    fn wire_len(&self) -> usize {
        fields_len(self)
    }

    fn encode_into(&self, buffer: &mut impl BufMut) -> Result<(), EncodeError> {
        encode_fields(self, buffer)
    }
}

impl<'a> From<&'a EchoResponse> for EchoResponseView<'a> {
    fn from(message: &'a EchoResponse) -> Self {
        Self { header: message.header, result: message.result, data: &message.data, data_str: &message.data_str }
    }
}
