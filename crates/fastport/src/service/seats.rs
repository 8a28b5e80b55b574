//! The worker's sessions: what completions mean for them, and what they want done.

use std::net::Shutdown;
use std::num::NonZeroU64;
use std::ops::Range;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use fastport_io::slab::Key;
use fastport_io::{AsyncIoProvider, CloseMode, Completion, CompletionBatch, Error, Payload, SendAtOnce, SocketId};

use super::delivery::Delivery;
use super::hub::Port;
use super::watching::Watched;
use super::worker::{Timer, Worker};
use crate::context::Desk;
use crate::framer::Framer;
use crate::session::{Action, CloseHow, CloseReason, DrainStage, Link, Receiver, Session, SessionId, idle_slack};
use crate::timer::TimerId;

/// How long a close that the provider had no room for waits before it is tried again.
const CLOSE_RETRY: Duration = Duration::from_millis(10);

/// How many sessions send together where sends need no operation; see [`AsyncIoProvider::send_at_once`].
const SENDS_TOGETHER: usize = 32;

/// What was taken of each.
type Taken = ArrayVec<Result<usize, Error>, SENDS_TOGETHER>;

/// A session and what the worker knows of it. What a packet needs stands together; see [`Session`].
#[repr(C)]
pub(super) struct Seat {
    pub(super) socket: SocketId,
    pub(super) session: Session,
    /// Idle check, time limit of a connect, or of a stage of a graceful close.
    pub(super) timer: Option<TimerId>,
    /// The connector that made the connection, if it was not accepted: the bits of its key, which take less room than an
    /// optional key.
    pub(super) connector: Option<NonZeroU64>,
    /// Looks after a client where there are limits for what it sends.
    pub(super) watched: Option<Box<Watched>>,
}

const _: () = assert!(size_of::<Seat>() <= 280, "10 000 idle sessions have a budget");

impl<P: AsyncIoProvider, F: Framer, D: Delivery<F>> Worker<P, F, D> {
    /// Looks at the sessions that a batch is about. With thousands of sessions they lie outside the nearest caches; looked
    /// at one after another, with nothing to do in between, they are fetched all at once and not each in its turn.
    #[inline]
    pub(super) fn fetch_ahead(&self, batch: &CompletionBatch) {
        for completion in batch {
            if let Some(seat) = self.sessions.get(Key::from_bits(completion.context)) {
                seat.session.link.fetch();
            }
        }
    }

    // What has happened

    #[inline]
    pub(super) fn received(&mut self, completion: &mut Completion) {
        let Some(seat) = self.sessions.get_mut(Key::from_bits(completion.context)) else { return };
        let link = &mut seat.session.link;
        match (&completion.result, &completion.payload) {
            (Ok(1..), Payload::Lease(lease)) => {
                self.desk.stats.bytes_received += lease.len() as u64;
                if link.received(lease.len(), self.desk.now) {
                    self.delivery.received(&mut seat.session, &mut self.desk, lease);
                }
                // The buffer goes back at once, while it is in the cache.
                completion.payload = Payload::None;
                if seat.watched.is_some() {
                    self.look_at_client(Key::from_bits(completion.context));
                }
            }
            (Ok(_), _) => {
                if seat.session.receiver.has_partial_frame() {
                    tracing::debug!(session = %link.id, "the peer ended its stream in the middle of a frame");
                }
                if link.is_open() {
                    self.delivery.peer_ended(link, &mut self.desk);
                } else {
                    self.desk.peer_ended(link);
                }
            }
            (Err(error), _) => Self::operation_failed(link, &mut self.desk, error),
        }
    }

    #[inline]
    pub(super) fn sent(&mut self, completion: &Completion) {
        let Some(seat) = self.sessions.get_mut(Key::from_bits(completion.context)) else { return };
        let link = &mut seat.session.link;
        if let Err(error) = &completion.result {
            return Self::operation_failed(link, &mut self.desk, error);
        }
        if let Some(bytes) = link.sent() {
            Self::bytes_went_out(link, &mut self.desk, &mut self.delivery, bytes);
        }
    }

    #[inline]
    fn bytes_went_out(link: &mut Link, desk: &mut Desk<F>, delivery: &mut D, bytes: usize) {
        desk.stats.bytes_sent += bytes as u64;
        desk.count_queued(link);
        delivery.sent(link, desk, bytes);
        if link.take_writable(&desk.options) {
            delivery.writable(link, desk);
            desk.mark_dirty(link);
        }
        if link.queue.queued() > 0 || !link.is_open() {
            desk.mark_dirty(link);
        }
    }

