//! The life of a session, as a state machine without I/O: events come in, actions go out, time is passed in.
//!
//! ```text
//!  Connecting ──open──▶ Open ──close(Drain), end of file──▶ Draining ──queue empty──▶ AwaitingEnd
//!      │                 │                                     │ queue empty,             │ end of file,
//!      │ failed,         │ failed,                             │ peer has ended           │ time limit
//!      │ time limit      │ close(AtOnce | Abort)               ▼                          ▼
//!      └─────────────────┴──────────────────────────────────▶ Doomed ──next_action──▶ Closing ──▶ removed
//! ```
//!
//! The worker reports what happened, sends what [`Link::next_send`] says, asks for [`Link::next_action`] until there is
//! none, and carries the actions out. In `Closing` the socket's close is under way; its completion is the last event, and then the handler is told.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastport_io::{CloseMode, Error, SendBuffers};

use super::close::{CloseHow, CloseReason};
use super::id::SessionId;
use super::send_queue::SendQueue;
use super::stats::SessionStats;
use crate::error::SendError;
use crate::options::{Overflow, SessionOptions};

/// What the worker has to do for a session, besides sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell the peer that no more follows.
    ShutDownWrite,
    /// Close the socket. The completion ends the session.
    Close(CloseMode),
}

/// A stage of a graceful close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainStage {
    /// What is queued goes out.
    Sending,
    /// The stream has been ended, and the peer's end is awaited.
    AwaitingEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Open,
    Draining,
    AwaitingEnd,
    Doomed(CloseMode),
    Closing,
}

/// The sending half of a session, its state and its counts.
#[repr(C)]
pub(crate) struct Link {
    pub(crate) id: SessionId,
    phase: Phase,
    /// On the worker's list of sessions to look after.
    pub(crate) is_dirty: bool,
    /// The queue was above the high-water mark, or refused a message, and is not yet down to the low-water mark.
    congested: bool,
    /// What other threads believe of `congested`.
    congestion_told: bool,
    peer_has_ended: bool,
    /// It was open, so the handler is told of its end.
    was_open: bool,
    /// The stage of a graceful close that the worker has set a time limit to.
    timed_stage: Option<DrainStage>,
    pub(crate) stats: SessionStats,
    pub(crate) queue: SendQueue,
    /// The length of the queue that the worker knows of.
    queued_counted: usize,
    reason: Option<CloseReason>,
    pub(crate) peer: SocketAddr,
}

impl Link {
    /// A session over a connection that stands.
    pub(crate) fn open(id: SessionId, peer: SocketAddr, now: Instant) -> Self {
        Self { phase: Phase::Open, was_open: true, ..Self::connecting(id, peer, now) }
    }

    /// A session whose connection is being made.
    pub(crate) fn connecting(id: SessionId, peer: SocketAddr, now: Instant) -> Self {
        Self {
            id,
            peer,
            queue: SendQueue::default(),
            queued_counted: 0,
            stats: SessionStats::new(now),
            phase: Phase::Connecting,
            reason: None,
            peer_has_ended: false,
            was_open: false,
            timed_stage: None,
            congested: false,
            congestion_told: false,
            is_dirty: false,
        }
    }

    /// Reads one word of each cache line that a packet needs.
    #[inline]
    pub(crate) fn fetch(&self) {
        black_box((self.is_dirty, self.stats.packets_received, self.queue.queued()));
    }

    /// True while messages can be sent and packets are handed to the handler.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// True until the connection stands or has failed.
    pub(crate) fn is_connecting(&self) -> bool {
        self.phase == Phase::Connecting
    }

