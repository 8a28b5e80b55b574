//! Reads the fields of a message in place.

use super::{MAX_VARINT_BYTES, MORE, WIRE_TYPE_BITS, WireType};
use crate::error::DecodeError;

/// How deep groups and messages may be nested; the limit of prost and of the C++ library, which
/// keeps a hostile message from using up the stack.
const MAX_DEPTH: u32 = 100;

/// Walks the fields of one message.
///
/// Its user takes a [`Key`], then the value in the form that the message gives the field, until
/// no key is left. After an error the position is unspecified.
pub(crate) struct FieldReader<'a> {
    rest: &'a [u8],
    depth_left: u32,
}

/// The number of a field and how its value is laid out.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) field: u32,
    wire_type: WireType,
}

impl<'a> FieldReader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message, depth_left: MAX_DEPTH }
    }

    /// The key of the next field, or `None` at the end of the message.
    #[inline]
    pub(crate) fn next_key(&mut self) -> Result<Option<Key>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.key().map(Some)
    }

    /// The value of a field of type uint64. For narrower types the caller drops the upper bits,
    /// as protobuf demands.
    #[inline]
    pub(crate) fn uint64(&mut self, key: Key) -> Result<u64, DecodeError> {
        expect(key, WireType::Varint)?;
        self.varint()
    }

    /// The value of a field of type bytes.
    #[inline]
    pub(crate) fn bytes(&mut self, key: Key) -> Result<&'a [u8], DecodeError> {
        expect(key, WireType::LengthDelimited)?;
        self.length_delimited()
    }

    /// The value of a field of type string.
    #[inline]
    pub(crate) fn string(&mut self, key: Key) -> Result<&'a str, DecodeError> {
        let bytes = self.bytes(key)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::InvalidText { field: key.field })
    }

    /// A reader over the message that is the value of a field.
    #[inline]
    pub(crate) fn message(&mut self, key: Key) -> Result<FieldReader<'a>, DecodeError> {
        let rest = self.bytes(key)?;
        let depth_left = self.depth_left.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        Ok(FieldReader { rest, depth_left })
    }

    /// Passes over the value of a field that the message does not know.
    pub(crate) fn skip(&mut self, key: Key) -> Result<(), DecodeError> {
        self.skip_nested(key, self.depth_left)
    }

    fn skip_nested(&mut self, key: Key, depth_left: u32) -> Result<(), DecodeError> {
        let depth_below = depth_left.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        match key.wire_type {
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed32 => self.take(4).map(drop),
            WireType::Fixed64 => self.take(8).map(drop),
            WireType::LengthDelimited => self.length_delimited().map(drop),
            WireType::GroupStart => self.skip_group(key.field, depth_below),
            WireType::GroupEnd => Err(DecodeError::UnexpectedGroupEnd { field: key.field }),
        }
    }

    /// Passes over the fields of a group and its end, which carries the number of its start.
    fn skip_group(&mut self, group: u32, depth_left: u32) -> Result<(), DecodeError> {
        loop {
            let key = self.key()?;
            if key.wire_type != WireType::GroupEnd {
                self.skip_nested(key, depth_left)?;
                continue;
            }
            if key.field != group {
                return Err(DecodeError::UnexpectedGroupEnd { field: key.field });
            }
            return Ok(());
        }
    }

    #[inline]
    fn key(&mut self) -> Result<Key, DecodeError> {
        let key = self.varint()?;
        let invalid = DecodeError::InvalidKey { key };
        let Ok(bits) = u32::try_from(key) else {
            return Err(invalid);
        };
        let wire_type = match bits & ((1 << WIRE_TYPE_BITS) - 1) {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::LengthDelimited,
            3 => WireType::GroupStart,
            4 => WireType::GroupEnd,
            5 => WireType::Fixed32,
            _ => return Err(invalid),
        };
        let field = bits >> WIRE_TYPE_BITS;
        if field == 0 {
            return Err(invalid);
        }
        Ok(Key { field, wire_type })
    }

    #[inline]
    fn length_delimited(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.varint()?;
        // A length beyond the address space is a length beyond the message.
        let length = usize::try_from(length).map_err(|_| DecodeError::Truncated)?;
        self.take(length)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, DecodeError> {
        // Keys, and most values, take one byte.
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.varint_of_any_length()
    }

    fn varint_of_any_length(&mut self) -> Result<u64, DecodeError> {
        let (mut value, mut index) = (0, 0);
        // Eight bytes at a time take a third of the time of one after another.
        if let Some(&bytes) = self.rest.first_chunk() {
            let word = u64::from_le_bytes(bytes);
            let ends = !word & MORE;
            if ends != 0 {
                let bits = ends.trailing_zeros() + 1;
                self.rest = &self.rest[bits as usize / 8..];
                return Ok(gather(word & (u64::MAX >> (u64::BITS - bits))));
            }
            (value, index) = (gather(word), 8);
        }
        while let Some(&byte) = self.rest.get(index).filter(|_| index < MAX_VARINT_BYTES) {
            if index == MAX_VARINT_BYTES - 1 && byte > 1 {
                return Err(DecodeError::OverlongVarint);
            }
            value |= u64::from(byte & 0x7F) << (7 * index);
            index += 1;
            if byte < 0x80 {
                self.rest = &self.rest[index..];
                return Ok(value);
            }
        }
        Err(DecodeError::Truncated)
    }
}

/// The seven lower bits of each byte, put together.
#[inline]
const fn gather(word: u64) -> u64 {
    let pairs = word & 0x007F_007F_007F_007F | (word & 0x7F00_7F00_7F00_7F00) >> 1;
    let fours = pairs & 0x0000_3FFF_0000_3FFF | (pairs & 0x3FFF_0000_3FFF_0000) >> 2;
    fours & 0x0FFF_FFFF | (fours & 0x0FFF_FFFF_0000_0000) >> 4
}

#[inline]
fn expect(key: Key, wire_type: WireType) -> Result<(), DecodeError> {
    if key.wire_type == wire_type {
        return Ok(());
    }
    Err(DecodeError::UnexpectedWireType { field: key.field })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_are_read_wherever_the_message_ends() {
        for value in
            (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) | 0x0123_4567_89AB_CDEF]).chain([u64::MAX])
        {
            let mut message = Vec::new();
            prost::encoding::encode_varint(value, &mut message);
            for behind in [0, 1, 20] {
                let length = message.len();
                message.resize(length + behind, 0xFF);
                let mut reader = FieldReader::new(&message);
                assert_eq!(reader.varint().unwrap(), value);
                assert_eq!(reader.rest.len(), behind, "{value:#x}");
                message.truncate(length);
            }
            message.pop();
            assert!(matches!(FieldReader::new(&message).varint(), Err(DecodeError::Truncated)), "{value:#x}");
        }
    }
}