    /// An error ends the session, unless it comes from the session's end.
    #[cold]
    fn operation_failed(link: &mut Link, desk: &mut Desk<F>, error: &Error) {
        if error.is_cancelled() || link.is_ending() {
            return;
        }
        tracing::debug!(session = %link.id, peer = %link.peer, %error, "connection failed");
        link.failed(error);
        desk.mark_dirty(link);
    }

    /// The socket's last operation has completed.
    pub(super) fn session_closed(&mut self, key: Key) {
        let Some(mut seat) = self.sessions.remove(key) else { return };
        let watch_timer = seat.watched.and_then(|watched| watched.timer());
        for timer in seat.timer.into_iter().chain(watch_timer) {
            self.timers.cancel(timer);
        }
        self.hub.ports[self.index].slots.set_closed(key);
        let link = &mut seat.session.link;
        link.queue.clear();
        self.desk.count_queued(link);
        let reason = link.reason().unwrap_or(CloseReason::Requested);
        if link.was_open() {
            let port = &self.hub.ports[self.index];
            self.desk.stats.count_closed(reason, &port.stats);
            tracing::debug!(session = %link.id, peer = %link.peer, %reason, "session closed");
            self.delivery.closed(&mut self.desk, link.id, reason, &link.stats);
        }
        match seat.connector {
            Some(connector) => self.connection_ended(Key::from_bits(connector.get()), link.was_open(), reason),
            None => self.hub.release_client(self.index, link.peer),
        }
    }

    /// Gives an attached socket a session, whose place was claimed. On an error the socket is closed.
    pub(super) fn seat(&mut self, socket: SocketId, make: impl FnOnce(SessionId) -> Link) -> Result<Key, Error> {
        let worker = self.index;
        let seated = self.sessions.insert_with(|key| Seat {
            socket,
            session: Session { receiver: Receiver::default(), link: make(SessionId::new(worker, key)) },
            timer: None,
            connector: None,
            watched: None,
        });
        if seated.is_err() {
            drop(self.provider.detach(socket));
        }
        seated
    }

