//! Reads a message field by field, in whatever order they come.

use super::{FieldReader, Key};
use crate::error::DecodeError;

/// A message as the fields that it knows; [`fields!`] makes it from a list of them.
pub(crate) trait Message<'a>: Sized {
    /// Reads the fields that come in the order of their numbers, each once.
    fn read_in_order(&mut self, fields: &mut FieldReader<'a>) -> Result<(), DecodeError>;

    /// Reads the value behind a key, or passes over it if the message does not know the key.
    fn read_value(&mut self, key: Key, fields: &mut FieldReader<'a>) -> Result<(), DecodeError>;
}

/// The methods of [`Message`], from the keys of all fields in the order of their numbers, which begin with 1 and leave none
/// out, and what is done with each value. A field may come more than once.
macro_rules! fields {
    ($message:ident, $fields:ident, { $($key:expr => $read:expr),+ $(,)? }) => {
        #[inline]
        fn read_in_order(&mut self, $fields: &mut FieldReader<'a>) -> Result<(), DecodeError> {
            let $message = self;
            $(if $fields.next_is($key) {
                $read;
            })+
            Ok(())
        }

        fn read_value(&mut self, key: Key, $fields: &mut FieldReader<'a>) -> Result<(), DecodeError> {
            let $message = self;
            $(if key == $key {
                $read;
                return Ok(());
            })+
            $fields.skip(key, [$($key),+].len() as u32)
        }
    };
}

pub(crate) use fields;

/// Reads all fields of `fields` into `message`.
///
/// Encoders write fields in the order of their numbers, each at most once. So the next key is compared with one after the
/// other in that order, without a loop; left are the rare messages with fields in another order, twice, or of no known number.
#[inline]
pub(crate) fn read<'a, M: Message<'a>>(mut message: M, mut fields: FieldReader<'a>) -> Result<M, DecodeError> {
    message.read_in_order(&mut fields)?;
    // By value: what has no address taken stays in registers.
    if fields.is_at_end() { Ok(message) } else { read_rest(message, fields) }
}

#[cold]
fn read_rest<'a, M: Message<'a>>(mut message: M, mut fields: FieldReader<'a>) -> Result<M, DecodeError> {
    while let Some(key) = fields.next_key()? {
        message.read_value(key, &mut fields)?;
    }
    Ok(message)
}
