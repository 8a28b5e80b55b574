//! The context of a request: the operation it belongs to, and which part of it it is.

use crate::config::ProviderConfig;
use crate::operation::OpId;

/// What a completion of the queue is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Receive(OpId),
    /// The first or the second part of a send.
    Send(OpId, u8),
}

/// The bits above an id, whose index is below the largest number of operations.
const SHIFT: u32 = 62;
const ID: u64 = (1 << SHIFT) - 1;

impl Tag {
    pub(super) const fn bits(self) -> u64 {
        let (op, kind) = match self {
            Self::Receive(op) => (op, 0),
            Self::Send(op, part) => (op, 1 + part as u64),
        };
        op.to_bits() | kind << SHIFT
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        let op = OpId::from_bits(bits & ID);
        match bits >> SHIFT {
            0 => Self::Receive(op),
            kind => Self::Send(op, kind as u8 - 1),
        }
    }
}

const _: () = assert!(ProviderConfig::MAX_OPERATIONS as u64 <= 1 << (SHIFT - 32), "an index leaves room for the tag");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;

    #[test]
    fn a_tag_survives_its_way_through_the_system() {
        for index in [0, 1, ProviderConfig::MAX_OPERATIONS - 1] {
            for generation in [1, u32::MAX] {
                let op = OpId(Key { index, generation });
                for tag in [Tag::Receive(op), Tag::Send(op, 0), Tag::Send(op, 1)] {
                    assert_eq!(Tag::from_bits(tag.bits()), tag);
                }
            }
        }
    }
}
