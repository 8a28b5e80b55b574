//! Views of the benchmark messages.

use super::{HEADER, list_header, merged_header, sign_extended};
use crate::benchmark::{BenchmarkRequest, BenchmarkResponse};
use crate::commons::Header;
use crate::error::DecodeError;
use crate::wire::{FieldReader, FieldWriter, Fields, Key, Message, fields};

/// A [`BenchmarkRequest`] that borrows its payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BenchmarkRequestView<'a> {
    /// Names the request.
    pub header: Option<Header>,
    /// When the client wrote the request, in nanoseconds of the client's clock.
    pub client_timestamp_ns: u64,
    /// Counts the requests of one session, from 0.
    pub sequence: u32,
    /// Ballast that the server sends back.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> for BenchmarkRequestView<'a> {
    fields!(message, fields, {
        HEADER => message.header = Some(merged_header(message.header, fields.message()?)?),
        Key::integer(2) => message.client_timestamp_ns = fields.integer()?,
        Key::integer(3) => message.sequence = fields.integer()? as u32,
        Key::content(4) => message.payload = fields.content()?,
    });
}

impl Fields for BenchmarkRequestView<'_> {
    #[inline]
    fn list(&self, writer: &mut FieldWriter<'_>) {
        list_header(self.header, writer);
        writer.uint64(2, self.client_timestamp_ns);
        writer.uint64(3, u64::from(self.sequence));
        writer.bytes(4, self.payload);
    }

    #[inline]
    fn content_bytes(&self) -> usize {
        self.payload.len()
    }
}

impl<'a> From<&'a BenchmarkRequest> for BenchmarkRequestView<'a> {
    fn from(message: &'a BenchmarkRequest) -> Self {
        Self {
            header: message.header,
            client_timestamp_ns: message.client_timestamp_ns,
            sequence: message.sequence,
            payload: &message.payload,
        }
    }
}

/// A [`BenchmarkResponse`] that borrows its payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BenchmarkResponseView<'a> {
    /// The header of the request, unchanged.
    pub header: Option<Header>,
    /// How the request fared: a [`ResultCode`](crate::commons::ResultCode), or a number that this
    /// version does not know.
    pub result: i32,
    /// The client's time from the request, in nanoseconds of the client's clock.
    pub client_timestamp_ns: u64,
    /// When the server had read the request, in nanoseconds of the server's clock.
    pub server_recv_timestamp_ns: u64,
    /// When the server wrote the response, in nanoseconds of the server's clock.
    pub server_send_timestamp_ns: u64,
    /// The sequence number of the request.
    pub sequence: u32,
    /// The payload of the request.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> for BenchmarkResponseView<'a> {
    fields!(message, fields, {
        HEADER => message.header = Some(merged_header(message.header, fields.message()?)?),
        Key::integer(2) => message.result = fields.integer()? as i32,
        Key::integer(3) => message.client_timestamp_ns = fields.integer()?,
        Key::integer(4) => message.server_recv_timestamp_ns = fields.integer()?,
        Key::integer(5) => message.server_send_timestamp_ns = fields.integer()?,
        Key::integer(6) => message.sequence = fields.integer()? as u32,
        Key::content(7) => message.payload = fields.content()?,
    });
}

impl Fields for BenchmarkResponseView<'_> {
    #[inline]
    fn list(&self, writer: &mut FieldWriter<'_>) {
        list_header(self.header, writer);
        writer.uint64(2, sign_extended(self.result));
        writer.uint64(3, self.client_timestamp_ns);
        writer.uint64(4, self.server_recv_timestamp_ns);
        writer.uint64(5, self.server_send_timestamp_ns);
        writer.uint64(6, u64::from(self.sequence));
        writer.bytes(7, self.payload);
    }

    #[inline]
    fn content_bytes(&self) -> usize {
        self.payload.len()
    }
}

impl<'a> From<&'a BenchmarkResponse> for BenchmarkResponseView<'a> {
    fn from(message: &'a BenchmarkResponse) -> Self {
        Self {
            header: message.header,
            result: message.result,
            client_timestamp_ns: message.client_timestamp_ns,
            server_recv_timestamp_ns: message.server_recv_timestamp_ns,
            server_send_timestamp_ns: message.server_send_timestamp_ns,
            sequence: message.sequence,
            payload: &message.payload,
        }
    }
}
