//! A worker: one thread, one provider, its sessions.
//!
//! ```text
//!   ┌▶ process_completions   flushes what was queued, waits, reads the clock
//!   │  dispatch              bytes → frames → handler → send queues; completions of sends, accepts, closes
//!   │  mailbox               what other threads ask for
//!   │  timers                idle checks, time limits, ticks
//!   └─ look after the dirty  one send for each session that has something to say
//! ```
//!
//! Between two turns of the loop nothing is locked and, in steady state, nothing is allocated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastport_io::slab::{Key, Slab};
use fastport_io::{AsyncIoProvider, Completion, CompletionBatch, Error, OpKind, SocketOptions};

use super::acceptor::Listener;
use super::connector::Connector;
use super::delivery::Delivery;
use super::handle::SharedFrame;
use super::hub::{Hub, Port};
use super::mailbox::Command;
use super::recovery::{Recovery, Remedy};
use super::seats::Seat;
use super::stats::{ERROR_RATE_WARNING, ServiceStats};
use crate::context::Desk;
use crate::framer::Framer;
use crate::handler::next_tick;
use crate::limits::Limits;
use crate::options::ServiceOptions;
use crate::session::{CloseHow, CloseReason};
use crate::timer::TimerWheel;

/// Marks the context of a listener's operations; the rest is its number. Session keys never reach this bit.
pub(super) const LISTENER: u64 = 1 << 63;

/// What the worker's timer wheel carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// Idle check, time limit of a connect, or of a graceful close.
    Session(Key),
    /// Time limits for what a client sends.
    Watch(Key),
    /// A paused listener tries again.
    Listener(u32),
    /// The next attempt to connect.
    Connector(Key),
    Tick,
    /// The time for draining is over.
    StopDeadline,
}

/// What a turn brings, in memory that is used again by the next.
pub(super) struct Inbox {
    batch: CompletionBatch,
    commands: Vec<Command>,
}

pub(super) struct Worker<P, F, D> {
    pub(super) index: usize,
    pub(super) provider: P,
    pub(super) sessions: Slab<Seat>,
    pub(super) desk: Desk<F>,
    pub(super) delivery: D,
    pub(super) timers: TimerWheel<Timer>,
    pub(super) listeners: Vec<Listener>,
    pub(super) connectors: Slab<Connector>,
    pub(super) hub: Arc<Hub>,
    pub(super) socket_options: SocketOptions,
    pub(super) limits: Limits,
    /// This worker's share of the memory for send queues.
    pub(super) most_queued_bytes: usize,
    pub(super) is_stopping: bool,
    batch_limit: usize,
    aborted: u64,
    tick: Option<Duration>,
    next_tick: Instant,
    log_period: Option<Duration>,
    next_log: Option<Instant>,
    logged: ServiceStats,
    recovery: Recovery,
}

/// What is to follow a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Turn,
    /// The provider needs time to recover.
    TurnAfter(Duration),
    /// The worker's work is done.
    End,
}

impl<P: AsyncIoProvider, F: Framer, D: Delivery<F>> Worker<P, F, D> {
    pub(super) fn new(
        index: usize,
        provider: P,
        desk: Desk<F>,
        delivery: D,
        hub: Arc<Hub>,
        options: &ServiceOptions,
        ticks_itself: bool,
    ) -> Self {
        let now = desk.now;
        let batch_limit = options.batch_for(provider.info().features);
        let mut worker = Self {
            index,
            provider,
            sessions: Slab::with_limit(options.max_sessions as u32),
            desk,
            delivery,
            timers: TimerWheel::new(now),
            listeners: Vec::new(),
            connectors: Slab::with_limit(options.max_sessions as u32),
            hub,
            socket_options: options.socket.clone(),
            limits: options.limits.clone(),
            most_queued_bytes: options.limits.queued_bytes.map_or(usize::MAX, |bytes| bytes / options.workers),
            is_stopping: false,
            batch_limit,
            aborted: 0,
            tick: options.tick.filter(|_| ticks_itself),
            next_tick: now,
            log_period: options.log_period,
            next_log: options.log_period.map(|period| now + period),
            logged: ServiceStats::default(),
            recovery: Recovery::default(),
        };
        if let Some(period) = worker.tick {
            worker.next_tick = now + period;
            worker.timers.insert(worker.next_tick, Timer::Tick);
        }
        worker
    }

    /// An empty inbox for this worker's turns.
    pub(super) fn inbox(&self) -> Inbox {
        Inbox { batch: CompletionBatch::with_capacity(self.batch_limit), commands: Vec::new() }
    }

