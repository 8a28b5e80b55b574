//! The traits through which sessions read and write messages.
//!
//! Sessions ask for `impl Encode` and `impl Decode` and know no protobuf library. Every
//! [`prost::Message`] has these traits, and so have the [views](crate::views), which use none. A
//! message of another library joins in the same way as the views did: its own type, or a newtype
//! around it, implements the traits beside the blanket implementations below.
//!
//! The methods do not share their names with those of [`prost::Message`], so that both traits can
//! be in scope.

use bytes::Bytes;

use crate::error::{DecodeError, EncodeError};

/// A message that can be written as the payload of a packet.
pub trait Encode {
    /// No fewer bytes than the message takes, and hardly more: memory for them is asked for before it is written.
    fn max_wire_len(&self) -> usize;

    /// Writes the message to the beginning of `target`, which then begins behind it, as with [`bytes::BufMut`].
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when `target` is shorter than [`max_wire_len`](Self::max_wire_len); then nothing was written.
    fn encode_into(&self, target: &mut &mut [u8]) -> Result<(), EncodeError>;

    /// The message by itself, for whoever has no memory to write it to.
    fn to_wire(&self) -> Vec<u8> {
        let mut memory = vec![0; self.max_wire_len()];
        let mut rest = &mut memory[..];
        self.encode_into(&mut rest).expect("as much memory as the message asks for");
        let unused = rest.len();
        memory.truncate(memory.len() - unused);
        memory
    }
}

/// A message that can be read from the payload of a packet.
///
/// A type that borrows from the payload implements the trait for the payload's lifetime; one that
/// owns its content for every lifetime.
pub trait Decode<'payload>: Sized {
    /// Reads the message, which takes up the whole of `payload`.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when `payload` is not such a message. Fields that the message does not know
    /// are skipped.
    fn decode_from(payload: &'payload [u8]) -> Result<Self, DecodeError>;
}

/// A message that owns its content, so that it can outlive the payload or go to another thread.
pub trait DecodeOwned: for<'payload> Decode<'payload> {
    /// Reads the message like [`Decode::decode_from`], but its bytes fields share the memory of
    /// `payload` where they can, in place of a copy.
    ///
    /// # Errors
    ///
    /// As for [`Decode::decode_from`].
    fn decode_shared(payload: Bytes) -> Result<Self, DecodeError>;
}

impl<M: prost::Message> Encode for M {
    fn max_wire_len(&self) -> usize {
        self.encoded_len()
    }

    fn encode_into(&self, target: &mut &mut [u8]) -> Result<(), EncodeError> {
        self.encode(target).map_err(|error| EncodeError {
            required_bytes: error.required_capacity(),
            available_bytes: error.remaining(),
        })
    }
}

impl<M: prost::Message + Default> Decode<'_> for M {
    fn decode_from(payload: &[u8]) -> Result<Self, DecodeError> {
        M::decode(payload).map_err(|error| DecodeError::Library(Box::new(error)))
    }
}

impl<M: prost::Message + Default> DecodeOwned for M {
    fn decode_shared(payload: Bytes) -> Result<Self, DecodeError> {
        M::decode(payload).map_err(|error| DecodeError::Library(Box::new(error)))
    }
}