    /// True when the session has no more use for what comes in.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Doomed(_) | Phase::Closing)
    }

    /// The stage of a graceful close.
    pub(crate) fn drain_stage(&self) -> Option<DrainStage> {
        match self.phase {
            Phase::Draining => Some(DrainStage::Sending),
            Phase::AwaitingEnd => Some(DrainStage::AwaitingEnd),
            _ => None,
        }
    }

    /// The stage, if it has begun since the last call; each has a time limit.
    pub(crate) fn take_new_drain_stage(&mut self) -> Option<DrainStage> {
        let stage = self.drain_stage();
        let before = std::mem::replace(&mut self.timed_stage, stage);
        stage.filter(|_| stage != before)
    }

    /// True if the handler was told that the session exists.
    pub(crate) fn was_open(&self) -> bool {
        self.was_open
    }

    /// Whether the queue is congested, if that has changed since the last call: from above the high-water mark down to
    /// the low-water mark it is.
    #[inline]
    pub(crate) fn take_congestion_change(&mut self) -> Option<bool> {
        let changed = self.congested != self.congestion_told;
        self.congestion_told = self.congested;
        changed.then_some(self.congested)
    }

    /// The length of the queue at the last call, and now.
    #[inline]
    pub(crate) fn count_queued(&mut self) -> (usize, usize) {
        let now = self.queue.queued();
        (std::mem::replace(&mut self.queued_counted, now), now)
    }

    /// Why the session ends; `None` while it does not.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        self.reason
    }

    // Events

    /// The connection stands. False if the session was given up meanwhile.
    pub(crate) fn connected(&mut self, now: Instant) -> bool {
        if self.phase != Phase::Connecting {
            return false;
        }
        self.phase = Phase::Open;
        self.was_open = true;
        self.stats.last_received = now;
        true
    }

    /// Bytes have arrived. False if they are of no interest any more.
    #[inline]
    pub(crate) fn received(&mut self, bytes: usize, now: Instant) -> bool {
        self.stats.bytes_received += bytes as u64;
        self.stats.last_received = now;
        self.phase == Phase::Open
    }

    /// The peer's stream has ended. It may still read, so what is queued is sent.
    pub(crate) fn peer_ended(&mut self) {
        self.peer_has_ended = true;
        match self.phase {
            Phase::Open => self.close(CloseReason::PeerClosed, CloseHow::Drain),
            Phase::AwaitingEnd => self.phase = Phase::Doomed(CloseMode::Graceful),
            Phase::Connecting | Phase::Draining | Phase::Doomed(_) | Phase::Closing => {}
        }
    }

    /// An operation has failed. The connection is of no more use.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.close(CloseReason::of(error), CloseHow::Abort);
    }

    /// The send in flight has completed. Returns its bytes, `None` if the session is ending.
    #[inline]
    pub(crate) fn sent(&mut self) -> Option<usize> {
        if self.is_ending() {
            return None;
        }
        let bytes = self.queue.sent();
        self.stats.bytes_sent += bytes as u64;
        Some(bytes)
    }

    /// True once when a congested queue is down to the low-water mark.
    #[inline]
    pub(crate) fn take_writable(&mut self, options: &SessionOptions) -> bool {
        if !self.congested || self.queue.queued() > options.low_water_bytes {
            return false;
        }
        self.congested = false;
        self.is_open()
    }

    /// Asks for the end of the session. The first reason is kept; a harder way overrides a gentler one.
    pub(crate) fn close(&mut self, reason: CloseReason, how: CloseHow) {
        if self.phase == Phase::Closing {
            return;
        }
        self.reason.get_or_insert(reason);
        let mode = match (how, self.phase) {
            (CloseHow::Drain, Phase::Open) => {
                self.phase = Phase::Draining;
                return;
            }
            (CloseHow::Drain, Phase::Draining | Phase::AwaitingEnd) => return,
            (CloseHow::Drain | CloseHow::AtOnce, Phase::Doomed(mode)) => mode,
            (CloseHow::Drain | CloseHow::AtOnce, _) => CloseMode::Graceful,
            (CloseHow::Abort, _) => CloseMode::Abortive,
        };
        self.phase = Phase::Doomed(mode);
        self.queue.clear();
    }

    /// The session's timer is due. Returns when to look again.
    pub(crate) fn timer_due(&mut self, now: Instant, options: &SessionOptions) -> Option<Instant> {
        match self.phase {
            // A graceful close keeps the reason that it has.
            Phase::Connecting | Phase::Draining | Phase::AwaitingEnd => {
                self.close(CloseReason::Timeout, CloseHow::Abort);
            }
            Phase::Open => {
                let deadline = self.stats.last_received + options.idle_limit?;
                if now < deadline {
                    return Some(deadline);
                }
                self.close(CloseReason::Idle, CloseHow::AtOnce);
            }
            Phase::Doomed(_) | Phase::Closing => {}
        }
        None
    }

    /// The provider had no room for the close; [`Link::next_action`] will ask for it again.
    pub(crate) fn close_was_refused(&mut self, mode: CloseMode) {
        debug_assert_eq!(self.phase, Phase::Closing);
        self.phase = Phase::Doomed(mode);
    }

    // Sending

    /// Checks that a message of the handler's of `bytes` bytes may be queued now.
    #[inline]
    pub(crate) fn admit(&mut self, bytes: usize, options: &SessionOptions) -> Result<(), SendError> {
        let mark = match options.overflow {
            Overflow::Close => options.limit_bytes,
            Overflow::Refuse => options.high_water_bytes,
        };
        self.admit_below(mark, bytes, options, options.overflow)
    }

    /// The same for a message whose sender was told already that it will be sent: it is queued, or the session ends.
    pub(crate) fn admit_promised(&mut self, bytes: usize, options: &SessionOptions) -> Result<(), SendError> {
        self.admit_below(options.limit_bytes, bytes, options, Overflow::Close)
    }

    /// A message was refused that never came here. Whoever sent it waits to hear that the session is writable again.
    pub(crate) fn note_refusal(&mut self) {
        self.congested = true;
    }

    #[inline]
    fn admit_below(
        &mut self,
        mark: usize,
        bytes: usize,
        options: &SessionOptions,
        overflow: Overflow,
    ) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        let queued = self.queue.queued();
        let total = queued + bytes;
        if total > options.high_water_bytes {
            self.congested = true;
            // A message alone may be larger than the mark, or it could never be sent.
            if queued > 0 && total > mark {
                return Err(self.overflow(overflow));
            }
        }
        Ok(())
    }

    #[cold]
    fn overflow(&mut self, overflow: Overflow) -> SendError {
        if overflow == Overflow::Close {
            self.close(CloseReason::Backpressure, CloseHow::Abort);
        }
        SendError::Full
    }

    // Actions

    /// The bytes that are to be sent now. The completion is reported with [`Link::sent`].
    #[inline]
    pub(crate) fn next_send(&mut self) -> Option<SendBuffers> {
        match self.phase {
            Phase::Open | Phase::Draining => self.queue.take_send(),
            _ => None,
        }
    }

    /// The bytes that are to be sent now, if they can be sent without an operation. What the system takes of them is
    /// reported with [`Link::sent_at_once`]; the rest is left to [`Link::next_send`].
    #[inline]
    pub(crate) fn next_send_at_once(&self) -> Option<(&[u8], &[u8])> {
        match self.phase {
            Phase::Open | Phase::Draining => self.queue.in_one_ring(),
            _ => None,
        }
    }

    /// The system has taken the first `bytes` bytes.
    #[inline]
    pub(crate) fn sent_at_once(&mut self, bytes: usize) {
        self.queue.sent_at_once(bytes);
        self.stats.bytes_sent += bytes as u64;
    }

    /// What is to be done for the session now, after [`Link::next_send`]; to be asked again until it says `None`.
    pub(crate) fn next_action(&mut self) -> Option<Action> {
        match self.phase {
            Phase::Draining if self.queue.queued() > 0 => None,
            Phase::Draining if self.peer_has_ended => {
                self.phase = Phase::Closing;
                Some(Action::Close(CloseMode::Graceful))
            }
            Phase::Draining => {
                self.phase = Phase::AwaitingEnd;
                Some(Action::ShutDownWrite)
            }
            Phase::Doomed(mode) => {
                self.phase = Phase::Closing;
                Some(Action::Close(mode))
            }
            Phase::Connecting | Phase::Open | Phase::AwaitingEnd | Phase::Closing => None,
        }
    }
}