    /// Works until the service stops or the provider fails. Returns the number of sessions that were cut off.
    pub(super) fn run(mut self) -> u64 {
        let hub = Arc::clone(&self.hub);
        let port = &hub.ports[self.index];
        let mut inbox = self.inbox();
        loop {
            match self.turn(&mut inbox, port) {
                Next::Turn => {}
                Next::TurnAfter(pause) => std::thread::sleep(pause),
                Next::End => return self.end(port),
            }
        }
    }

    /// One turn: waits, then handles all that has happened.
    #[inline]
    pub(super) fn turn(&mut self, inbox: &mut Inbox, port: &Port) -> Next {
        if self.is_finished() {
            return Next::End;
        }
        let wait = if port.mailbox.fall_asleep() { self.wait_limit() } else { Some(Duration::ZERO) };
        let processed = self.provider.process_completions(&mut inbox.batch, wait);
        port.mailbox.wake_up();
        if let Err(error) = processed {
            let next = self.provider_failed(error);
            self.publish(port);
            return next;
        }
        self.recovery.succeeded();
        self.desk.now = self.provider.now();
        self.desk.stats.batches += u64::from(!inbox.batch.is_empty());
        self.fetch_ahead(&inbox.batch);
        // Completions are handled where they lie: moving each costs more than handling it.
        for completion in &mut inbox.batch {
            self.dispatch(completion);
        }
        inbox.batch.clear();
        port.mailbox.take(&mut inbox.commands);
        for command in inbox.commands.drain(..) {
            self.obey(command);
        }
        while !self.timers.is_empty()
            && let Some(timer) = self.timers.pop_expired(self.desk.now)
        {
            self.timer_due(timer);
        }
        self.look_after_dirty(port);
        self.publish(port);
        // No timer: a worker without timers waits without a time limit, which is cheaper, and has nothing to log.
        if self.next_log.is_some_and(|at| at <= self.desk.now) {
            self.log();
        }
        Next::Turn
    }

    fn is_finished(&self) -> bool {
        self.is_stopping && self.sessions.is_empty() && self.listeners.iter().all(Listener::is_closed)
    }

    /// Until the next timer; for ever without one. Not at all while sessions are to be looked after.
    fn wait_limit(&self) -> Option<Duration> {
        if !self.desk.dirty.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadline = self.timers.next_deadline()?;
        Some(deadline.saturating_duration_since(self.desk.now))
    }

    // Completions

    #[inline]
    fn dispatch(&mut self, completion: &mut Completion) {
        match &completion.result {
            Ok(_) => self.desk.stats.completions += 1,
            Err(error) if error.is_cancelled() => {}
            Err(_) => {
                self.desk.stats.completions += 1;
                self.desk.stats.errors += 1;
            }
        }
        match completion.kind {
            OpKind::ReceiveStream => self.received(completion),
            OpKind::Send => self.sent(completion),
            OpKind::AcceptStream | OpKind::Accept => self.accept_completed(completion),
            OpKind::Connect => self.connect_completed(completion),
            OpKind::Close if completion.context & LISTENER != 0 => self.listener_closed(completion.context),
            OpKind::Close => self.session_closed(Key::from_bits(completion.context)),
            other => debug_assert!(false, "a worker submits no {other:?}"),
        }
    }

    // Orders

    fn obey(&mut self, command: Command) {
        match command {
            Command::Send { key, frame } => self.send_promised(key, frame),
            Command::Broadcast { keys, frame } => {
                for &key in &keys {
                    self.send_promised(key, SharedFrame::clone(&frame));
                }
            }
            Command::Close { key, reason, how } => {
                self.desk.stats.handler_panics += u64::from(reason == CloseReason::HandlerPanic);
                self.close_session(key, reason, how);
            }
            Command::PeerEnded { key } => self.peer_ended(key),
            Command::CountPanic => self.desk.stats.handler_panics += 1,
            Command::Adopt { socket, peer } => self.adopt(socket, peer),
            Command::Connect(request) => self.begin_connector(*request),
            Command::CancelConnect { token } => self.cancel_connectors(token),
            Command::StopAccepting => self.close_listeners(),
            Command::Stop { drain_limit } => self.begin_stop(drain_limit),
        }
    }

    /// Queues a frame whose sender was told that it will be sent. If the session is gone by now, so is its frame.
    fn send_promised(&mut self, key: Key, frame: SharedFrame) {
        let were_refused = self.hub.ports[self.index].slots.take(key, frame.len());
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let link = &mut seat.session.link;
        if were_refused {
            link.note_refusal();
        }
        match link.admit_promised(frame.len(), &self.desk.options) {
            Ok(()) => {
                link.queue.push_shared(frame, &self.desk.pool);
                self.desk.count_sent(link);
            }
            Err(_) => self.desk.mark_dirty(link),
        }
    }

