//! Lays the fields of a message out, so that its length is known and writing it is a copy.
//!
//! A message lists its fields once ([`Fields`]). Keys, integers and lengths are written into a small array on the way; of
//! content is only noted where it stands and where it belongs. Fields with their default value take no bytes, as proto3 has it.
//!
//! ```text
//!   small      key len header │ key int key int │ key len │           │ key len │
//!   contents                                              │ payload   │         │ text …
//! ```
//!
//! The steps are inlined into each message's list: there the field numbers are constants, and so are the keys.

use bytes::BufMut;

use super::{MAX_VARINT_BYTES, MORE, WIRE_TYPE_BITS, WireType};
use crate::codec::Encode;
use crate::error::EncodeError;

/// Room for all but the content of any message of this crate, each integer at its longest, and for the writing of a varint
/// behind it.
const SMALL_BYTES: usize = 96;

/// The most fields with content that a message has.
const MOST_CONTENTS: usize = 2;

/// A field's key takes one byte: the fields of this crate's messages have numbers below 16.
const KEY_BYTES: usize = 1;

/// A message as a list of fields, whose content lives for `'content`.
pub(crate) trait Fields<'content> {
    /// Hands each field to `layout`, in the order of their numbers.
    fn list(&self, layout: &mut Layout<'content>);
}

/// A message laid out for sending. Made by a view's `lay_out`; it borrows the message's content, not the view.
///
/// What is sent needs its length first and its bytes then. A layout knows both after one walk over the message, where
/// [`Encode`] on the view itself walks once for each.
#[derive(Debug, Clone)]
pub struct Layout<'content> {
    small: [u8; SMALL_BYTES],
    used: usize,
    /// Each with the number of bytes of `small` before it.
    contents: [(usize, &'content [u8]); MOST_CONTENTS],
    content_count: usize,
    content_bytes: usize,
}

impl<'content> Layout<'content> {
    #[inline]
    pub(crate) fn of(message: &impl Fields<'content>) -> Self {
        let mut layout = Self {
            small: [0; SMALL_BYTES],
            used: 0,
            contents: [(0, &[]); MOST_CONTENTS],
            content_count: 0,
            content_bytes: 0,
        };
        message.list(&mut layout);
        layout
    }

    /// A field of type uint64 or uint32, or an enum or int32 that was sign-extended.
    #[inline]
    pub(crate) fn uint64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.key_and_varint(field, WireType::Varint, value);
        }
    }

    /// A field of type bytes or string.
    #[inline]
    pub(crate) fn bytes(&mut self, field: u32, value: &'content [u8]) {
        if value.is_empty() {
            return;
        }
        self.key_and_varint(field, WireType::LengthDelimited, value.len() as u64);
        self.contents[self.content_count] = (self.used, value);
        self.content_count += 1;
        self.content_bytes += value.len();
    }

    /// A message inside the message, of integers only and shorter than 128 bytes; it is written even when it is empty.
    #[inline]
    pub(crate) fn message(&mut self, field: u32, value: &impl Fields<'content>) {
        self.key_and_varint(field, WireType::LengthDelimited, 0);
        let (length_at, contents) = (self.used - 1, self.content_count);
        value.list(self);
        let length = self.used - 1 - length_at;
        debug_assert!(length < 0x80 && contents == self.content_count, "its length takes one byte");
        self.small[length_at] = length as u8;
    }

    #[inline]
    fn key_and_varint(&mut self, field: u32, wire_type: WireType, value: u64) {
        let key = field << WIRE_TYPE_BITS | wire_type as u32;
        debug_assert!(key < 0x80, "the key takes one byte");
        let target = self.small[self.used..].first_chunk_mut::<{ KEY_BYTES + MAX_VARINT_BYTES }>();
        let target = target.expect("there is room for every message of this crate, which a test shows");
        target[0] = key as u8;
        let [_, rest @ ..] = target;
        self.used += KEY_BYTES + write_varint(value, rest);
    }

    fn write_to(&self, buffer: &mut impl BufMut) {
        let mut from = 0;
        for &(until, content) in &self.contents[..self.content_count] {
            buffer.put_slice(&self.small[from..until]);
            buffer.put_slice(content);
            from = until;
        }
        // Mostly a message ends with its content.
        if from < self.used {
            buffer.put_slice(&self.small[from..self.used]);
        }
    }
}

