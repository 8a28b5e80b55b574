//! What is logged of a provider: with its first turn what it has, and from time to time how it is used.

use std::time::{Duration, Instant};

use super::RioDriver;
use crate::buffer::BufferPool;

/// When to report, and the counts since the last report.
pub(super) struct Figures {
    period: Duration,
    last_report: Option<Instant>,
    pub(super) counts: Counts,
}

#[derive(Default)]
pub(super) struct Counts {
    /// Requests to the system: sends and receives by request queues.
    pub(super) requests: u64,
    /// Commits of deferred sends, one for each socket and batch.
    pub(super) commits: u64,
    /// Batches of them.
    pub(super) flushes: u64,
    /// Sends that were copied to registered memory.
    pub(super) copies: u64,
    /// Sends that went out by `WSASend`.
    pub(super) plain_sends: u64,
    /// Calls that dequeued something, and how much.
    pub(super) dequeues: u64,
    pub(super) completions: u64,
}

impl Figures {
    pub(super) fn new(period: Duration) -> Self {
        Self { period, last_report: None, counts: Counts::default() }
    }
}

impl RioDriver {
    /// Reports what there is to say at this moment, mostly nothing.
    ///
    /// The set-up is told with the first turn and not when the provider is opened: one that is opened only to see whether
    /// it opens says nothing.
    #[inline]
    pub(super) fn report(&mut self, now: Instant, pool: &BufferPool) {
        match self.figures.last_report {
            Some(last) if now.saturating_duration_since(last) < self.figures.period => return,
            Some(_) => self.report_use(pool),
            None => self.report_start(pool),
        }
        self.figures.last_report = Some(now);
    }

    fn report_start(&self, pool: &BufferPool) {
        let stats = pool.stats();
        tracing::info!(
            receive_slots = stats.slots,
            max_receive_slots = stats.max_slots,
            slot_bytes = stats.slot_bytes,
            registered_bytes = self.registry.bytes(),
            completion_entries = self.completions.entries(),
            notification = if self.completions.notifies() { "port" } else { "polling" },
            "Registered I/O: table of functions loaded, memory registered"
        );
    }

    fn report_use(&mut self, pool: &BufferPool) {
        let counts = std::mem::take(&mut self.figures.counts);
        if counts.requests + counts.plain_sends == 0 {
            return;
        }
        let stats = pool.stats();
        tracing::info!(
            receive_slots_held = stats.allocated,
            receive_slots_high_water = stats.high_water,
            receive_slots = stats.slots,
            registered_bytes = self.registry.bytes(),
            completion_entries_taken = self.completions.taken(),
            completion_entries = self.completions.entries(),
            requests = counts.requests,
            copied_sends = counts.copies,
            plain_sends = counts.plain_sends,
            mean_commits = mean(counts.commits, counts.flushes),
            mean_dequeued = mean(counts.completions, counts.dequeues),
            "Registered I/O: use since the last report"
        );
    }
}

fn mean(sum: u64, count: u64) -> f64 {
    sum as f64 / count.max(1) as f64
}
