//! Views of the benchmark messages.

use bytes::BufMut;

use super::{HEADER, list_header, merge_header, sign_extended};
use crate::benchmark::{BenchmarkRequest, BenchmarkResponse};
use crate::codec::{Decode, Encode};
use crate::commons::Header;
use crate::error::{DecodeError, EncodeError};
use crate::wire::{FieldReader, FieldSink, Fields, encode_fields, fields_len};

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
    fn decode_from(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut view = Self::default();
        let mut fields = FieldReader::new(payload);
        while let Some(key) = fields.next_key()? {
            match key.field {
                HEADER => merge_header(&mut view.header, fields.message(key)?)?,
                2 => view.client_timestamp_ns = fields.uint64(key)?,
                3 => view.sequence = fields.uint64(key)? as u32,
                4 => view.payload = fields.bytes(key)?,
                _ => fields.skip(key)?,
            }
        }
        Ok(view)
    }
}

impl Fields for BenchmarkRequestView<'_> {
    fn list(&self, sink: &mut impl FieldSink) {
        list_header(self.header, sink);
        sink.uint64(2, self.client_timestamp_ns);
        sink.uint64(3, u64::from(self.sequence));
        sink.bytes(4, self.payload);
    }
}

impl Encode for BenchmarkRequestView<'_> {
    fn wire_len(&self) -> usize {
        fields_len(self)
    }

    fn encode_into(&self, buffer: &mut impl BufMut) -> Result<(), EncodeError> {
        encode_fields(self, buffer)
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
    fn decode_from(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut view = Self::default();
        let mut fields = FieldReader::new(payload);
        while let Some(key) = fields.next_key()? {
            match key.field {
                HEADER => merge_header(&mut view.header, fields.message(key)?)?,
                2 => view.result = fields.uint64(key)? as i32,
                3 => view.client_timestamp_ns = fields.uint64(key)?,
                4 => view.server_recv_timestamp_ns = fields.uint64(key)?,
                5 => view.server_send_timestamp_ns = fields.uint64(key)?,
                6 => view.sequence = fields.uint64(key)? as u32,
                7 => view.payload = fields.bytes(key)?,
                _ => fields.skip(key)?,
            }
        }
        Ok(view)
    }
}

impl Fields for BenchmarkResponseView<'_> {
    fn list(&self, sink: &mut impl FieldSink) {
        list_header(self.header, sink);
        sink.uint64(2, sign_extended(self.result));
        sink.uint64(3, self.client_timestamp_ns);
        sink.uint64(4, self.server_recv_timestamp_ns);
        sink.uint64(5, self.server_send_timestamp_ns);
        sink.uint64(6, u64::from(self.sequence));
        sink.bytes(7, self.payload);
    }
}

impl Encode for BenchmarkResponseView<'_> {
    fn wire_len(&self) -> usize {
        fields_len(self)
    }

    fn encode_into(&self, buffer: &mut impl BufMut) -> Result<(), EncodeError> {
        encode_fields(self, buffer)
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
