//! Keeps an eye on a client, for the limits of its service: its rates, how long its packets take, and whether it reads.
//!
//! A session has a watch only if its service has such limits. It is asked once for each receive, not for each packet; that
//! the client reads is looked at from time to time, since a mark on each send would cost every packet.

use std::time::{Duration, Instant};

use super::close::CloseReason;
use super::stats::SessionStats;
use crate::limits::{Limits, Meter};

/// What is known of a client's conduct.
pub(crate) struct Watch {
    opened: Instant,
    packets: Meter,
    bytes: Meter,
    /// What the session had received when the watch looked last.
    packets_seen: u64,
    bytes_seen: u64,
    /// When the packet began that is not complete.
    unfinished_since: Option<Instant>,
    /// When the send queue was looked at last.
    looked_at: Instant,
    /// The client has read nothing since then.
    stall: Option<Stall>,
}

/// Something waits to be sent, and the system takes nothing of it.
struct Stall {
    since: Instant,
    /// What had been sent by then.
    bytes_sent: u64,
}

/// How many looks at a send queue there are in the time that a client has for reading.
const LOOKS: u32 = 4;

impl Watch {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            opened: now,
            packets: Meter::default(),
            bytes: Meter::default(),
            packets_seen: 0,
            bytes_seen: 0,
            unfinished_since: None,
            looked_at: now,
            stall: None,
        }
    }

    /// Something was received and handled. Returns why the session has to end, if it has.
    pub(crate) fn received(
        &mut self,
        stats: &SessionStats,
        has_partial_packet: bool,
        limits: &Limits,
        now: Instant,
    ) -> Option<CloseReason> {
        let packets = stats.packets_received - self.packets_seen;
        let bytes = stats.bytes_received - self.bytes_seen;
        self.packets_seen = stats.packets_received;
        self.bytes_seen = stats.bytes_received;
        self.unfinished_since = match self.unfinished_since {
            _ if !has_partial_packet => None,
            Some(since) if packets == 0 => Some(since),
            _ => Some(now),
        };
        if limits.packets_per_second.is_some_and(|rate| !self.packets.take(packets, rate, now)) {
            return Some(CloseReason::PacketRate);
        }
        if limits.bytes_per_second.is_some_and(|rate| !self.bytes.take(bytes, rate, now)) {
            return Some(CloseReason::ByteRate);
        }
        None
    }

    /// When to ask [`Watch::overdue`]: when the client runs out of time, unless it sends what is missing, or when its send
    /// queue is to be looked at.
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let look = limits.unread.map(|limit| self.looked_at + limit / LOOKS);
        [self.first_deadline(limits), self.unfinished_deadline(limits), look].into_iter().flatten().min()
    }

    /// Why the session has to end now, if it has. `queued`: bytes that wait to be sent.
    pub(crate) fn overdue(
        &mut self,
        stats: &SessionStats,
        queued: usize,
        limits: &Limits,
        now: Instant,
    ) -> Option<CloseReason> {
        if limits.unread.is_some_and(|limit| self.reads_nothing(stats.bytes_sent, queued, limit, now)) {
            return Some(CloseReason::SlowReader);
        }
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if is_over(self.unfinished_deadline(limits)) {
            return Some(CloseReason::SlowPacket);
        }
        is_over(self.first_deadline(limits)).then_some(CloseReason::NoFirstPacket)
    }

    fn reads_nothing(&mut self, bytes_sent: u64, queued: usize, limit: Duration, now: Instant) -> bool {
        if now < self.looked_at + limit / LOOKS {
            return false;
        }
        self.looked_at = now;
        self.stall = match self.stall.take() {
            _ if queued == 0 => None,
            Some(stall) if stall.bytes_sent == bytes_sent => Some(stall),
            _ => Some(Stall { since: now, bytes_sent }),
        };
        self.stall.as_ref().is_some_and(|stall| stall.since + limit <= now)
    }

    fn first_deadline(&self, limits: &Limits) -> Option<Instant> {
        limits.first_packet.filter(|_| self.packets_seen == 0).map(|limit| self.opened + limit)
    }

    fn unfinished_deadline(&self, limits: &Limits) -> Option<Instant> {
        Some(self.unfinished_since? + limits.unfinished_packet?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits {
            packets_per_second: Some(10),
            bytes_per_second: Some(1000),
            first_packet: Some(30 * SECOND),
            unfinished_packet: Some(5 * SECOND),
            ..Limits::default()
        }
    }

    struct Client {
        watch: Watch,
        stats: SessionStats,
    }

    impl Client {
        fn new(now: Instant) -> Self {
            Self { watch: Watch::new(now), stats: SessionStats::new(now) }
        }

        fn sends(&mut self, packets: u64, bytes: u64, is_partial: bool, now: Instant) -> Option<CloseReason> {
            self.stats.packets_received += packets;
            self.stats.bytes_received += bytes;
            self.watch.received(&self.stats, is_partial, &limits(), now)
        }

        /// With nothing to send.
        fn overdue(&mut self, now: Instant) -> Option<CloseReason> {
            self.watch.overdue(&self.stats, 0, &limits(), now)
        }
    }

    #[test]
    fn a_client_that_says_nothing_has_until_the_limit_of_the_first_packet() {
        let start = Instant::now();
        let mut client = Client::new(start);
        assert_eq!(client.watch.deadline(&limits()), Some(start + 30 * SECOND));
        assert_eq!(client.overdue(start + 29 * SECOND), None);
        assert_eq!(client.overdue(start + 30 * SECOND), Some(CloseReason::NoFirstPacket));
    }

    #[test]
    fn after_the_first_packet_silence_is_allowed() {
        let start = Instant::now();
        let mut client = Client::new(start);
        assert_eq!(client.sends(1, 10, false, start), None);
        assert_eq!(client.watch.deadline(&limits()), None);
        assert_eq!(client.overdue(start + 3600 * SECOND), None);
    }

    #[test]
    fn single_bytes_of_a_packet_do_not_prolong_its_time() {
        let start = Instant::now();
        let mut client = Client::new(start);
        for second in 0..5 {
            assert_eq!(client.sends(0, 1, true, start + second * SECOND), None);
            assert_eq!(client.watch.deadline(&limits()), Some(start + 5 * SECOND));
        }
        assert_eq!(client.overdue(start + 5 * SECOND), Some(CloseReason::SlowPacket));
    }

    #[test]
    fn each_packet_has_the_whole_time_even_if_one_always_ends_within_a_receive() {
        let start = Instant::now();
        let mut client = Client::new(start);
        for second in 0..100 {
            let now = start + second * SECOND;
            assert_eq!(client.overdue(now), None);
            assert_eq!(client.sends(1, 100, true, now), None);
        }
        assert_eq!(client.watch.deadline(&limits()), Some(start + 104 * SECOND));
    }

    #[test]
    fn a_client_that_reads_nothing_is_given_up_after_its_time_and_one_that_reads_a_little_is_not() {
        let limits = Limits { unread: Some(8 * SECOND), ..Limits::default() };
        let start = Instant::now();
        let (mut stalled, mut slow, mut idle) = (Client::new(start), Client::new(start), Client::new(start));
        let mut given_up = None;
        for second in 1..100 {
            let now = start + second * SECOND;
            assert!(slow.watch.deadline(&limits).is_some_and(|look| look <= now + 2 * SECOND));
            slow.stats.bytes_sent += u64::from(second % 7 == 0);
            assert_eq!(slow.watch.overdue(&slow.stats, 1000, &limits, now), None);
            assert_eq!(idle.watch.overdue(&idle.stats, 0, &limits, now), None);
            // What waits does so from the third second on.
            let queued = if second < 3 { 0 } else { 1000 };
            if stalled.watch.overdue(&stalled.stats, queued, &limits, now) == Some(CloseReason::SlowReader) {
                given_up.get_or_insert(second);
            }
        }
        assert_eq!(given_up, Some(12), "noticed at the look of second 4, given up 8 seconds later");
    }

    #[test]
    fn a_flood_of_packets_or_bytes_is_found() {
        let start = Instant::now();
        let mut client = Client::new(start);
        assert_eq!(client.sends(10, 100, false, start), None);
        assert_eq!(client.sends(1, 10, false, start), Some(CloseReason::PacketRate));
        let mut client = Client::new(start);
        assert_eq!(client.sends(1, 1000, false, start), None);
        assert_eq!(client.sends(1, 1, false, start), Some(CloseReason::ByteRate));
    }
}
