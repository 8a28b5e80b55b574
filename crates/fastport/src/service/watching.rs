//! The worker's limits for sessions that are open: what clients send, whether they read, and how much waits to be sent to all
//! of them.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use fastport_io::AsyncIoProvider;
use fastport_io::slab::Key;

use super::delivery::Delivery;
use super::worker::{Timer, Worker};
use crate::framer::Framer;
use crate::session::{CloseHow, CloseReason, Watch, idle_slack};
use crate::timer::TimerId;

/// A client's watch and its timer.
pub(super) struct Watched {
    watch: Watch,
    /// It may be early: what comes in moves the deadline, and the timer follows when it is due.
    timer: Option<(TimerId, Instant)>,
}

impl Watched {
    pub(super) fn timer(&self) -> Option<TimerId> {
        self.timer.map(|(timer, _)| timer)
    }
}

impl<P: AsyncIoProvider, F: Framer, D: Delivery<F>> Worker<P, F, D> {
    /// From now on the limits count for a client, if there are any.
    pub(super) fn watch_client(&mut self, key: Key) {
        if !self.limits.watch_sessions() {
            return;
        }
        if let Some(seat) = self.sessions.get_mut(key) {
            seat.watched = Some(Box::new(Watched { watch: Watch::new(self.desk.now), timer: None }));
        }
        self.set_watch_timer(key);
    }

    /// A client that is watched has sent something, and it has been handled.
    pub(super) fn look_at_client(&mut self, key: Key) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let (link, receiver) = (&mut seat.session.link, &seat.session.receiver);
        let Some(watched) = seat.watched.as_mut().filter(|_| link.is_open()) else { return };
        let is_partial = receiver.has_partial_frame();
        match watched.watch.received(&link.stats, is_partial, &self.limits, self.desk.now) {
            Some(reason) => self.close_session(key, reason, CloseHow::AtOnce),
            None => self.set_watch_timer(key),
        }
    }

    /// Makes sure that the timer is due no later than the deadline.
    fn set_watch_timer(&mut self, key: Key) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let Some(watched) = &mut seat.watched else { return };
        let Some(deadline) = watched.watch.deadline(&self.limits) else { return };
        if let Some((timer, due)) = watched.timer {
            if due <= deadline {
                return;
            }
            self.timers.cancel(timer);
        }
        let slack = idle_slack(deadline.saturating_duration_since(self.desk.now)).max(Duration::from_millis(1));
        watched.timer = Some((self.timers.insert_within(deadline, slack, Timer::Watch(key)), deadline));
    }

    /// A client may have run out of time.
    pub(super) fn watch_due(&mut self, key: Key) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let Some(watched) = &mut seat.watched else { return };
        watched.timer = None;
        let link = &seat.session.link;
        if !link.is_open() {
            return;
        }
        match watched.watch.overdue(&link.stats, link.queue.queued(), &self.limits, self.desk.now) {
            // What it does not read must not stay with the system either.
            Some(CloseReason::SlowReader) => self.close_session(key, CloseReason::SlowReader, CloseHow::Abort),
            Some(reason) => self.close_session(key, reason, CloseHow::AtOnce),
            None => self.set_watch_timer(key),
        }
    }

    /// The send queues are beyond their memory: the sessions with the most in them are closed. False if none could be.
    ///
    /// More is freed than necessary, so that a worker at its limit does not search all its sessions in each batch.
    #[cold]
    pub(super) fn shed_queues(&mut self) -> bool {
        let before = self.desk.queued_bytes;
        let enough = self.most_queued_bytes - self.most_queued_bytes / 16;
        let queues = self.sessions.iter().map(|(key, seat)| (seat.session.link.queue.queued(), key));
        let mut queues: Vec<_> = queues.filter(|&(bytes, _)| bytes > 0).collect();
        queues.sort_unstable_by_key(|&(bytes, key)| (Reverse(bytes), key.index));
        let mut closed = 0;
        for (_, key) in queues {
            if self.desk.queued_bytes <= enough {
                break;
            }
            let Some(seat) = self.sessions.get_mut(key) else { continue };
            let link = &mut seat.session.link;
            self.desk.close(link, CloseReason::QueueMemory, CloseHow::Abort);
            self.desk.count_queued(link);
            closed += 1;
        }
        tracing::warn!(worker = self.index, queued_bytes = before, closed, "the send queues are beyond their memory");
        self.desk.queued_bytes < before
    }
}
