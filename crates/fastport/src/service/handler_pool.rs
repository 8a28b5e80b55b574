//! Handler threads: events travel to them over queues, what they do travels back through the workers' mailboxes.
//!
//! A session belongs to one thread, chosen by its id, so its events keep their order. Frames are copied out of the receive
//! buffer, all those of one receive together. A queue has a limit in events and bytes; at the limit the worker waits until
//! the thread has caught up, and so, through TCP, do the clients. The threads never wait for a worker, so the two cannot
//! wait for each other.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastport_io::{BufferPool, ByteRing, Lease};

use super::delivery::{Delivery, panic_text};
use super::handle::Handle;
use super::mailbox::Command;
use crate::context::{Context, Desk, Remote};
use crate::error::Error;
use crate::framer::{Frame, Framer};
use crate::handler::{Handler, next_tick};
use crate::limits::Refusal;
use crate::session::{CloseHow, CloseReason, Flow, Link, Session, SessionId, SessionStats};

/// Events that may wait for one thread.
const MAX_EVENTS: usize = 8 * 1024;
/// Bytes of frames that may wait for one thread.
const MAX_BYTES: usize = 16 << 20;
/// Events that a thread handles before their outcome is sent to the workers.
const EVENTS_PER_FLUSH: usize = 64;
/// What the encoding buffer of a thread begins with; it grows to the largest message.
const SCRATCH_BYTES: usize = 4096;

/// Something that happened to a session.
struct Event {
    session: SessionId,
    peer: SocketAddr,
    stats: SessionStats,
    now: Instant,
    what: What,
}

enum What {
    Accepted,
    Connected {
        token: u64,
    },
    ConnectFailed {
        token: u64,
        error: fastport_io::Error,
    },
    Refused {
        reason: Refusal,
    },
    /// Whole frames, one after another.
    Frames(Box<[u8]>),
    PeerEnded,
    Sent {
        bytes: usize,
    },
    Writable,
    Closed {
        reason: CloseReason,
    },
}

impl Event {
    fn bytes(&self) -> usize {
        if let What::Frames(frames) = &self.what { frames.len() } else { 0 }
    }
}

/// The events of one thread.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    has_events: Condvar,
    has_room: Condvar,
}

#[derive(Default)]
struct QueueState {
    events: Vec<Event>,
    bytes: usize,
    is_closed: bool,
    /// The thread has died; nobody will take the events.
    is_abandoned: bool,
}

/// What a thread finds in its queue.
#[derive(PartialEq, Eq)]
enum Found {
    Events,
    Nothing,
    End,
}

impl Queue {
    /// Appends an event. Waits while the queue is full.
    fn push(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.is_abandoned && (state.events.len() >= MAX_EVENTS || state.bytes >= MAX_BYTES) {
            state = self.has_room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_abandoned {
            return;
        }
        state.bytes += event.bytes();
        state.events.push(event);
        drop(state);
        self.has_events.notify_one();
    }

    /// Swaps the events into `events`, which must be empty. Waits for some until `deadline`.
    fn take(&self, events: &mut Vec<Event>, deadline: Option<Instant>) -> Found {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.events.is_empty() {
            if state.is_closed {
                return Found::End;
            }
            let Some(deadline) = deadline else {
                state = self.has_events.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Found::Nothing;
            }
            state = self.has_events.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut state.events, events);
        state.bytes = 0;
        drop(state);
        self.has_room.notify_all();
        Found::Events
    }

    /// Nobody takes events any more, so nobody may wait for room.
    fn abandon(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_abandoned = true;
        state.events.clear();
        self.has_room.notify_all();
    }

    /// No more events will come; the thread ends when it has handled the rest.
    fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.has_events.notify_one();
    }
}

/// The threads of a service.
pub(super) struct HandlerPool {
    queues: Arc<[Queue]>,
    threads: Vec<JoinHandle<()>>,
}

impl HandlerPool {
    pub(super) fn start<M, F, H>(
        threads: usize,
        make_handler: &Arc<M>,
        framer: &F,
        handle: &Handle,
        tick: Option<Duration>,
    ) -> Result<Self, Error>
    where
        M: Fn(usize) -> H + Send + Sync + 'static,
        F: Framer,
        H: Handler<F>,
    {
        let mut pool = Self { queues: (0..threads).map(|_| Queue::default()).collect(), threads: Vec::new() };
        for index in 0..threads {
            let (queues, make_handler) = (Arc::clone(&pool.queues), Arc::clone(make_handler));
            let (framer, handle) = (framer.clone(), handle.clone());
            let name = format!("fastport-handler-{index}");
            let work = move || {
                let queue = &queues[index];
                let run = || HandlerThread::new(make_handler(index), framer, handle.clone()).run(queue, tick);
                // Panics in events are caught where the event is handled; here it is the making of the handler.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                    queue.abandon();
                    let text = format!("handler thread {index} panicked: {}", panic_text(&*panic));
                    handle.fail(fastport_io::Error::new(fastport_io::ErrorCode::OperationFailed, text));
                }
            };
            let spawned = std::thread::Builder::new().name(name.clone()).spawn(work);
            pool.threads.push(spawned.map_err(|source| Error::Thread { name, source })?);
        }
        Ok(pool)
    }

    pub(super) fn sender(&self) -> PoolSender {
        PoolSender { queues: Arc::clone(&self.queues) }
    }
}

