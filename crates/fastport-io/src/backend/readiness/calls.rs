//! The socket calls of the engine: none of them blocks, and an interruption by a signal handler is not seen outside.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use socket2::Socket;

use crate::error::Error;
use crate::operation::{SendAtOnce, SocketId};
use crate::socket::unix::{self, retry};

/// The result of a system call.
pub(super) type CallResult<T> = Result<T, Errno>;

/// Makes an attached socket fit for the calls below.
pub(super) fn prepare(socket: &Socket) -> CallResult<()> {
    match unix::raise_no_signal(socket) {
        // Apple's systems take no options for a socket whose connection is gone, which the first transfer will tell.
        Err(Errno::INVAL) => Ok(()),
        result => result,
    }
}

/// `send(2)` or `sendmsg(2)`.
#[inline]
pub(super) fn send(socket: BorrowedFd<'_>, send: &mut SendAtOnce<'_>) {
    send.taken = unix::send(socket, send.first, send.second).map_err(|errno| Error::from_os(errno.raw_os_error()));
}

/// Makes all sends that are not empty and whose socket is found.
#[inline]
pub(super) fn send_each<'s>(sends: &mut [SendAtOnce<'_>], find_socket: impl Fn(SocketId) -> Option<BorrowedFd<'s>>) {
    for entry in sends.iter_mut().filter(|send| !send.first.is_empty()) {
        if let Some(socket) = find_socket(entry.socket) {
            send(socket, entry);
        }
    }
}

/// `recv(2)`. 0 for a buffer that is not empty is the end of the peer's data.
#[inline]
pub(super) fn receive(socket: &Socket, buffer: &mut [u8]) -> CallResult<usize> {
    retry(|| rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT).map(|(_, bytes)| bytes))
}

/// `accept(2)` on a non-blocking listener. The connection is closed on exec, and blocking.
pub(super) fn accept(listener: &Socket) -> CallResult<Socket> {
    retry(|| unix::accept(listener))
}

/// True for errors of `accept(2)` that belong to the connection, which is gone, and not to the listener.
///
/// `ECONNABORTED` everywhere; Linux reports other network errors of a waiting connection here, too, and asks to treat
/// them like `EAGAIN` (accept(2)).
pub(super) const fn died_before_accept(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
    )
}

/// `connect(2)` on a non-blocking socket. False if it goes on: the socket becomes writable when it is decided.
pub(super) fn connect(socket: &Socket, address: &SocketAddr) -> CallResult<bool> {
    match socket.connect(&(*address).into()).map_err(errno) {
        Ok(()) => Ok(true),
        // An interrupted connect goes on too; calling it again would be an error (POSIX).
        Err(Errno::INPROGRESS | Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How a connect ended that had gone on. False if it still goes on.
pub(super) fn connected(socket: &Socket) -> CallResult<bool> {
    if let Some(error) = socket.take_error().map_err(errno)? {
        return Err(errno(error));
    }
    match socket.peer_addr().map_err(errno) {
        Ok(_) => Ok(true),
        Err(Errno::NOTCONN) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes accept and connect return at once. True if the socket was blocking before.
pub(super) fn make_nonblocking(socket: &Socket) -> CallResult<bool> {
    if socket.nonblocking().map_err(errno)? {
        return Ok(false);
    }
    rustix::io::ioctl_fionbio(socket, true)?;
    Ok(true)
}

#[allow(clippy::needless_pass_by_value, reason = "stands where results are mapped")]
fn errno(error: io::Error) -> Errno {
    // Every error of these calls comes from the system; should one not, "invalid" is what it means.
    Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
}
