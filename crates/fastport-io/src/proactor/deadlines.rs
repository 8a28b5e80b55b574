//! The deadlines of timeout operations, earliest first; those of equal time in the order of their submission.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::operation::OpId;

pub(super) struct Deadlines {
    epoch: Instant,
    /// Nanoseconds since `epoch`, number, operation.
    heap: BinaryHeap<Reverse<(u64, u64, u64)>>,
    made: u64,
}

impl Deadlines {
    pub(super) const fn new(epoch: Instant) -> Self {
        Self { epoch, heap: BinaryHeap::new(), made: 0 }
    }

    pub(super) fn add(&mut self, op: OpId, deadline: Instant) {
        // What lies beyond 584 years waits for ever.
        let since_epoch = deadline.saturating_duration_since(self.epoch);
        let deadline_ns = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        self.made += 1;
        self.heap.push(Reverse((deadline_ns, self.made, op.to_bits())));
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