    /// The connection stands: receive, let handles know, watch for silence.
    pub(super) fn open_session(&mut self, key: Key) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        self.hub.ports[self.index].slots.set_open(key);
        if let Err(error) = self.provider.receive_stream(seat.socket, key.to_bits()) {
            Self::operation_failed(&mut seat.session.link, &mut self.desk, &error);
        }
        if let Some(timer) = seat.timer.take() {
            self.timers.cancel(timer);
        }
        if let Some(limit) = self.desk.options.idle_limit {
            self.set_session_timer(key, self.desk.now + limit, idle_slack(limit));
        }
    }

    // What is to be done

    /// Carries out what the sessions want, which events of this turn have changed. What sends that end at once set off is
    /// left to the next turn, so that a session that always has more to send cannot hold the worker.
    pub(super) fn look_after_dirty(&mut self, port: &Port) {
        let mut next = 0;
        let mut taken = Taken::new();
        loop {
            let end = self.desk.dirty.len();
            let at_once = end - next <= P::SENDS_AT_ONCE;
            while next < end {
                let part = next..end.min(next + SENDS_TOGETHER);
                next = part.end;
                if at_once {
                    self.send_at_once(part.clone(), &mut taken);
                    for (index, taken) in part.zip(taken.drain(..)) {
                        self.look_after(self.desk.dirty[index], taken, port);
                    }
                } else {
                    for index in part {
                        self.look_after(self.desk.dirty[index], Ok(0), port);
                    }
                }
            }
            if self.desk.queued_bytes <= self.most_queued_bytes || !self.shed_queues() {
                break;
            }
        }
        self.desk.dirty.drain(..next);
    }

    /// Sends what a part of the dirty sessions has, as far as the system takes it without operations, and notes for each what
    /// was taken. Handlers have no say until each has been told, and then of their own session only.
    #[inline]
    fn send_at_once(&mut self, part: Range<usize>, taken: &mut Taken) {
        let mut sends = ArrayVec::<_, SENDS_TOGETHER>::new();
        for &key in &self.desk.dirty[part] {
            let send = self.sessions.get(key).and_then(|seat| {
                let (first, second) = seat.session.link.next_send_at_once()?;
                Some(SendAtOnce::new(seat.socket, first, second))
            });
            sends.push(send.unwrap_or(SendAtOnce::NOTHING));
        }
        self.provider.send_at_once(&mut sends);
        taken.extend(sends.into_iter().map(|send| send.taken));
    }

    /// `taken`: what of the session's bytes was sent already.
    #[inline]
    fn look_after(&mut self, key: Key, taken: Result<usize, Error>, port: &Port) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let link = &mut seat.session.link;
        link.is_dirty = false;
        match taken {
            Ok(0) => {}
            Ok(bytes) => {
                self.desk.stats.completions += 1;
                link.sent_at_once(bytes);
                Self::bytes_went_out(link, &mut self.desk, &mut self.delivery, bytes);
            }
            Err(error) => {
                self.desk.stats.completions += 1;
                self.desk.stats.errors += 1;
                Self::operation_failed(link, &mut self.desk, &error);
            }
        }
        if let Some(buffers) = link.next_send()
            && let Err(rejected) = self.provider.send(seat.socket, buffers, key.to_bits())
        {
            link.failed(&rejected.error);
        }
        self.desk.count_queued(link);
        if !link.is_open() {
            return self.look_after_ending(key, port);
        }
        if let Some(congested) = link.take_congestion_change() {
            port.slots.set_congested(key, congested);
        }
    }

    /// What there is to do for a session that does not stay.
    #[cold]
    fn look_after_ending(&mut self, key: Key, port: &Port) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let link = &mut seat.session.link;
        port.slots.set_closed(key);
        while let Some(action) = link.next_action() {
            match action {
                Action::ShutDownWrite => {
                    if let Err(error) = self.provider.shut_down_socket(seat.socket, Shutdown::Write) {
                        link.failed(&error);
                    }
                }
                Action::Close(mode) => {
                    if let Err(error) = self.provider.close(seat.socket, mode, key.to_bits()) {
                        return self.close_refused(key, mode, &error);
                    }
                }
            }
        }
        self.limit_drain_stage(key);
    }

    /// Sets a time limit to each stage of a graceful close.
    fn limit_drain_stage(&mut self, key: Key) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let Some(stage) = seat.session.link.take_new_drain_stage() else { return };
        // While the service drains, sending has until the service's own deadline.
        if self.is_stopping && stage == DrainStage::Sending {
            return;
        }
        let deadline = self.desk.now + self.desk.options.close_limit;
        self.set_session_timer(key, deadline, Duration::ZERO);
    }

    /// The provider has no room for a close, so it is tried again later.
    #[cold]
    fn close_refused(&mut self, key: Key, mode: CloseMode, error: &Error) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        if !error.is_exhaustion() {
            tracing::error!(session = %seat.session.link.id, %error, "the provider has lost a socket");
            return self.session_closed(key);
        }
        seat.session.link.close_was_refused(mode);
        let deadline = self.desk.now + CLOSE_RETRY;
        self.set_session_timer(key, deadline, Duration::ZERO);
    }

    /// Replaces the session's timer.
    pub(super) fn set_session_timer(&mut self, key: Key, deadline: Instant, slack: Duration) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        if let Some(timer) = seat.timer.take() {
            self.timers.cancel(timer);
        }
        seat.timer = Some(self.timers.insert_within(deadline, slack, Timer::Session(key)));
    }

    /// The session's timer is due.
    pub(super) fn session_timer_due(&mut self, key: Key) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        seat.timer = None;
        let link = &mut seat.session.link;
        match link.timer_due(self.desk.now, &self.desk.options) {
            Some(deadline) => {
                let slack = self.desk.options.idle_limit.map_or(Duration::ZERO, idle_slack);
                seat.timer = Some(self.timers.insert_within(deadline, slack, Timer::Session(key)));
            }
            None => self.desk.mark_dirty(link),
        }
    }

    /// Asks every session to end.
    pub(super) fn close_all(&mut self, how: CloseHow) {
        let keys: Vec<Key> = self.sessions.keys().collect();
        for key in keys {
            self.close_session(key, CloseReason::Shutdown, how);
        }
    }

    /// All that came before the end of the peer's stream has been handled.
    pub(super) fn peer_ended(&mut self, key: Key) {
        if let Some(seat) = self.sessions.get_mut(key) {
            self.desk.peer_ended(&mut seat.session.link);
        }
    }

    /// Asks a session to end; nothing if it is gone.
    pub(super) fn close_session(&mut self, key: Key, reason: CloseReason, how: CloseHow) {
        if let Some(seat) = self.sessions.get_mut(key) {
            self.desk.close(&mut seat.session.link, reason, how);
        }
    }
}
