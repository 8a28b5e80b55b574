//! What a session counts.

use std::time::Instant;

/// Counts of one session since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStats {
    /// Packets that were handed to the handler.
    pub packets_received: u64,
    /// Packets that were queued to be sent.
    pub packets_sent: u64,
    /// Bytes that arrived, headers included.
    pub bytes_received: u64,
    /// Bytes that the system has taken, headers included.
    pub bytes_sent: u64,
    /// When bytes arrived last, to the precision of a batch; at first, when the session was opened.
    pub last_received: Instant,
}

impl SessionStats {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { packets_received: 0, packets_sent: 0, bytes_received: 0, bytes_sent: 0, last_received: now }
    }
}
