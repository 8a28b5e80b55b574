//! The 64 bits that travel with a request: whose it is.

use crate::operation::OpId;

/// Operation ids use 24 bits of index (`ProviderConfig::MAX_OPERATIONS`), so the top byte is free for a mark.
const SHIFT: u32 = 56;
const ID_MASK: u64 = (1 << SHIFT) - 1;

/// What a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// The operation itself.
    Op(OpId),
    /// A wait for readiness that comes before the operation is tried (again).
    Readiness(OpId),
    /// The eventfd of the wakers.
    Wake,
    /// The request to cancel the operation.
    Cancel(OpId),
    /// Nobody's: wait limits.
    Ignored,
}

impl Tag {
    pub(super) const fn bits(self) -> u64 {
        match self {
            Self::Op(op) => op.to_bits(),
            Self::Readiness(op) => op.to_bits() | 1 << SHIFT,
            Self::Wake => 2 << SHIFT,
            Self::Cancel(op) => op.to_bits() | 3 << SHIFT,
            Self::Ignored => 4 << SHIFT,
        }
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        let op = OpId::from_bits(bits & ID_MASK);
        match bits >> SHIFT {
            0 => Self::Op(op),
            1 => Self::Readiness(op),
            2 => Self::Wake,
            3 => Self::Cancel(op),
            _ => Self::Ignored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProviderConfig;
    use crate::slab::Key;

    #[test]
    fn every_tag_survives_the_kernel() {
        let largest = OpId(Key { index: ProviderConfig::MAX_OPERATIONS - 1, generation: u32::MAX });
        for tag in [Tag::Op(largest), Tag::Readiness(largest), Tag::Wake, Tag::Cancel(largest), Tag::Ignored] {
            assert_eq!(Tag::from_bits(tag.bits()), tag);
        }
    }
}
