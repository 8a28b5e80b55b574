//! Where the Unix systems differ in the calls of the readiness engine: signals, descriptors closed on exec, and blocking
//! modes that connections inherit.

use rustix::io::Result;
use rustix::net::SendFlags;
use socket2::Socket;

/// How the readiness engine sends: without waiting, and without a signal where that is said in each call.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
/// How the readiness engine sends. A socket option prevents the signal; see [`raise_no_signal`].
#[cfg(target_vendor = "apple")]
pub(crate) const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT;

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
    use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
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
