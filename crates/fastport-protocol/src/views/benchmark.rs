//! Views of the benchmark messages.

use bytes::BufMut;

use super::{HEADER_KEY, list_header, merge_header, sign_extended};
use crate::benchmark::{BenchmarkRequest, BenchmarkResponse};
use crate::codec::{Decode, Encode};
use crate::commons::Header;
use crate::error::{DecodeError, EncodeError};
use crate::wire::{FieldReader, Fields, Key, Layout};

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

impl<'a> Decode<'a> for BenchmarkRequestView<'a> {
    #[inline]
    fn decode_from(payload: &'a [u8]) -> Result<Self, DecodeError> {
        const CLIENT_TIMESTAMP_NS: Key = Key::integer(2);
        const SEQUENCE: Key = Key::integer(3);
        const PAYLOAD: Key = Key::content(4);

        let mut view = Self::default();
        let mut fields = FieldReader::new(payload);
        while let Some(key) = fields.next_key()? {
            match key {
                HEADER_KEY => merge_header(&mut view.header, fields.message()?)?,
                CLIENT_TIMESTAMP_NS => view.client_timestamp_ns = fields.integer()?,
                SEQUENCE => view.sequence = fields.integer()? as u32,
                PAYLOAD => view.payload = fields.content()?,
                _ => fields.skip(key, 4)?,
            }
        }
        Ok(view)
    }
}

impl<'a> BenchmarkRequestView<'a> {
    /// The message, ready to be sent.
    #[inline]
    pub fn lay_out(&self) -> Layout<'a> {
        Layout::of(self)
    }
}

impl<'a> Fields<'a> for BenchmarkRequestView<'a> {
    #[inline]
    fn list(&self, layout: &mut Layout<'a>) {
        list_header(self.header, layout);
        layout.uint64(2, self.client_timestamp_ns);
        layout.uint64(3, u64::from(self.sequence));
        layout.bytes(4, self.payload);
    }
}

impl Encode for BenchmarkRequestView<'_> {
    fn wire_len(&self) -> usize {
        self.lay_out().wire_len()
    }

    fn encode_into(&self, buffer: &mut impl BufMut) -> Result<(), EncodeError> {
        self.lay_out().encode_into(buffer)
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

impl<'a> Decode<'a> for BenchmarkResponseView<'a> {
    #[inline]
    fn decode_from(payload: &'a [u8]) -> Result<Self, DecodeError> {
        const RESULT: Key = Key::integer(2);
        const CLIENT_TIMESTAMP_NS: Key = Key::integer(3);
        const SERVER_RECV_TIMESTAMP_NS: Key = Key::integer(4);
        const SERVER_SEND_TIMESTAMP_NS: Key = Key::integer(5);
        const SEQUENCE: Key = Key::integer(6);
        const PAYLOAD: Key = Key::content(7);

        let mut view = Self::default();
        let mut fields = FieldReader::new(payload);
        while let Some(key) = fields.next_key()? {
            match key {
                HEADER_KEY => merge_header(&mut view.header, fields.message()?)?,
                RESULT => view.result = fields.integer()? as i32,
                CLIENT_TIMESTAMP_NS => view.client_timestamp_ns = fields.integer()?,
                SERVER_RECV_TIMESTAMP_NS => view.server_recv_timestamp_ns = fields.integer()?,
                SERVER_SEND_TIMESTAMP_NS => view.server_send_timestamp_ns = fields.integer()?,
                SEQUENCE => view.sequence = fields.integer()? as u32,
                PAYLOAD => view.payload = fields.content()?,
                _ => fields.skip(key, 7)?,
            }
        }
        Ok(view)
    }
}

impl<'a> BenchmarkResponseView<'a> {
    /// The message, ready to be sent.
    #[inline]
    pub fn lay_out(&self) -> Layout<'a> {
        Layout::of(self)
    }
}

impl<'a> Fields<'a> for BenchmarkResponseView<'a> {
    #[inline]
    fn list(&self, layout: &mut Layout<'a>) {
        list_header(self.header, layout);
        layout.uint64(2, sign_extended(self.result));
        layout.uint64(3, self.client_timestamp_ns);
        layout.uint64(4, self.server_recv_timestamp_ns);
        layout.uint64(5, self.server_send_timestamp_ns);
        layout.uint64(6, u64::from(self.sequence));
        layout.bytes(7, self.payload);
    }
}

impl Encode for BenchmarkResponseView<'_> {
    fn wire_len(&self) -> usize {
        self.lay_out().wire_len()
    }

    fn encode_into(&self, buffer: &mut impl BufMut) -> Result<(), EncodeError> {
        self.lay_out().encode_into(buffer)
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