impl std::fmt::Debug for HandlerPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerPool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

/// Handles what is left, then ends the threads. The workers have ended before.
impl Drop for HandlerPool {
    fn drop(&mut self) {
        for queue in &*self.queues {
            queue.close();
        }
        for thread in self.threads.drain(..) {
            thread.join().expect("a handler thread catches its panics");
        }
    }
}

/// How a worker reaches the threads.
pub(super) struct PoolSender {
    queues: Arc<[Queue]>,
}

impl PoolSender {
    fn push(&self, event: Event) {
        // Fibonacci hashing: neighbouring slots go to different threads, whatever their number.
        let hash = event.session.to_bits().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let queue = (hash * self.queues.len() as u64) >> 32;
        self.queues[queue as usize].push(event);
    }
}

/// A worker's side of the pool.
pub(super) struct PoolDelivery<F> {
    sender: PoolSender,
    framer: F,
    pool: BufferPool,
    /// Frames of one receive, before they travel.
    frames: Vec<u8>,
}

impl<F: Framer> PoolDelivery<F> {
    pub(super) fn new(sender: PoolSender, desk: &Desk<F>) -> Self {
        Self { sender, framer: desk.framer.clone(), pool: desk.pool.clone(), frames: Vec::new() }
    }

    fn push(&self, link: &Link, desk: &Desk<F>, what: What) {
        self.sender.push(Event { session: link.id, peer: link.peer, stats: link.stats, now: desk.now, what });
    }
}

impl<F: Framer> Delivery<F> for PoolDelivery<F> {
    fn accepted(&mut self, link: &mut Link, desk: &mut Desk<F>) {
        self.push(link, desk, What::Accepted);
    }

    fn connected(&mut self, link: &mut Link, desk: &mut Desk<F>, token: u64) {
        self.push(link, desk, What::Connected { token });
    }

    fn connect_failed(&mut self, desk: &mut Desk<F>, token: u64, address: SocketAddr, error: &fastport_io::Error) {
        // The token takes the place of the session that never was.
        let session = SessionId::from_bits(token);
        let what = What::ConnectFailed { token, error: error.clone() };
        let stats = SessionStats::new(desk.now);
        self.sender.push(Event { session, peer: address, stats, now: desk.now, what });
    }

    fn refused(&mut self, desk: &mut Desk<F>, peer: SocketAddr, reason: Refusal) {
        // Its port takes the place of the session that never was: the threads take turns.
        let session = SessionId::from_bits(u64::from(peer.port()));
        let stats = SessionStats::new(desk.now);
        self.sender.push(Event { session, peer, stats, now: desk.now, what: What::Refused { reason } });
    }

    fn received(&mut self, session: &mut Session, desk: &mut Desk<F>, lease: &Lease) {
        let Session { receiver, link } = session;
        let frames = &mut self.frames;
        let before = link.stats.packets_received;
        let fed = receiver.feed(&self.framer, &self.pool, lease, |frame, _| {
            link.stats.packets_received += 1;
            frames.extend_from_slice(frame);
            Flow::Continue
        });
        desk.stats.packets_received += link.stats.packets_received - before;
        if !self.frames.is_empty() {
            let frames = self.frames.as_slice().into();
            self.frames.clear();
            self.push(link, desk, What::Frames(frames));
        }
        if let Err(fault) = fed {
            tracing::debug!(session = %link.id, peer = %link.peer, %fault, "not a frame; the session is closed");
            desk.close(link, CloseReason::of_frame(fault), CloseHow::AtOnce);
        }
    }

    fn peer_ended(&mut self, link: &mut Link, desk: &mut Desk<F>) {
        self.push(link, desk, What::PeerEnded);
    }

    fn sent(&mut self, link: &mut Link, desk: &mut Desk<F>, bytes: usize) {
        self.push(link, desk, What::Sent { bytes });
    }

    fn writable(&mut self, link: &mut Link, desk: &mut Desk<F>) {
        self.push(link, desk, What::Writable);
    }

    fn closed(&mut self, desk: &mut Desk<F>, session: SessionId, reason: CloseReason, stats: &SessionStats) {
        // The address is of no more use, and `closed` does not tell it.
        let peer = SocketAddr::from(([0, 0, 0, 0], 0));
        self.sender.push(Event { session, peer, stats: *stats, now: desk.now, what: What::Closed { reason } });
    }

    /// The threads tick by themselves.
    fn tick(&mut self, _: &mut Desk<F>) {}
}

