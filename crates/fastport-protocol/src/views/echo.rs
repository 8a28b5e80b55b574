//! Views of the echo messages.

use super::{HEADER_KEY, list_header, merged_header, sign_extended};
use crate::codec::Decode;
use crate::commons::Header;
use crate::error::DecodeError;
use crate::tests::{EchoRequest, EchoResponse};
use crate::wire::{FieldReader, FieldWriter, Fields, Key};

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
    #[inline]
    fn decode_from(payload: &'a [u8]) -> Result<Self, DecodeError> {
        const DATA: Key = Key::content(2);
        const DATA_STR: Key = Key::content(3);

        // Fields by themselves stay in registers, which a view in the making would not.
        let Self { mut header, mut data, mut data_str } = Self::default();
        let mut fields = FieldReader::new(payload);
        while let Some(key) = fields.next_key()? {
            match key {
                HEADER_KEY => header = Some(merged_header(header, fields.message()?)?),
                DATA => data = fields.content()?,
                DATA_STR => data_str = fields.string(3)?,
                _ => fields.skip(key, 3)?,
            }
        }
        Ok(Self { header, data, data_str })
    }
}

impl Fields for EchoRequestView<'_> {
    #[inline]
    fn list(&self, writer: &mut FieldWriter<'_>) {
        list_header(self.header, writer);
        writer.bytes(2, self.data);
        writer.bytes(3, self.data_str.as_bytes());
    }

    #[inline]
    fn content_bytes(&self) -> usize {
        self.data.len() + self.data_str.len()
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
    #[inline]
    fn decode_from(payload: &'a [u8]) -> Result<Self, DecodeError> {
        const RESULT: Key = Key::integer(2);
        const DATA: Key = Key::content(3);
        const DATA_STR: Key = Key::content(4);

        let mut view = Self::default();
        let mut fields = FieldReader::new(payload);
        while let Some(key) = fields.next_key()? {
            match key {
                HEADER_KEY => view.header = Some(merged_header(view.header, fields.message()?)?),
                RESULT => view.result = fields.integer()? as i32,
                DATA => view.data = fields.content()?,
                DATA_STR => view.data_str = fields.string(4)?,
                _ => fields.skip(key, 4)?,
            }
        }
        Ok(view)
    }
}

impl Fields for EchoResponseView<'_> {
    #[inline]
    fn list(&self, writer: &mut FieldWriter<'_>) {
        list_header(self.header, writer);
        writer.uint64(2, sign_extended(self.result));
        writer.bytes(3, self.data);
        writer.bytes(4, self.data_str.as_bytes());
    }

    #[inline]
    fn content_bytes(&self) -> usize {
        self.data.len() + self.data_str.len()
    }
}

impl<'a> From<&'a EchoResponse> for EchoResponseView<'a> {
    fn from(message: &'a EchoResponse) -> Self {
        Self { header: message.header, result: message.result, data: &message.data, data_str: &message.data_str }
    }
}
