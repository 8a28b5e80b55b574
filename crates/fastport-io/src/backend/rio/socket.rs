//! What the driver keeps for a socket: its request queue, and what of it is with the system.
//!
//! The life of a request queue:
//!
//! ```text
//!               first transfer                 close, or a send is cancelled midway
//!   Untried ───────────────────▶ Open ──────────────────────────────▶ Ended
//!      │ the system refuses        │ detach (open)
//!      ▼                           ▼
//!   Plain: overlapped calls     stays with the socket, and so do its completion entries
//! ```

use std::os::windows::io::AsRawSocket;

use windows_sys::Win32::Networking::WinSock::{RIO_RQ, SOCKET, WSAEINVAL, WSAEOPNOTSUPP};

use super::RioDriver;
use crate::backend::windows::{PortSocket, any_tcp_socket, last_error};
use crate::buffer::PoolBuffer;
use crate::error::Error;
use crate::operation::SocketId;
use crate::proactor::Core;

/// `RIO_INVALID_RQ` (mswsockdef.h).
const INVALID_QUEUE: RIO_RQ = 0;

/// Receives that a socket has outstanding at most: its lane has one started operation.
const MAX_RECEIVES: u32 = 1;
/// Sends that a socket has outstanding at most: the two parts of one operation.
const MAX_SENDS: u32 = 2;
/// Completion entries that a socket takes.
pub(super) const ENTRIES: u32 = MAX_RECEIVES + MAX_SENDS;

/// See the module.
#[derive(Default)]
pub(crate) struct RioSocket {
    port: PortSocket,
    pub(super) queue: RequestQueue,
    /// It has taken [`ENTRIES`] of the completion queue.
    pub(super) has_entries: bool,
    pub(super) reading: Reading,
    pub(super) sending: Sending,
    /// Deferred sends wait for their commit.
    pub(super) uncommitted: bool,
}

impl AsMut<PortSocket> for RioSocket {
    fn as_mut(&mut self) -> &mut PortSocket {
        &mut self.port
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum RequestQueue {
    /// None yet: the socket is fresh, or a listener.
    #[default]
    Untried,
    Open(RIO_RQ),
    /// The system gives this socket none; it is served by overlapped calls.
    Plain,
    /// Its socket was closed, to end what was outstanding.
    Ended,
}

/// What the started receive has with the system.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing, or one overlapped call for the whole of it.
    #[default]
    Plain,
    /// A receive of no bytes, which ends when data is there.
    Awaiting,
    /// A request.
    Requested,
}

/// What the started send has with the system by requests.
#[derive(Default)]
pub(super) struct Sending {
    /// Parts whose completion is to come.
    pub(super) outstanding: u8,
    /// Start and length of the parts in use.
    pub(super) parts: [(usize, usize); MAX_SENDS as usize],
    /// Bytes of the parts that were sent.
    pub(super) bytes: u32,
    /// The first part that was sent short, after which nothing may follow.
    pub(super) is_short: bool,
    /// Why a part failed.
    pub(super) failure: Option<i32>,
    /// Registered memory that the bytes were copied to.
    pub(super) copy: Option<PoolBuffer>,
}

impl RioSocket {
    /// True if completions of requests are to come.
    pub(super) fn is_outstanding(&self) -> bool {
        self.sending.outstanding > 0 || self.reading == Reading::Requested
    }
}

impl RioDriver {
    /// The socket's request queue, created now if it has none. `None`: it is to be served by overlapped calls.
    pub(super) fn request_queue(&mut self, core: &mut Core<RioSocket>, id: SocketId) -> Option<RIO_RQ> {
        let entry = core.socket_mut(id)?;
        match entry.state.queue {
            RequestQueue::Open(queue) => return Some(queue),
            RequestQueue::Plain | RequestQueue::Ended => return None,
            RequestQueue::Untried => {}
        }
        // Only a connection gets one: the system refuses a socket that is about to be connected (WSAEINVAL), and that
        // must not be taken for a refusal of the socket itself.
        if !entry.state.has_entries || entry.socket.peer_addr().is_err() {
            return None;
        }
        let socket = entry.socket.as_raw_socket() as SOCKET;
        let context = std::ptr::without_provenance(id.to_bits() as usize);
        let completions = self.completions.raw();
        // SAFETY: the socket and the completion queue are open, and the entries were taken.
        let queue = unsafe {
            (self.functions.create_request_queue)(
                socket,
                MAX_RECEIVES,
                1,
                MAX_SENDS,
                1,
                completions,
                completions,
                context,
            )
        };
        if queue != INVALID_QUEUE {
            entry.state.queue = RequestQueue::Open(queue);
            return Some(queue);
        }
        match last_error() {
            // Made without WSA_FLAG_REGISTERED_IO, or by a provider that gave it a request queue already.
            WSAEINVAL | WSAEOPNOTSUPP => tracing::debug!(?id, "a socket from elsewhere is served by overlapped calls"),
            code => {
                let error = Error::from_os(code);
                tracing::warn!(%error, ?id, "no request queue for a socket, which is served by overlapped calls");
            }
        }
        entry.state.queue = RequestQueue::Plain;
        self.give_entries_back(core, id);
        None
    }

    /// The socket's completion entries are free again: it never had a request queue, or that is closed and drained.
    pub(super) fn give_entries_back(&mut self, core: &mut Core<RioSocket>, id: SocketId) {
        if let Some(entry) = core.socket_mut(id)
            && std::mem::take(&mut entry.state.has_entries)
        {
            self.completions.give_back(ENTRIES);
        }
    }

    /// Ends requests that were cancelled and are still outstanding. There is no call to cancel a request: closing the
    /// socket does it (and frees the request queue). Their completions come all the same, and only then is the socket
    /// done with; meanwhile another one stands in its place, of which nobody can expect anything.
    pub(super) fn end_cancelled(&mut self, core: &mut Core<RioSocket>) {
        for _ in 0..self.cancelled.len() {
            let Some(id) = self.cancelled.pop_front() else { return };
            let Some(entry) = core.socket_mut(id) else { continue };
            if !entry.state.is_outstanding() || entry.state.queue == RequestQueue::Ended {
                continue;
            }
            let stand_in = match any_tcp_socket() {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::warn!(%error, "a cancelled request waits until the system has a socket again");
                    self.cancelled.push_back(id);
                    continue;
                }
            };
            entry.state.queue = RequestQueue::Ended;
            drop(std::mem::replace(&mut entry.socket, stand_in));
        }
    }
}
