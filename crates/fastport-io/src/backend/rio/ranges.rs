//! Ranges that requests use. The system forbids to name a byte in two requests at a time, even to send it twice; a caller
//! who does so all the same (one shared frame to many sockets, say) is served in another way.

use std::collections::BTreeMap;

/// Disjoint ranges of memory, by their start.
#[derive(Default)]
pub(super) struct Ranges {
    ends: BTreeMap<usize, usize>,
}

impl Ranges {
    /// Claims a range, unless a part of it is claimed.
    pub(super) fn claim(&mut self, start: usize, bytes: usize) -> bool {
        let end = start + bytes;
        // Ranges are disjoint, so only the last one that begins before the end can reach into this one.
        let before = self.ends.range(..end).next_back();
        if before.is_some_and(|(_, &before_end)| before_end > start) {
            return false;
        }
        self.ends.insert(start, end);
        true
    }

    pub(super) fn release(&mut self, start: usize) {
        let released = self.ends.remove(&start);
        debug_assert!(released.is_some(), "a range is released once");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_no_overlap_and_a_released_range_is_free() {
        let mut ranges = Ranges::default();
        assert!(ranges.claim(100, 10));
        assert!(ranges.claim(90, 10));
        assert!(ranges.claim(110, 1));
        assert!(!ranges.claim(109, 1));
        assert!(!ranges.claim(0, 1000));
        ranges.release(100);
        assert!(ranges.claim(105, 5));
        assert!(!ranges.claim(100, 6));
    }

    proptest! {
        #[test]
        fn a_claim_succeeds_exactly_if_all_its_bytes_are_free(
            steps in proptest::collection::vec((0usize..60, 1usize..20, any::<bool>()), 0..200),
        ) {
            let mut ranges = Ranges::default();
            let mut owners = [None; 80];
            for (start, bytes, release) in steps {
                if release {
                    if let Some(owner) = owners[start] {
                        ranges.release(owner);
                        for byte in &mut owners {
                            if *byte == Some(owner) { *byte = None; }
                        }
                    }
                    continue;
                }
                let free = owners[start..start + bytes].iter().all(Option::is_none);
                prop_assert_eq!(ranges.claim(start, bytes), free);
                if free {
                    owners[start..start + bytes].fill(Some(start));
                }
            }
        }
    }
}
