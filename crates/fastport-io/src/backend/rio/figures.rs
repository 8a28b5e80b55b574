//! What is logged of a provider: at its start what it has, and from time to time how it is used.

use std::time::{Duration, Instant};

use super::RioDriver;
use crate::buffer::BufferPool;

/// Time between two reports of a provider that has something to do.
const PERIOD: Duration = Duration::from_secs(60);

/// Counts since the last report.
#[derive(Default)]
pub(super) struct Figures {
    last_report: Option<Instant>,
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

impl RioDriver {
    pub(super) fn report_start(&self, pool: &BufferPool) {
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

    /// Reports once in a period, if there was anything.
    pub(super) fn report_use(&mut self, now: Instant, pool: &BufferPool) {
        let last = *self.figures.last_report.get_or_insert(now);
        if now.saturating_duration_since(last) < PERIOD {
            return;
        }
        let figures = std::mem::replace(&mut self.figures, Figures { last_report: Some(now), ..Figures::default() });
        if figures.requests + figures.plain_sends == 0 {
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
            requests = figures.requests,
            copied_sends = figures.copies,
            plain_sends = figures.plain_sends,
            mean_commits = mean(figures.commits, figures.flushes),
            mean_dequeued = mean(figures.completions, figures.dequeues),
            "Registered I/O"
        );
    }
}

fn mean(sum: u64, count: u64) -> f64 {
    sum as f64 / count.max(1) as f64
}
