//! The protobuf wire format, as far as the [views](crate::views) need it.
//!
//! A reader and a writer over slices; neither allocates. They accept, refuse and
//! write exactly what prost does, which the tests check on arbitrary bytes.
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

mod message;
mod reader;
mod writer;

pub(crate) use message::{Message, fields, read};
pub(crate) use reader::{FieldReader, Key};
pub(crate) use writer::{FieldWriter, Fields, max_len, write};

/// How the value of a field is laid out: the lower three bits of its key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WireType {
    Varint = 0,
    Fixed64 = 1,
    LengthDelimited = 2,
    GroupStart = 3,
    GroupEnd = 4,
    Fixed32 = 5,
}

/// Bits of a key below the field's number.
const WIRE_TYPE_BITS: u32 = 3;

/// The longest variable-length integer: ten groups of seven bits, the last of which holds bit 63.
const MAX_VARINT_BYTES: usize = 10;

/// The bit that says that more bytes of a variable-length integer follow, in each of eight bytes.
const MORE: u64 = 0x8080_8080_8080_8080;
