//! The deadlines of timeout operations, earliest first; those of equal time in the order of their submission.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::operation::OpId;

/// Fewer entries than this are never swept.
const SWEEP_FROM: usize = 64;

pub(super) struct Deadlines {
    epoch: Instant,
    /// Nanoseconds since `epoch`, number, operation.
    heap: BinaryHeap<Reverse<(u64, u64, u64)>>,
    made: u64,
    /// Entries of operations that are still alive; cancelled ones stay in the heap for a while.
    alive: usize,
}

impl Deadlines {
    pub(super) const fn new(epoch: Instant) -> Self {
        Self { epoch, heap: BinaryHeap::new(), made: 0, alive: 0 }
    }

    pub(super) fn add(&mut self, op: OpId, deadline: Instant, is_alive: impl Fn(OpId) -> bool) {
        // Whoever sets and cancels a long timeout for each request would fill the heap with the dead. Sweeping them when
        // they are more than half costs each of them a constant.
        if self.heap.len() > SWEEP_FROM && self.heap.len() > 2 * self.alive {
            self.heap.retain(|Reverse((_, _, op))| is_alive(OpId::from_bits(*op)));
        }
        self.alive += 1;
        // What lies beyond 584 years waits for ever.
        let since_epoch = deadline.saturating_duration_since(self.epoch);
        let deadline_ns = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        self.made += 1;
        self.heap.push(Reverse((deadline_ns, self.made, op.to_bits())));
    }

    /// A timeout operation was finished, in time or by a cancellation.
    pub(super) fn note_finished(&mut self) {
        self.alive -= 1;
    }

    /// The earliest deadline of an operation that is still alive; those of dead (cancelled) ones are thrown away on the
    /// way.
    pub(super) fn next(&mut self, is_alive: impl Fn(OpId) -> bool) -> Option<Instant> {
        while let Some(&Reverse((deadline_ns, _, op))) = self.heap.peek() {
            if is_alive(OpId::from_bits(op)) {
                return Some(self.epoch + Duration::from_nanos(deadline_ns));
            }
            self.heap.pop();
        }
        None
    }

    /// Removes the earliest one.
    pub(super) fn pop(&mut self) -> Option<OpId> {
        self.heap.pop().map(|Reverse((_, _, op))| OpId::from_bits(op))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;

    #[test]
    fn cancelled_deadlines_do_not_pile_up() {
        let now = Instant::now();
        let mut deadlines = Deadlines::new(now);
        let id = |index| OpId(Key { index, generation: 1 });
        let keeps = |op: OpId| op == id(0);
        deadlines.add(id(0), now + Duration::from_secs(60), keeps);
        for index in 1..10_000 {
            deadlines.add(id(index), now + Duration::from_secs(30), keeps);
            deadlines.note_finished();
        }
        assert!(deadlines.heap.len() <= 2 * SWEEP_FROM, "{} entries for one timeout", deadlines.heap.len());
        assert_eq!(deadlines.next(keeps), Some(now + Duration::from_secs(60)));
    }
}
