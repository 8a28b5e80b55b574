//! A worker's mailbox: the one place where other threads meet it.
//!
//! Senders append under a short lock; the worker swaps the whole list out, once a batch. It is woken only if it may be
//! asleep: a busy worker looks into its mailbox anyway.

use std::net::SocketAddr;
use std::sync::{OnceLock, PoisonError};
use std::time::Duration;

use fastport_io::slab::Key;
use fastport_io::{Socket, Waker};

use super::handle::SharedFrame;
use crate::error::SendError;
use crate::options::ConnectOptions;
use crate::session::{CloseHow, CloseReason};
use crate::sync::{AtomicBool, Mutex, Ordering, fence};

/// What other threads ask of a worker.
pub(crate) enum Command {
    /// Queue a frame.
    Send { key: Key, frame: SharedFrame },
    /// Queue one frame for several sessions.
    Broadcast { keys: Box<[Key]>, frame: SharedFrame },
    /// End a session.
    Close { key: Key, reason: CloseReason, how: CloseHow },
    /// A handler thread has handled everything that came before the end of the peer's stream.
    PeerEnded { key: Key },
    /// A handler thread's handler has panicked where there is no session to close.
    CountPanic,
    /// Take over a connection that another worker has accepted.
    Adopt { socket: Socket, peer: SocketAddr },
    /// Make a connection.
    Connect(Box<ConnectRequest>),
    /// Make none any more that was asked for with this token.
    CancelConnect { token: u64 },
    /// Close the listeners.
    StopAccepting,
    /// Drain for at most that long, and end.
    Stop { drain_limit: Duration },
}

/// A connection to be made.
pub(crate) struct ConnectRequest {
    pub(crate) address: SocketAddr,
    pub(crate) token: u64,
    pub(crate) options: ConnectOptions,
}

impl Command {
    /// Bytes that it keeps alive.
    fn bytes(&self) -> usize {
        match self {
            Self::Send { frame, .. } => frame.len(),
            Self::Broadcast { keys, frame } => frame.len() + keys.len() * size_of::<Key>(),
            _ => 0,
        }
    }
}

/// Commands waiting at once, of those that may be refused.
const MAX_COMMANDS: usize = 64 * 1024;
/// Bytes waiting at once, of those that may be refused.
const MAX_BYTES: usize = 64 << 20;

#[derive(Default)]
struct Inbox {
    commands: Vec<Command>,
    bytes: usize,
    is_closed: bool,
}

/// Many senders, one worker.
#[derive(Default)]
pub(crate) struct Mailbox {
    inbox: Mutex<Inbox>,
    has_mail: AtomicBool,
    /// The worker waits, or is about to.
    is_asleep: AtomicBool,
    waker: OnceLock<Waker>,
}

impl Mailbox {
    /// Leaves a message that may be refused.
    ///
    /// # Errors
    /// `Full` at the limits of the mailbox, `Closed` when the worker has ended.
    pub(crate) fn offer(&self, command: Command) -> Result<(), SendError> {
        self.post([command], true)
    }

    /// Leaves a message that must not be lost: an order, or a reply whose request was counted already.
    ///
    /// # Errors
    /// `Closed` when the worker has ended.
    pub(crate) fn order(&self, command: Command) -> Result<(), SendError> {
        self.post([command], false)
    }

    /// Leaves many that must not be lost, and empties `commands`.
    ///
    /// # Errors
    /// `Closed` when the worker has ended.
    pub(crate) fn order_all(&self, commands: &mut Vec<Command>) -> Result<(), SendError> {
        self.post(commands.drain(..), false)
    }

