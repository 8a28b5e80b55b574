//! What clients may ask of a service, and the meter that limits of rates are kept with.
//!
//! The service's options hold [`Limits`]. The listeners, the hub and each session's watch look after them.

use std::time::{Duration, Instant};

use crate::error::Error;

/// What clients may ask of a service. A limit that is not set does not exist; none of these is by default.
///
/// They stand beside those that always hold: the number of sessions ([`ServiceOptions::max_sessions`]), the size of packets
/// ([`Framer::max_frame_bytes`]) and what a client may leave unread ([`SessionOptions::limit_bytes`]).
///
/// A client that a limit keeps out is told to the handler's [`refused`](crate::Handler::refused), one that goes beyond a
/// limit later is closed with a [`CloseReason`](crate::CloseReason) of its own, and [`ServiceStats`](crate::ServiceStats)
/// counts both. Connections that the service itself has made are limited by `queued_bytes` only.
///
/// [`ServiceOptions::max_sessions`]: crate::ServiceOptions::max_sessions
/// [`SessionOptions::limit_bytes`]: crate::SessionOptions::limit_bytes
/// [`Framer::max_frame_bytes`]: crate::Framer::max_frame_bytes
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at once from one address; further clients are accepted and closed at once. An IPv6 client counts by its
    /// network of 64 bits, since it may have as many addresses in that as it likes.
    pub sessions_per_address: Option<u32>,
    /// Clients that each listener accepts in a second; further ones are accepted and closed at once. A second's worth may
    /// come together.
    pub accepts_per_second: Option<u32>,
    /// Packets that a client may send in a second; beyond it the session is closed with reason
    /// [`PacketRate`](crate::CloseReason::PacketRate). A second's worth may come together. It is checked after what was
    /// received together has been handled.
    pub packets_per_second: Option<u32>,
    /// Bytes that a client may send in a second; beyond it the session is closed with reason
    /// [`ByteRate`](crate::CloseReason::ByteRate). A second's worth may come together, so it is at least the largest packet.
    /// Where the network holds a client up, what it sent meanwhile arrives at once: leave room for that.
    pub bytes_per_second: Option<u32>,
    /// How long a client may take until its first packet is there; then the session is closed with reason
    /// [`NoFirstPacket`](crate::CloseReason::NoFirstPacket). At least 10 ms.
    pub first_packet: Option<Duration>,
    /// How long a client may take from the first to the last byte of a packet; then the session is closed with reason
    /// [`SlowPacket`](crate::CloseReason::SlowPacket). At least 10 ms. The idle limit does not see a client that sends a
    /// byte now and then; this one does.
    pub unfinished_packet: Option<Duration>,
    /// How long a client may read nothing of what waits for it; then the session is closed with reason
    /// [`SlowReader`](crate::CloseReason::SlowReader). At least 10 ms. It is looked at four times in that time, so it may
    /// take half as long again. What a client has to read is one send, of a slot of the send pool at most, beyond what the
    /// system's own buffers hold.
    pub unread: Option<Duration>,
    /// Bytes in the send queues of all sessions together; each worker has an equal share of it. Beyond it the sessions with
    /// the most in their queues are closed, with reason [`QueueMemory`](crate::CloseReason::QueueMemory), until a sixteenth
    /// is free again. It is checked once a batch. At least [`SessionOptions::limit_bytes`](crate::SessionOptions::limit_bytes)
    /// for each worker.
    pub queued_bytes: Option<usize>,
}

impl Limits {
    /// The shortest time limit.
    pub const MIN_TIME: Duration = Duration::from_millis(10);

    /// True if there is anything to watch in a session.
    pub(crate) fn watch_sessions(&self) -> bool {
        self.packets_per_second.is_some()
            || self.bytes_per_second.is_some()
            || self.first_packet.is_some()
            || self.unfinished_packet.is_some()
            || self.unread.is_some()
    }

