//! Borrowed forms of the messages on the hot path.
//!
//! A view reads a message from the payload of a packet without an allocation: its bytes and text
//! point into the payload. It is written in the same way, from wherever its content lies straight
//! into the send buffer. A server that answers with what it was sent thus copies each byte once.
//!
//! A view and the generated type of the same name are interchangeable on the wire: each writes
//! the same bytes, accepts and refuses the same payloads, and reads the same values. That includes
//! what proto3 asks for in odd cases: of a field that comes twice the last value counts, a header
//! that comes twice is merged, unknown fields are skipped.

mod benchmark;
mod echo;

pub use benchmark::{BenchmarkRequestView, BenchmarkResponseView};
pub use echo::{EchoRequestView, EchoResponseView};

use crate::codec::{Decode, Encode};
use crate::commons::Header;
use crate::error::{DecodeError, EncodeError};
use crate::wire::{self, FieldReader, FieldWriter, Fields, Key, Message, fields};

/// The key of the header, which is the first field of every message.
const HEADER: Key = Key::content(1);

/// [`Decode`] and [`Encode`] for views. One implementation for all messages of fields would meet that for all messages of prost.
macro_rules! code_by_fields {
    ($($view:ident),+) => {
        $(impl<'a> Decode<'a> for $view<'a> {
            #[inline]
            fn decode_from(payload: &'a [u8]) -> Result<Self, DecodeError> {
                wire::read(Self::default(), FieldReader::new(payload))
            }
        }

        impl Encode for $view<'_> {
            #[inline]
            fn max_wire_len(&self) -> usize {
                wire::max_len(self)
            }

            #[inline]
            fn encode_into(&self, target: &mut &mut [u8]) -> Result<(), EncodeError> {
                wire::write(self, target)
            }
        })+
    };
}

code_by_fields!(BenchmarkRequestView, BenchmarkResponseView, EchoRequestView, EchoResponseView);

impl Fields for Header {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would bring the writer from registers into memory")]
    fn list(&self, writer: &mut FieldWriter<'_>) {
        writer.uint64(1, self.request_id);
        writer.uint64(2, self.timestamp_ms);
    }

    fn content_bytes(&self) -> usize {
        0
    }
}

#[inline]
fn list_header(header: Option<Header>, writer: &mut FieldWriter<'_>) {
    if let Some(header) = header {
        writer.message(1, &header);
    }
}

/// Reads a header, of which an earlier field may have told a part.
#[inline]
fn merged_header(earlier: Option<Header>, fields: FieldReader<'_>) -> Result<Header, DecodeError> {
    wire::read(earlier.unwrap_or_default(), fields)
}

impl<'a> Message<'a> for Header {
    fields!(message, fields, {
        Key::integer(1) => message.request_id = fields.integer()?,
        Key::integer(2) => message.timestamp_ms = fields.integer()?,
    });
}

/// An enum or int32 on the wire: a negative number takes all 64 bits.
#[inline]
fn sign_extended(value: i32) -> u64 {
    i64::from(value) as u64
}