/// How much later than at its deadline an idle check may come, so that thousands of them share a wake-up.
pub(crate) fn idle_slack(limit: Duration) -> Duration {
    (limit / 8).min(Duration::from_millis(250))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use fastport_io::slab::Key;
    use fastport_io::{BufferPool, ErrorCode, PoolConfig};

    fn options() -> SessionOptions {
        SessionOptions {
            high_water_bytes: 100,
            low_water_bytes: 20,
            limit_bytes: 200,
            idle_limit: Some(Duration::from_secs(10)),
            ..SessionOptions::default()
        }
    }

    fn refusing() -> SessionOptions {
        SessionOptions { overflow: Overflow::Refuse, ..options() }
    }

    fn pool() -> BufferPool {
        BufferPool::new(&PoolConfig { slot_bytes: 256, initial_slots: 1, max_slots: 1 }).unwrap()
    }

    fn peer() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    fn link() -> Link {
        Link::open(SessionId::new(0, Key { index: 0, generation: 1 }), peer(), Instant::now())
    }

    fn queue(link: &mut Link, bytes: usize, options: &SessionOptions, pool: &BufferPool) -> Result<(), SendError> {
        link.admit(bytes, options)?;
        link.queue.write(bytes, pool, |ring| ring.put_bytes(1, bytes));
        Ok(())
    }

    fn actions(link: &mut Link) -> Vec<String> {
        let sent = link.next_send().map(|buffers| format!("send {}", buffers.len()));
        let actions = std::iter::from_fn(|| link.next_action()).map(|action| match action {
            Action::ShutDownWrite => "shut down".to_owned(),
            Action::Close(mode) => format!("close {mode:?}"),
        });
        sent.into_iter().chain(actions).collect()
    }

    #[test]
    fn a_graceful_close_sends_the_queue_ends_the_stream_and_waits_for_the_peer() {
        let (mut link, pool) = (link(), pool());
        queue(&mut link, 10, &options(), &pool).unwrap();
        assert_eq!(actions(&mut link), ["send 10"]);
        queue(&mut link, 5, &options(), &pool).unwrap();
        link.close(CloseReason::Requested, CloseHow::Drain);
        assert_eq!(queue(&mut link, 1, &options(), &pool), Err(SendError::Closed));
        assert!(actions(&mut link).is_empty(), "a send is in flight");
        assert_eq!(link.sent(), Some(10));
        assert_eq!(actions(&mut link), ["send 5"]);
        assert_eq!(link.sent(), Some(5));
        assert_eq!(actions(&mut link), ["shut down"]);
        link.peer_ended();
        assert_eq!(actions(&mut link), ["close Graceful"]);
        assert_eq!(link.reason(), Some(CloseReason::Requested));
        assert_eq!(link.stats.bytes_sent, 15);
    }

    #[test]
    fn the_end_of_the_peers_stream_lets_the_queue_out_first() {
        let (mut link, pool) = (link(), pool());
        queue(&mut link, 10, &options(), &pool).unwrap();
        link.peer_ended();
        assert_eq!(actions(&mut link), ["send 10"]);
        link.sent();
        assert_eq!(actions(&mut link), ["close Graceful"]);
        assert_eq!(link.reason(), Some(CloseReason::PeerClosed));
    }

    #[test]
    fn a_graceful_close_that_takes_too_long_becomes_abortive_and_keeps_its_reason() {
        let (mut link, pool) = (link(), pool());
        queue(&mut link, 10, &options(), &pool).unwrap();
        assert_eq!(actions(&mut link), ["send 10"]);
        link.close(CloseReason::Shutdown, CloseHow::Drain);
        assert_eq!(link.drain_stage(), Some(DrainStage::Sending));
        assert_eq!(link.timer_due(Instant::now(), &options()), None);
        assert_eq!(actions(&mut link), ["close Abortive"]);
        assert_eq!(link.reason(), Some(CloseReason::Shutdown));
        assert_eq!(link.sent(), None, "a late completion means nothing");
    }

    #[test]
    fn errors_close_abortively_with_their_cause_and_only_once() {
        let mut link = link();
        link.failed(&Error::plain(ErrorCode::ConnectionReset));
        link.failed(&Error::plain(ErrorCode::ConnectionTimeout));
        assert_eq!(actions(&mut link), ["close Abortive"]);
        link.close(CloseReason::Requested, CloseHow::Abort);
        assert!(actions(&mut link).is_empty());
        assert_eq!(link.reason(), Some(CloseReason::Reset));
    }

    #[test]
    fn a_harder_close_overrides_a_gentler_one_and_never_the_other_way_round() {
        let mut link = link();
        link.close(CloseReason::Idle, CloseHow::AtOnce);
        link.close(CloseReason::Requested, CloseHow::Abort);
        link.close(CloseReason::Requested, CloseHow::AtOnce);
        assert_eq!(actions(&mut link), ["close Abortive"]);
        assert_eq!(link.reason(), Some(CloseReason::Idle));
    }

    #[test]
    fn a_silent_peer_is_closed_and_one_that_spoke_gets_the_rest_of_its_time() {
        let mut link = link();
        let start = link.stats.last_received;
        let second = Duration::from_secs(1);
        link.received(1, start + 4 * second);
        assert_eq!(link.timer_due(start + 10 * second, &options()), Some(start + 14 * second));
        assert_eq!(link.timer_due(start + 14 * second, &options()), None);
        assert_eq!(actions(&mut link), ["close Graceful"]);
        assert_eq!(link.reason(), Some(CloseReason::Idle));
    }

    #[test]
    fn a_connection_that_is_not_made_in_time_is_given_up() {
        let mut link = Link::connecting(SessionId::from_bits(1), peer(), Instant::now());
        assert!(actions(&mut link).is_empty());
        link.timer_due(Instant::now(), &options());
        assert_eq!(actions(&mut link), ["close Abortive"]);
        assert!(!link.connected(Instant::now()), "a late success is of no use");
        assert!(!link.was_open());
        assert_eq!(link.reason(), Some(CloseReason::Timeout));
    }

    #[test]
    fn beyond_the_limit_the_session_is_closed_for_backpressure() {
        let (mut link, pool) = (link(), pool());
        queue(&mut link, 150, &options(), &pool).unwrap();
        assert_eq!(link.take_congestion_change(), Some(true));
        assert_eq!(link.take_congestion_change(), None);
        queue(&mut link, 50, &options(), &pool).unwrap();
        assert_eq!(queue(&mut link, 1, &options(), &pool), Err(SendError::Full));
        assert_eq!(link.queue.queued(), 0, "what will not be sent is dropped at once");
        assert_eq!(actions(&mut link), ["close Abortive"]);
        assert_eq!(link.reason(), Some(CloseReason::Backpressure));
    }

    #[test]
    fn a_refusing_session_says_full_and_then_once_that_it_is_writable() {
        let (mut link, pool) = (link(), pool());
        queue(&mut link, 90, &refusing(), &pool).unwrap();
        assert_eq!(queue(&mut link, 20, &refusing(), &pool), Err(SendError::Full));
        assert!(link.is_open());
        assert!(!link.take_writable(&refusing()));
        assert_eq!(actions(&mut link), ["send 90"]);
        link.sent();
        assert!(link.take_writable(&refusing()));
        assert!(!link.take_writable(&refusing()));
        queue(&mut link, 20, &refusing(), &pool).unwrap();
    }

    #[test]
    fn a_promised_message_is_queued_above_the_high_water_mark() {
        let (mut link, pool) = (link(), pool());
        queue(&mut link, 90, &refusing(), &pool).unwrap();
        link.admit_promised(100, &refusing()).unwrap();
        assert_eq!(link.admit_promised(200, &refusing()), Err(SendError::Full));
        assert_eq!(link.reason(), Some(CloseReason::Backpressure));
    }

    #[test]
    fn a_message_larger_than_every_mark_is_sent_when_the_queue_is_empty() {
        let (mut link, pool) = (link(), pool());
        queue(&mut link, 1000, &refusing(), &pool).unwrap();
        assert_eq!(queue(&mut link, 1, &refusing(), &pool), Err(SendError::Full));
        assert_eq!(actions(&mut link), ["send 1000"]);
    }

    #[test]
    fn a_close_without_room_is_asked_for_again() {
        let mut link = link();
        link.close(CloseReason::Requested, CloseHow::Abort);
        assert_eq!(actions(&mut link), ["close Abortive"]);
        link.close_was_refused(CloseMode::Abortive);
        assert_eq!(actions(&mut link), ["close Abortive"]);
    }
}
