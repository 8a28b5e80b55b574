//! Writes the fields of a message, one after another, into memory that is large enough.
//!
//! A message lists its fields once ([`Fields`]); how many bytes they took shows at the end. So memory is asked for by a bound
//! that takes no walk over the message: the longest that all but its content can be. Fields with their default value take no
//! bytes, as proto3 has it.
//!
//! The steps are inlined into each message's list: there the field numbers are constants, and so are the keys.

use super::{MAX_VARINT_BYTES, MORE, WIRE_TYPE_BITS, WireType};
use crate::error::EncodeError;

/// Room for all but the content of any message of this crate, each integer at its longest, and for the writing of a varint
/// behind it.
const SMALL_BYTES: usize = 96;

/// A field's key takes one byte: the fields of this crate's messages have numbers below 16.
const KEY_BYTES: usize = 1;

/// A message as a list of fields.
pub(crate) trait Fields {
    /// Hands each field to `writer`, in the order of their numbers.
    fn list(&self, writer: &mut FieldWriter<'_>);

    /// Bytes of all fields of type bytes and string.
    fn content_bytes(&self) -> usize;
}

/// No message takes more bytes.
#[inline]
pub(crate) fn max_len(message: &impl Fields) -> usize {
    SMALL_BYTES + message.content_bytes()
}

/// Writes a message to the beginning of `target`, which then begins behind it.
#[inline]
pub(crate) fn write(message: &impl Fields, target: &mut &mut [u8]) -> Result<(), EncodeError> {
    let (required_bytes, available_bytes) = (max_len(message), target.len());
    if required_bytes > available_bytes {
        return Err(EncodeError { required_bytes, available_bytes });
    }
    let mut writer = FieldWriter { rest: std::mem::take(target) };
    message.list(&mut writer);
    *target = writer.rest;
    Ok(())
}

/// Writes to the beginning of a slice that shrinks.
pub(crate) struct FieldWriter<'target> {
    rest: &'target mut [u8],
}

impl FieldWriter<'_> {
    /// A field of type uint64 or uint32, or an enum or int32 that was sign-extended.
    #[inline]
    pub(crate) fn uint64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.key_and_varint(field, WireType::Varint, value);
        }
    }

    /// A field of type bytes or string.
    #[inline]
    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        self.key_and_varint(field, WireType::LengthDelimited, value.len() as u64);
        let (content, rest) = std::mem::take(&mut self.rest).split_at_mut(value.len());
        content.copy_from_slice(value);
        self.rest = rest;
    }

    /// A message inside the message, shorter than 128 bytes; it is written even when it is empty.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would bring the writer from registers into memory")]
    pub(crate) fn message(&mut self, field: u32, value: &impl Fields) {
        let (key_and_length, rest) = std::mem::take(&mut self.rest).split_first_chunk_mut().expect(ROOM);
        let most = rest.len();
        let mut writer = FieldWriter { rest };
        value.list(&mut writer);
        let length = most - writer.rest.len();
        debug_assert!(length < 0x80, "its length takes one byte");
        *key_and_length = [key(field, WireType::LengthDelimited), length as u8];
        self.rest = writer.rest;
    }

    #[inline]
    fn key_and_varint(&mut self, field: u32, wire_type: WireType, value: u64) {
        let memory = std::mem::take(&mut self.rest);
        let [key_byte, varint @ ..] = memory.first_chunk_mut::<{ KEY_BYTES + MAX_VARINT_BYTES }>().expect(ROOM);
        *key_byte = key(field, wire_type);
        let used = KEY_BYTES + write_varint(value, varint);
        self.rest = &mut memory[used..];
    }
}

/// Why room is taken for granted.
const ROOM: &str = "there is room for every message of this crate, which a test shows";

#[inline]
fn key(field: u32, wire_type: WireType) -> u8 {
    let key = field << WIRE_TYPE_BITS | wire_type as u32;
    debug_assert!(key < 0x80, "the key takes one byte");
    key as u8
}

/// Writes a varint and returns its length. What stands behind it in `target` is overwritten too: all bytes at once take
/// a third of the time of one after another.
#[inline]
fn write_varint(value: u64, target: &mut [u8; MAX_VARINT_BYTES]) -> usize {
    if value < 0x80 {
        target[0] = value as u8;
        return 1;
    }
    if value >> 56 != 0 {
        return write_long_varint(value, target);
    }
    let groups = spread(value);
    // The first bit of the last group, which is not the first one. The processor finds it faster where a bit is sure to be set.
    let last = (groups | 1).ilog2() & !7;
    let more = MORE & ((1 << last) - 1);
    target[..8].copy_from_slice(&(groups | more).to_le_bytes());
    last as usize / 8 + 1
}

/// One of more than eight bytes.
#[cold]
fn write_long_varint(value: u64, target: &mut [u8; MAX_VARINT_BYTES]) -> usize {
    target[..8].copy_from_slice(&(spread(value) | MORE).to_le_bytes());
    target[8] = (value >> 56) as u8;
    if value >> 63 == 0 {
        return 9;
    }
    target[9] = 1;
    10
}

/// The lowest 56 bits, seven to each byte.
#[inline]
const fn spread(value: u64) -> u64 {
    let halves = value & 0x0FFF_FFFF | (value & 0x00FF_FFFF_F000_0000) << 4;
    let quarters = halves & 0x0000_3FFF_0000_3FFF | (halves & 0x0FFF_C000_0FFF_C000) << 2;
    quarters & 0x007F_007F_007F_007F | (quarters & 0x3F80_3F80_3F80_3F80) << 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Encode;
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
        check_room(&benchmark, 1);
        check_room(&echo, 2);
    }

    fn check_room(message: &(impl Fields + Encode), contents: usize) {
        let small_bytes = message.to_wire().len() - message.content_bytes();
        // A length of content that is as long as memory can be takes this much more.
        let longer_lengths = contents * (MAX_VARINT_BYTES - 3);
        // What is written last may be a varint of one byte, which is given room for the longest.
        let behind = MAX_VARINT_BYTES - 1;
        assert!(small_bytes + longer_lengths + behind <= SMALL_BYTES, "{small_bytes} bytes");
    }
}
