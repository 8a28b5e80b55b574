//! Views of the echo messages.

use super::{HEADER, list_header, merged_header, sign_extended};
use crate::commons::Header;
use crate::error::DecodeError;
use crate::tests::{EchoRequest, EchoResponse};
use crate::wire::{FieldReader, FieldWriter, Fields, Key, Message, fields};

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

impl<'a> Message<'a> for EchoRequestView<'a> {
    fields!(message, fields, {
        HEADER => message.header = Some(merged_header(message.header, fields.message()?)?),
        Key::content(2) => message.data = fields.content()?,
        Key::content(3) => message.data_str = fields.string(3)?,
    });
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

impl<'a> Message<'a> for EchoResponseView<'a> {
    fields!(message, fields, {
        HEADER => message.header = Some(merged_header(message.header, fields.message()?)?),
        Key::integer(2) => message.result = fields.integer()? as i32,
        Key::content(3) => message.data = fields.content()?,
        Key::content(4) => message.data_str = fields.string(4)?,
    });
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
