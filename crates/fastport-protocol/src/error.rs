//! Why a message could not be read or written.

/// A payload is not the message that it was taken for.
///
/// The peer sent something else or something broken; the bytes before and after the payload are
/// not in doubt, so the session can live on. Reading a view never allocates, its errors included.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The payload, or a message inside it, ends in the middle of a field.
    #[error("the message ends in the middle of a field")]
    Truncated,

    /// A variable-length integer does not fit into 64 bits.
    #[error("a variable-length integer is longer than 64 bits")]
    OverlongVarint,

    /// A field key has no meaning: field number 0, a wire type that does not exist, or more than
    /// 32 bits.
    #[error("{key:#x} is not a valid field key")]
    InvalidKey {
        /// The key as it was read.
        key: u64,
    },

    /// A field that the message knows is written as another kind of value.
    #[error("field {field} is not of the type that the message gives it")]
    UnexpectedWireType {
        /// The field's number.
        field: u32,
    },

    /// A group ends that was not begun, or not with this number.
    #[error("a group with the number {field} ends where none was begun")]
    UnexpectedGroupEnd {
        /// The number at the end of the group.
        field: u32,
    },

    /// Groups and messages stand more than 100 deep in one another.
    #[error("fields are nested more than 100 deep")]
    TooDeep,

    /// A text field is not UTF-8.
    #[error("the text in field {field} is not UTF-8")]
    InvalidText {
        /// The field's number.
        field: u32,
    },

    /// A protobuf library refused the payload; its error is the source.
    #[error("the message does not parse")]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The memory is too short for a message. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message asks for {required_bytes} bytes, the memory has {available_bytes}")]
pub struct EncodeError {
    /// What the message asks for.
    pub required_bytes: usize,
    /// What there was.
    pub available_bytes: usize,
}