impl Encode for Layout<'_> {
    #[inline]
    fn wire_len(&self) -> usize {
        self.used + self.content_bytes
    }

    #[inline]
    fn encode_into(&self, buffer: &mut impl BufMut) -> Result<(), EncodeError> {
        let (required_bytes, available_bytes) = (self.wire_len(), buffer.remaining_mut());
        if required_bytes > available_bytes {
            return Err(EncodeError { required_bytes, available_bytes });
        }
        self.write_to(buffer);
        Ok(())
    }
}

/// Writes a varint and returns its length. What stands behind it in `target` is overwritten too: all bytes at once take
/// a third of the time of one after another.
#[inline]
fn write_varint(value: u64, target: &mut [u8; MAX_VARINT_BYTES]) -> usize {
    if value < 0x80 {
        target[0] = value as u8;
        return 1;
    }
    let length = varint_len(value);
    let bytes_before_last = (length - 1).min(8);
    let more = MORE & (u64::MAX >> (64 - 8 * bytes_before_last));
    target[..8].copy_from_slice(&(spread(value) | more).to_le_bytes());
    if length > 8 {
        let is_longest = u8::from(length == MAX_VARINT_BYTES);
        target[8] = (value >> 56) as u8 & 0x7F | is_longest << 7;
        target[9] = is_longest;
    }
    length
}

/// The lowest 56 bits, seven to each byte.
#[inline]
const fn spread(value: u64) -> u64 {
    let halves = value & 0x0FFF_FFFF | (value & 0x00FF_FFFF_F000_0000) << 4;
    let quarters = halves & 0x0000_3FFF_0000_3FFF | (halves & 0x0FFF_C000_0FFF_C000) << 2;
    quarters & 0x007F_007F_007F_007F | (quarters & 0x3F80_3F80_3F80_3F80) << 1
}

#[inline]
fn varint_len(value: u64) -> usize {
    // Zero takes a byte too.
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commons::Header;
    use crate::views::{BenchmarkResponseView, EchoResponseView};

    #[test]
    fn varints_of_every_length_are_written_as_one_byte_after_another_would_be() {
        let around_powers = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) | 0x0123_4567_89AB_CDEF]);
        for value in around_powers.chain([u64::MAX, u64::MAX / 3]) {
            let mut expected = Vec::new();
            let mut rest = value;
            while rest >= 0x80 {
                expected.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            expected.push(rest as u8);
            let mut target = [0xFF; MAX_VARINT_BYTES];
            let length = write_varint(value, &mut target);
            assert_eq!(target[..length], expected, "{value:#x}");
        }
    }

    #[test]
    fn the_largest_messages_find_room() {
        let header = Some(Header { request_id: u64::MAX, timestamp_ms: u64::MAX });
        let benchmark = BenchmarkResponseView {
            header,
            result: -1,
            client_timestamp_ns: u64::MAX,
            server_recv_timestamp_ns: u64::MAX,
            server_send_timestamp_ns: u64::MAX,
            sequence: u32::MAX,
            payload: &[1; 16 * 1024],
        };
        let echo = EchoResponseView { header, result: -1, data: &[1; 16 * 1024], data_str: "text" };
        // A length of a message that is as long as memory can be takes this much more.
        let longer_lengths = MOST_CONTENTS * (MAX_VARINT_BYTES - 3);
        for layout in [benchmark.lay_out(), echo.lay_out()] {
            assert!(layout.used + longer_lengths <= SMALL_BYTES, "{} bytes", layout.used);
        }
    }
}
