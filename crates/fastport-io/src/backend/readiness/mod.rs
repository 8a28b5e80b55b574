//! Backends for systems that say when a socket is ready instead of when an operation is done: one engine, one
//! [`Selector`] for each system.
//!
//! ```text
//!   start ──▶ try the call ──done──▶ completion
//!                │ would block            ▲
//!                ▼                        │
//!             wait for the edge ──▶ ready list ──▶ try the call, one a turn
//! ```
//!
//! The [`ReadinessDriver`] keeps for each socket what it knows of its readiness, so that it makes no call that is bound
//! to fail. Nothing of an operation is ever in the kernel: cancelling is immediate, and memory is touched only inside a
//! call of this thread.
//!
//! # Blocking mode of attached sockets
//! A socket is taken as it is. Transfers say `MSG_DONTWAIT` in each call. Only accept and connect have no such flag, so
//! the first of them sets `O_NONBLOCK` (where transfers do not heed theirs, attaching does: kqueue), and the way back
//! (`detach`, `close`) restores it. That flag belongs to the open file description: who attaches duplicates of one
//! listener to several providers should hand them over non-blocking, which is then left alone. Accepted connections are
//! handed out blocking, as by the other backends.

#[cfg(target_os = "linux")]
mod aio;
mod calls;
mod engine;
#[cfg(target_os = "linux")]
mod epoll;
#[cfg(any(not(target_os = "linux"), fastport_libkqueue))]
mod kqueue;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Errno;

pub(crate) use self::engine::ReadinessDriver;
#[cfg(target_os = "linux")]
pub(crate) use self::epoll::EpollSelector;
#[cfg(any(not(target_os = "linux"), fastport_libkqueue))]
pub(crate) use self::kqueue::KqueueSelector;

use crate::config::ProviderConfig;
use crate::error::Result;
use crate::info::{Backend, Features};
use crate::operation::{SendAtOnce, SocketId};
use crate::waker::WakeSignal;

/// The system's part: it watches sockets and tells when one *becomes* ready (edge-triggered, both directions).
///
/// What the engine relies on:
/// - after [`Selector::add`] the present state of the socket is told once, as far as it is readable;
/// - new data, the peer's end of data, and a reset are each told after they happened, even if a socket is readable
///   already;
/// - a socket that refused a send with `EAGAIN` is told as writable once there is room, if [`Selector::await_room`] was
///   called after that;
/// - what is told was true when [`Selector::wait`] returned.
pub(crate) trait Selector: Sized + 'static {
    /// The backend that the engine is with this selector.
    const BACKEND: Backend;

    /// Transfers of a blocking socket may block here, `MSG_DONTWAIT` or not.
    const NEEDS_NONBLOCKING: bool;

    /// Opens a selector that tells at most `queue_depth` events in one wait. What the system lacks is added to `notes`.
    fn open(config: &ProviderConfig, notes: &mut Vec<String>) -> Result<Self>;

    /// What it does better than the plain way.
    fn features(&self) -> Features {
        Features::default()
    }

    /// Ends a wait from any thread; may outlive the selector.
    fn wake_signal(&self) -> Box<dyn WakeSignal>;

    /// Watches a socket. `token`, never 0, comes back with what is told of it.
    fn add(&self, socket: BorrowedFd<'_>, token: u64) -> Result<()>;

    /// A send was refused with `EAGAIN`, or a connect goes on: room to send has to be told, once. For selectors that do
    /// not tell it unasked.
    fn await_room(&self, _socket: BorrowedFd<'_>, _token: u64) -> Result<()> {
        Ok(())
    }

    /// Ends watching it.
    fn remove(&self, socket: BorrowedFd<'_>);

    /// Makes all sends that are not empty and whose socket is found, by fewer system calls than one each where the system can.
    fn send_each<'s>(
        &mut self,
        sends: &mut [SendAtOnce<'_>],
        find_socket: impl Fn(SocketId) -> Option<BorrowedFd<'s>>,
    ) {
        calls::send_each(sends, find_socket);
    }

    /// Waits at most `timeout` (`None`: for ever) and tells what became ready. Returns true if a signal ended the wait.
    /// May return early with nothing, for instance when a signal handler ran.
    fn wait(&mut self, timeout: Option<Duration>, tell: impl FnMut(Readiness)) -> Result<bool>;
}

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// The token of the socket.
    pub(crate) token: u64,
    /// A receive or an accept would not block: data, a connection, the end of data, or an error is there.
    pub(crate) readable: bool,
    /// A send would not block, or a connect is decided.
    pub(crate) writable: bool,
    /// Behind the data there is something that no further edge will tell: the end, an error, or an urgent mark at which
    /// receives stop. Receive until that would block.
    pub(crate) more_behind: bool,
    /// The error that ended the connection, where the selector takes it off the socket to tell it.
    pub(crate) failure: Option<Errno>,
}