    /// Checks them for a service of so many workers, whose sessions may queue and receive so much.
    pub(crate) fn check(&self, workers: usize, session_bytes: usize, max_frame_bytes: usize) -> Result<(), Error> {
        let least_queued = workers.saturating_mul(session_bytes);
        let is_zero = |rate: Option<u32>| rate == Some(0);
        let is_short = |time: Option<Duration>| time.is_some_and(|time| time < Self::MIN_TIME);
        let fault = if is_zero(self.sessions_per_address) || is_zero(self.accepts_per_second) {
            "no client would be accepted; choose 1 or more sessions per address and accepts a second".to_owned()
        } else if is_zero(self.packets_per_second) {
            "no packet would be allowed; choose 1 or more packets a second".to_owned()
        } else if let Some(bytes) = self.bytes_per_second.filter(|&bytes| (bytes as usize) < max_frame_bytes) {
            format!(
                "{bytes} bytes a second, but one packet may have {max_frame_bytes}; allow at least that, or lower the \
                 framer's limit"
            )
        } else if [self.first_packet, self.unfinished_packet, self.unread].into_iter().any(is_short) {
            format!("a time limit for clients below {:?}", Self::MIN_TIME)
        } else if let Some(bytes) = self.queued_bytes.filter(|&bytes| bytes < least_queued) {
            format!(
                "{bytes} bytes for all send queues, but {workers} workers need {least_queued}, as one session may queue \
                 {session_bytes}; raise it, or lower session.limit_bytes"
            )
        } else {
            return Ok(());
        };
        Err(Error::Options(fault))
    }
}

/// Why a client was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The service has its maximum of sessions.
    Sessions,
    /// The client's address has its maximum of sessions.
    Address,
    /// Too many clients came within a second.
    Rate,
    /// The process or the system has no descriptors or memory left.
    Exhausted,
}

impl Refusal {
    /// Its name, for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Address => "address",
            Self::Rate => "rate",
            Self::Exhausted => "exhausted",
        }
    }
}

/// Measures whether events keep to a rate, of which a second's worth may come together.
///
/// Each event takes its share of a second, one after another; what is known is when the last of them will be over. An event
/// that would be over later than in a second is one too many.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    over_at: Option<Instant>,
}

impl Meter {
    /// Counts events. False if they are too many; they are not counted then.
    pub(crate) fn take(&mut self, events: u64, per_second: u32, now: Instant) -> bool {
        const SECOND: Duration = Duration::from_secs(1);
        let share = Duration::from_nanos(events.saturating_mul(1_000_000_000) / u64::from(per_second.max(1)));
        let begin = self.over_at.map_or(now, |over_at| over_at.max(now));
        let over_at = begin + share;
        if over_at > now + SECOND {
            return false;
        }
        self.over_at = Some(over_at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_allows_a_seconds_worth_at_once_and_then_the_rate() {
        let mut meter = Meter::default();
        let mut now = Instant::now();
        assert!((0..10).all(|_| meter.take(1, 10, now)));
        assert!(!meter.take(1, 10, now));
        // What was refused does not count.
        now += Duration::from_millis(100);
        assert!(meter.take(1, 10, now));
        assert!(!meter.take(1, 10, now));
        now += Duration::from_secs(60);
        assert!(meter.take(10, 10, now));
        assert!(!meter.take(1, 10, now), "time without events is not saved up beyond a second");
    }

    #[test]
    fn a_meter_lets_a_steady_stream_at_its_rate_pass_for_ever() {
        let mut meter = Meter::default();
        let start = Instant::now();
        assert!((0..10_000_u64).all(|number| meter.take(3, 300, start + Duration::from_millis(10) * number as u32)));
    }

    #[test]
    fn no_limit_is_set_by_default() {
        let limits = Limits::default();
        assert!(!limits.watch_sessions());
        limits.check(1024, 1 << 30, usize::MAX).unwrap();
    }

    #[test]
    fn limits_that_would_let_nothing_pass_are_refused_with_a_remedy() {
        let base = Limits::default;
        for (limits, words) in [
            (Limits { sessions_per_address: Some(0), ..base() }, "choose 1 or more"),
            (Limits { accepts_per_second: Some(0), ..base() }, "choose 1 or more"),
            (Limits { packets_per_second: Some(0), ..base() }, "choose 1 or more"),
            (Limits { bytes_per_second: Some(99), ..base() }, "allow at least that"),
            (Limits { first_packet: Some(Duration::from_millis(9)), ..base() }, "10ms"),
            (Limits { unfinished_packet: Some(Duration::ZERO), ..base() }, "10ms"),
            (Limits { unread: Some(Duration::from_millis(9)), ..base() }, "10ms"),
            (Limits { queued_bytes: Some(1999), ..base() }, "lower session.limit_bytes"),
        ] {
            let error = limits.check(2, 1000, 100).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let enough = Limits { bytes_per_second: Some(100), queued_bytes: Some(2000), ..base() };
        enough.check(2, 1000, 100).unwrap();
    }
}
