//! Writes the fields of a message into a buffer.
//!
//! A message lists its fields once ([`Fields`]); the list is walked by a [`LengthCounter`] to know
//! the size and by a [`FieldWriter`] to write, so the two cannot disagree. Fields with their
//! default value take no bytes, as proto3 has it.
//!
//! The steps are inlined into each message's list: there the field numbers are constants, and so
//! are the keys. This halves the time to write a small message.

use bytes::BufMut;

use super::{MAX_VARINT_BYTES, WIRE_TYPE_BITS, WireType};
use crate::error::EncodeError;

/// A message as a list of fields.
pub(crate) trait Fields {
    /// Hands each field to `sink`, in the order of their numbers.
    fn list(&self, sink: &mut impl FieldSink);
}

/// What can be done with the fields of a message.
pub(crate) trait FieldSink {
    /// A field of type uint64 or uint32, or an enum or int32 that was sign-extended.
    fn uint64(&mut self, field: u32, value: u64);

    /// A field of type bytes or string.
    fn bytes(&mut self, field: u32, value: &[u8]);

    /// A message inside the message; it is written even when it is empty.
    fn message(&mut self, field: u32, value: &impl Fields);
}

/// The exact number of bytes that [`encode_fields`] writes.
pub(crate) fn fields_len(message: &impl Fields) -> usize {
    let mut counter = LengthCounter { bytes: 0 };
    message.list(&mut counter);
    counter.bytes
}

/// Writes `message` to `buffer`, or nothing if it does not fit.
pub(crate) fn encode_fields(message: &impl Fields, buffer: &mut impl BufMut) -> Result<(), EncodeError> {
    let required_bytes = fields_len(message);
    let available_bytes = buffer.remaining_mut();
    if required_bytes > available_bytes {
        return Err(EncodeError { required_bytes, available_bytes });
    }
    let mut writer = FieldWriter { buffer, scratch: [0; SCRATCH_BYTES], scratch_used: 0 };
    message.list(&mut writer);
    writer.flush();
    Ok(())
}

/// Adds up what the fields take.
struct LengthCounter {
    bytes: usize,
}

impl FieldSink for LengthCounter {
    #[inline]
    fn uint64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.bytes += key_len(field) + varint_len(value);
        }
    }

    #[inline]
    fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.bytes += key_len(field) + varint_len(value.len() as u64) + value.len();
        }
    }

    #[inline]
    fn message(&mut self, field: u32, value: &impl Fields) {
        let length = fields_len(value);
        self.bytes += key_len(field) + varint_len(length as u64) + length;
    }
}

/// Room for the small fields in front of a payload: a header and five integers.
const SCRATCH_BYTES: usize = 128;

/// Writes fields.
///
/// Keys and integers are gathered in `scratch` and reach the buffer in one piece, because a buffer
/// that wraps, such as a send ring, is costly to write byte by byte.
struct FieldWriter<'a, B> {
    buffer: &'a mut B,
    scratch: [u8; SCRATCH_BYTES],
    scratch_used: usize,
}

impl<B: BufMut> FieldWriter<'_, B> {
    /// Keys, and most values, take one byte. This much is small enough to be inlined for each of them.
    #[inline]
    fn varint(&mut self, value: u64) {
        match self.scratch.get_mut(self.scratch_used) {
            Some(byte) if value < 0x80 => {
                *byte = value as u8;
                self.scratch_used += 1;
            }
            _ => self.varint_of_any_length(value),
        }
    }

    fn varint_of_any_length(&mut self, value: u64) {
        if self.scratch_used + MAX_VARINT_BYTES > SCRATCH_BYTES {
            self.flush();
        }
        if let Some(target) = self.scratch[self.scratch_used..].first_chunk_mut() {
            self.scratch_used += write_varint(value, target);
        }
    }

    #[inline]
    fn flush(&mut self) {
        self.buffer.put_slice(&self.scratch[..self.scratch_used]);
        self.scratch_used = 0;
    }
}

impl<B: BufMut> FieldSink for FieldWriter<'_, B> {
    #[inline]
    fn uint64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint(key(field, WireType::Varint));
            self.varint(value);
        }
    }

    #[inline]
    fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.varint(key(field, WireType::LengthDelimited));
            self.varint(value.len() as u64);
            self.flush();
            self.buffer.put_slice(value);
        }
    }

    #[inline]
    fn message(&mut self, field: u32, value: &impl Fields) {
        self.varint(key(field, WireType::LengthDelimited));
        self.varint(fields_len(value) as u64);
        value.list(self);
    }
}

/// Writes a varint and returns its length. What stands behind it in `target` is overwritten too: all bytes at once take
/// a third of the time of one after another.
#[inline]
fn write_varint(value: u64, target: &mut [u8; MAX_VARINT_BYTES]) -> usize {
    /// The bit that says that more bytes follow, in each of eight bytes.
    const MORE: u64 = 0x8080_8080_8080_8080;

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
fn key(field: u32, wire_type: WireType) -> u64 {
    u64::from(field << WIRE_TYPE_BITS | wire_type as u32)
}

#[inline]
fn key_len(field: u32) -> usize {
    // The wire type is below the number and does not change the length.
    varint_len(u64::from(field << WIRE_TYPE_BITS))
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
}