/// One thread with its handler.
struct HandlerThread<F, H> {
    handler: H,
    framer: F,
    handle: Handle,
    scratch: ByteRing,
    /// What was done, for each worker.
    outboxes: Vec<Vec<Command>>,
    /// Sessions that the handler has ended, until their last event.
    ended: HashSet<SessionId>,
}

impl<F: Framer, H: Handler<F>> HandlerThread<F, H> {
    fn new(handler: H, framer: F, handle: Handle) -> Self {
        let outboxes = (0..handle.workers()).map(|_| Vec::new()).collect();
        let scratch = ByteRing::with_capacity(SCRATCH_BYTES);
        Self { handler, framer, handle, scratch, outboxes, ended: HashSet::new() }
    }

    fn run(mut self, queue: &Queue, tick: Option<Duration>) {
        let mut events = Vec::new();
        let mut tick_at = tick.map(|period| Instant::now() + period);
        loop {
            if queue.take(&mut events, tick_at) == Found::End {
                return;
            }
            for (number, event) in events.drain(..).enumerate() {
                self.handle_event(&event);
                if number % EVENTS_PER_FLUSH == EVENTS_PER_FLUSH - 1 {
                    Self::flush(&self.handle, &mut self.outboxes);
                }
            }
            // Before the tick, which may take its time.
            Self::flush(&self.handle, &mut self.outboxes);
            if let (Some(deadline), Some(period)) = (tick_at, tick) {
                let now = Instant::now();
                if deadline <= now {
                    self.call_without_session(|handler| handler.tick(now));
                    tick_at = Some(next_tick(deadline, period, now));
                    Self::flush(&self.handle, &mut self.outboxes);
                }
            }
        }
    }

    fn flush(handle: &Handle, outboxes: &mut [Vec<Command>]) {
        for (worker, outbox) in outboxes.iter_mut().enumerate().filter(|(_, outbox)| !outbox.is_empty()) {
            if handle.order_all(worker, outbox).is_err() {
                // The worker has ended, and its sessions with it.
                outbox.clear();
            }
        }
    }

    fn handle_event(&mut self, event: &Event) {
        let session = event.session;
        let has_ended = self.ended.contains(&session);
        match event.what {
            What::Accepted => self.call(event, H::accepted),
            What::Connected { token } => self.call(event, |handler, session| handler.connected(session, token)),
            What::ConnectFailed { token, ref error } => {
                self.call_without_session(|handler| handler.connect_failed(token, event.peer, error));
            }
            What::Refused { reason } => self.call_without_session(|handler| handler.refused(event.peer, reason)),
            What::Frames(ref frames) if !has_ended => self.handle_frames(event, frames),
            What::Sent { bytes } => self.call(event, |handler, session| handler.sent(session, bytes)),
            What::Writable if !has_ended => self.call(event, H::writable),
            What::Frames(_) | What::Writable => {}
            What::PeerEnded => self.outboxes[session.worker()].push(Command::PeerEnded { key: session.key() }),
            What::Closed { reason } => {
                self.ended.remove(&session);
                self.call_without_session(|handler| handler.closed(session, reason, &event.stats));
            }
        }
    }

    fn handle_frames(&mut self, event: &Event, frames: &[u8]) {
        let mut rest = frames;
        while let Frame::Complete { frame_bytes } = self.framer.inspect(rest) {
            let (frame, behind) = rest.split_at(frame_bytes);
            rest = behind;
            let packet = self.framer.clone().view(frame);
            self.call(event, |handler, session| handler.packet(session, packet));
            if self.ended.contains(&event.session) {
                return;
            }
        }
        debug_assert!(rest.is_empty(), "the worker sends whole frames");
    }

    /// Calls the handler for a session. A panic ends the session and nothing else.
    fn call(&mut self, event: &Event, call: impl FnOnce(&mut H, &mut Context<'_, F>)) {
        let session = event.session;
        let mut is_closing = false;
        let outbox = &mut self.outboxes[session.worker()];
        let remote = Remote {
            session,
            peer: event.peer,
            stats: event.stats,
            now: event.now,
            framer: &self.framer,
            handle: &self.handle,
            scratch: &mut self.scratch,
            outbox,
            is_closing: &mut is_closing,
        };
        let handler = &mut self.handler;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(handler, &mut Context::remote(remote)))) {
            tracing::error!(%session, peer = %event.peer, panic = panic_text(&*panic), "the handler panicked");
            is_closing = true;
            let command =
                Command::Close { key: session.key(), reason: CloseReason::HandlerPanic, how: CloseHow::Abort };
            self.outboxes[session.worker()].push(command);
        }
        if is_closing {
            self.ended.insert(session);
        }
    }

    /// Calls the handler where there is no session to close.
    fn call_without_session(&mut self, call: impl FnOnce(&mut H)) {
        let handler = &mut self.handler;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(handler))) {
            tracing::error!(panic = panic_text(&*panic), "the handler panicked");
            // Any worker will do: the counts of all are added up.
            self.outboxes[0].push(Command::CountPanic);
        }
    }
}