    fn begin_stop(&mut self, drain_limit: Duration) {
        if self.is_stopping {
            return;
        }
        self.is_stopping = true;
        self.close_listeners();
        self.end_waiting_connectors();
        self.close_all(CloseHow::Drain);
        self.timers.insert(self.desk.now + drain_limit, Timer::StopDeadline);
    }

    // Timers

    fn timer_due(&mut self, timer: Timer) {
        match timer {
            Timer::Session(key) => self.session_timer_due(key),
            Timer::Watch(key) => self.watch_due(key),
            Timer::Listener(index) => self.resume_listener(index),
            Timer::Connector(key) => self.connect_again(key),
            Timer::Tick => self.tick(),
            Timer::StopDeadline => {
                self.aborted = self.sessions.len() as u64;
                self.close_all(CloseHow::Abort);
            }
        }
    }

    fn tick(&mut self) {
        let Some(period) = self.tick else { return };
        self.delivery.tick(&mut self.desk);
        self.next_tick = next_tick(self.next_tick, period, self.desk.now);
        self.timers.insert(self.next_tick, Timer::Tick);
    }

    // Telling

    #[inline]
    fn publish(&mut self, port: &Port) {
        self.desk.stats.sessions = self.sessions.len() as u64;
        self.desk.stats.queued_bytes = self.desk.queued_bytes as u64;
        self.desk.stats.note_pools(&self.desk.receive_pool.stats(), &self.desk.pool.stats());
        port.stats.publish(&self.desk.stats);
    }

    fn log(&mut self) {
        self.next_log = self.log_period.map(|period| self.desk.now + period);
        let provider = self.provider.stats();
        self.desk.stats.note_provider(&provider);
        let stats = &self.desk.stats;
        tracing::debug!(
            worker = self.index,
            sessions = stats.sessions,
            batches = provider.batches,
            mean_batch = provider.mean_batch,
            max_batch = provider.max_batch,
            p99_latency = ?provider.p99_latency,
            receive_slots_held = stats.receive_slots_held,
            buffer_waits = stats.buffer_waits,
            send_slots_held = stats.send_slots_held,
            send_slots_high_water = stats.send_slots_high_water,
            send_pool_exhausted = stats.send_pool_exhausted,
            "worker statistics"
        );
        let error_rate = stats.error_rate_since(&self.logged);
        if error_rate > ERROR_RATE_WARNING {
            self.desk.stats.error_rate_warnings += 1;
            tracing::warn!(worker = self.index, error_rate, "many operations fail");
        }
        self.logged = self.desk.stats.clone();
    }

    // The end

    /// The provider could not wait. It is given time; if that does not help, the service ends, because without this worker
    /// it is incomplete.
    #[cold]
    fn provider_failed(&mut self, error: Error) -> Next {
        match self.recovery.failed(&error) {
            Remedy::RetryAfter(pause) => {
                tracing::warn!(worker = self.index, %error, ?pause, "the provider failed; it is tried again");
                self.desk.stats.provider_retries += 1;
                Next::TurnAfter(pause)
            }
            Remedy::Drain => {
                tracing::error!(worker = self.index, %error, "the provider failed; the service drains and ends");
                // The order to drain comes to this worker too.
                self.hub.fail(error);
                Next::Turn
            }
            Remedy::GiveUp => {
                tracing::error!(worker = self.index, %error, "the provider failed again; its sessions are cut off");
                self.give_up(error);
                Next::End
            }
        }
    }

    /// Ends all sessions without the provider.
    fn give_up(&mut self, error: Error) {
        let reason = CloseReason::of(&error);
        self.hub.fail(error);
        self.is_stopping = true;
        self.end_waiting_connectors();
        self.aborted = self.sessions.len() as u64;
        let keys: Vec<Key> = self.sessions.keys().collect();
        for key in keys {
            self.close_session(key, reason, CloseHow::Abort);
            self.session_closed(key);
        }
    }

    pub(super) fn end(mut self, port: &Port) -> u64 {
        let left = port.mailbox.close();
        for command in left {
            match command {
                Command::Adopt { peer, .. } => self.hub.release_client(self.index, peer),
                Command::Connect(_) => self.hub.release_session(self.index),
                _ => {}
            }
        }
        let provider = self.provider.stats();
        self.desk.stats.note_provider(&provider);
        self.publish(port);
        self.aborted
    }
}
