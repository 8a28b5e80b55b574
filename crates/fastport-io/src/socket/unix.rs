//! The call that sends at once, and where the Unix systems differ: signals, descriptors closed on exec, and blocking modes
//! that connections inherit.

use std::io::IoSlice;
use std::os::fd::AsFd;

use rustix::io::{Errno, Result};
use rustix::net::{SendAncillaryBuffer, SendFlags};
use socket2::Socket;

/// Makes a call until no signal handler interrupts it.
#[inline]
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// `send(2)`, or `sendmsg(2)` if the second range is not empty, without waiting. May take less than it is given; a dead peer
/// is `EPIPE`, not a signal.
#[inline]
pub(crate) fn send(socket: impl AsFd, first: &[u8], second: &[u8]) -> Result<usize> {
    if second.is_empty() {
        return retry(|| rustix::net::send(&socket, first, SEND_FLAGS));
    }
    let ranges = [IoSlice::new(first), IoSlice::new(second)];
    retry(|| rustix::net::sendmsg(&socket, &ranges, &mut SendAncillaryBuffer::default(), SEND_FLAGS))
}

/// Without waiting, and without a signal where that is said in each call.
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
/// Without waiting. A socket option prevents the signal; see [`raise_no_signal`].
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT;

/// Sees to it that a dead peer is an error of a send and not a signal, where [`SEND_FLAGS`] does not.
#[cfg(not(target_vendor = "apple"))]
#[allow(clippy::unnecessary_wraps, reason = "other systems have something to do")]
pub(crate) fn raise_no_signal(_socket: &Socket) -> Result<()> {
    Ok(())
}

/// Sees to it that a dead peer is an error of a send and not a signal.
///
/// # Errors
/// `EINVAL` if the connection is gone already.
#[cfg(target_vendor = "apple")]
pub(crate) fn raise_no_signal(socket: &Socket) -> Result<()> {
    rustix::net::sockopt::set_socket_nosigpipe(socket, true)
}

/// `accept4(2)`: a connection that is closed on exec and blocking, whatever the listener is.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn accept(listener: &Socket) -> Result<Socket> {
    rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC).map(Socket::from)
}

/// `accept(2)`: a connection that is closed on exec and blocking, whatever the listener is, and raises no signal.
///
/// Apple's systems have no `accept4`, let a connection inherit the listener's mode, and deliver connections that were
/// reset while they waited; such a one takes no options.
///
/// # Errors
/// `ECONNABORTED` for a connection that is gone already.
#[cfg(target_vendor = "apple")]
pub(crate) fn accept(listener: &Socket) -> Result<Socket> {
    use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
    let connection = rustix::net::accept(listener)?;
    fcntl_setfd(&connection, FdFlags::CLOEXEC)?;
    ioctl_fionbio(&connection, false)?;
    let connection = Socket::from(connection);
    match raise_no_signal(&connection) {
        Ok(()) => Ok(connection),
        Err(Errno::INVAL) => Err(Errno::CONNABORTED),
        Err(errno) => Err(errno),
    }
}