    fn post(&self, commands: impl IntoIterator<Item = Command>, may_refuse: bool) -> Result<(), SendError> {
        {
            let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            if inbox.is_closed {
                return Err(SendError::Closed);
            }
            if may_refuse && (inbox.commands.len() >= MAX_COMMANDS || inbox.bytes >= MAX_BYTES) {
                return Err(SendError::Full);
            }
            for command in commands {
                inbox.bytes += command.bytes();
                inbox.commands.push(command);
            }
            self.has_mail.store(true, Ordering::Relaxed);
        }
        // Together with the fence in `fall_asleep`: either this thread sees the worker asleep, or the worker sees the mail.
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed)
            && let Some(waker) = self.waker.get()
        {
            waker.wake();
        }
        Ok(())
    }

    // For the worker

    /// Says how the worker is woken. Called once, before any wait.
    pub(crate) fn set_waker(&self, waker: Waker) {
        let is_first = self.waker.set(waker).is_ok();
        debug_assert!(is_first, "a mailbox has one worker");
    }

    /// The worker is about to wait. Returns false if there is mail and it must not.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        !self.has_mail.load(Ordering::Relaxed)
    }

    /// Leaves the worker asleep between two turns, as its thread would be in its wait. If there is mail, it is woken.
    #[cfg(feature = "sim")]
    pub(crate) fn rest(&self) {
        if !self.fall_asleep()
            && let Some(waker) = self.waker.get()
        {
            waker.wake();
        }
    }

    /// The wait is over.
    pub(crate) fn wake_up(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }

    /// Swaps what has come into `commands`, which must be empty. Cheap if nothing has.
    #[inline]
    pub(crate) fn take(&self, commands: &mut Vec<Command>) {
        debug_assert!(commands.is_empty());
        if !self.has_mail.load(Ordering::Relaxed) {
            return;
        }
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut inbox.commands, commands);
        inbox.bytes = 0;
        self.has_mail.store(false, Ordering::Relaxed);
    }

    /// The worker ends: nothing is taken any more. Returns what was left.
    pub(crate) fn close(&self) -> Vec<Command> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.is_closed = true;
        std::mem::take(&mut inbox.commands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn send(bytes: usize) -> Command {
        Command::Send { key: Key { index: 0, generation: 1 }, frame: vec![0; bytes].into() }
    }

    #[test]
    fn a_worker_with_mail_does_not_fall_asleep() {
        let mailbox = Mailbox::default();
        assert!(mailbox.fall_asleep());
        mailbox.offer(send(1)).unwrap();
        assert!(!mailbox.fall_asleep());
        let mut commands = Vec::new();
        mailbox.take(&mut commands);
        assert_eq!(commands.len(), 1);
        assert!(mailbox.fall_asleep());
    }

    #[test]
    fn a_full_mailbox_refuses_messages_and_takes_orders() {
        let mailbox = Mailbox::default();
        mailbox.offer(send(MAX_BYTES)).unwrap();
        assert_eq!(mailbox.offer(send(1)), Err(SendError::Full));
        mailbox.order(Command::StopAccepting).unwrap();
        let mut commands = Vec::new();
        mailbox.take(&mut commands);
        assert_eq!(commands.len(), 2);
        mailbox.offer(send(1)).unwrap();
    }

    #[test]
    fn a_closed_mailbox_takes_nothing_and_returns_the_rest() {
        let mailbox = Mailbox::default();
        mailbox.offer(send(1)).unwrap();
        assert_eq!(mailbox.close().len(), 1);
        assert_eq!(mailbox.offer(send(1)), Err(SendError::Closed));
        assert_eq!(mailbox.order(Command::StopAccepting), Err(SendError::Closed));
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        const SENDERS: usize = 4;
        const EACH: usize = 10_000;
        let mailbox = Arc::new(Mailbox::default());
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                let mailbox = Arc::clone(&mailbox);
                scope.spawn(move || {
                    for _ in 0..EACH {
                        mailbox.order(send(1)).unwrap();
                    }
                });
            }
            let (mut commands, mut received) = (Vec::new(), 0);
            while received < SENDERS * EACH {
                mailbox.take(&mut commands);
                received += commands.drain(..).count();
                std::thread::yield_now();
            }
        });
    }
}
