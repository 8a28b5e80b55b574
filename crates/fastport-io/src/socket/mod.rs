//! Sockets and their options.

mod options;
#[cfg(unix)]
pub(crate) mod unix;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
#[cfg(windows)]
use std::os::windows::io::{AsRawSocket, FromRawSocket, IntoRawSocket, OwnedSocket, RawSocket};
use std::time::Duration;

use socket2::TcpKeepalive;

pub use self::options::{KeepAlive, SocketOptions, listen, stream_socket};

use crate::error::{Error, Result};

/// A TCP socket: fresh, listening or connected. Dropping it closes it.
///
/// It converts from the sockets of `std` and `socket2`, and back; [`Socket::as_system`] gives access to every option that
/// has no method here. Methods have the names of `std::net` and `socket2`, and fail as the system does.
#[derive(Debug)]
pub struct Socket {
    system: socket2::Socket,
}

impl Socket {
    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address(&self.system.local_addr()?)
    }

    /// The address of the peer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        address(&self.system.peer_addr()?)
    }

    /// Binds the socket; port 0 lets the system choose.
    pub fn bind(&self, address: &SocketAddr) -> io::Result<()> {
        self.system.bind(&(*address).into())
    }

    /// Makes a bound socket listen. `backlog` connections may wait to be accepted.
    pub fn listen(&self, backlog: i32) -> io::Result<()> {
        self.system.listen(backlog)
    }

    /// Ends one or both directions of a connection (`shutdown(2)`).
    pub fn shutdown(&self, direction: Shutdown) -> io::Result<()> {
        self.system.shutdown(direction)
    }

    /// A second handle to the same socket, which is closed when the last handle is dropped.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.system.try_clone().map(Self::from)
    }

    /// `SO_LINGER`. Zero makes closing a reset.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.system.set_linger(linger)
    }

    /// `SO_REUSEADDR`.
    pub fn set_reuse_address(&self, reuse: bool) -> io::Result<()> {
        self.system.set_reuse_address(reuse)
    }

    /// `IPV6_V6ONLY`.
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        self.system.set_only_v6(only_v6)
    }

    /// Whether calls on the socket return at once. Providers take either kind.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.system.set_nonblocking(nonblocking)
    }

    /// Whether calls on the socket return at once. Windows does not tell.
    #[cfg(unix)]
    pub fn nonblocking(&self) -> io::Result<bool> {
        self.system.nonblocking()
    }

    /// `TCP_NODELAY`.
    pub fn set_tcp_nodelay(&self, no_delay: bool) -> io::Result<()> {
        self.system.set_tcp_nodelay(no_delay)
    }

    /// `TCP_NODELAY`.
    pub fn tcp_nodelay(&self) -> io::Result<bool> {
        self.system.tcp_nodelay()
    }

    /// `SO_KEEPALIVE` with its times.
    pub fn set_tcp_keepalive(&self, keep_alive: &KeepAlive) -> io::Result<()> {
        let probing = TcpKeepalive::new()
            .with_time(keep_alive.idle)
            .with_interval(keep_alive.interval)
            .with_retries(keep_alive.probes);
        self.system.set_tcp_keepalive(&probing)
    }

    /// `SO_KEEPALIVE`.
    pub fn keepalive(&self) -> io::Result<bool> {
        self.system.keepalive()
    }

    /// `SO_RCVBUF`, in bytes.
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        self.system.set_recv_buffer_size(bytes)
    }

    /// `SO_SNDBUF`, in bytes.
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        self.system.set_send_buffer_size(bytes)
    }

    /// The socket of the system, for options that have no method here.
    pub fn as_system(&self) -> Option<&socket2::Socket> {
        Some(&self.system)
    }

    /// The socket of the system, taken out; or this one again if there is none.
    pub fn into_system(self) -> Result<socket2::Socket, Self> {
        Ok(self.system)
    }

    /// The socket of the system, for backends of the system: only such sockets are attached to them.
    #[inline]
    pub(crate) fn system(&self) -> &socket2::Socket {
        &self.system
    }

    /// Finds closed descriptors, and those that are no sockets.
    pub(crate) fn check_system(&self) -> Result<()> {
        self.system.r#type().map(drop).map_err(Error::from)
    }
}

fn address(address: &socket2::SockAddr) -> io::Result<SocketAddr> {
    address
        .as_socket()
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "the socket is not one of the Internet"))
}

impl From<socket2::Socket> for Socket {
    fn from(system: socket2::Socket) -> Self {
        Self { system }
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::from(socket2::Socket::from(stream))
    }
}

impl From<TcpListener> for Socket {
    fn from(listener: TcpListener) -> Self {
        Self::from(socket2::Socket::from(listener))
    }
}

/// Gives the socket back if it is not one of the system.
impl TryFrom<Socket> for TcpStream {
    type Error = Socket;

    fn try_from(socket: Socket) -> Result<Self, Socket> {
        socket.into_system().map(Self::from)
    }
}

/// Gives the socket back if it is not one of the system.
impl TryFrom<Socket> for TcpListener {
    type Error = Socket;

    fn try_from(socket: Socket) -> Result<Self, Socket> {
        socket.into_system().map(Self::from)
    }
}

#[cfg(unix)]
impl From<OwnedFd> for Socket {
    fn from(descriptor: OwnedFd) -> Self {
        Self::from(socket2::Socket::from(descriptor))
    }
}

#[cfg(unix)]
impl FromRawFd for Socket {
    unsafe fn from_raw_fd(descriptor: RawFd) -> Self {
        // SAFETY: the caller vouches for what this function asks for too.
        Self::from(unsafe { socket2::Socket::from_raw_fd(descriptor) })
    }
}

#[cfg(unix)]
impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.system.as_raw_fd()
    }
}

#[cfg(unix)]
impl IntoRawFd for Socket {
    fn into_raw_fd(self) -> RawFd {
        self.system.into_raw_fd()
    }
}

#[cfg(windows)]
impl From<OwnedSocket> for Socket {
    fn from(socket: OwnedSocket) -> Self {
        Self::from(socket2::Socket::from(socket))
    }
}

#[cfg(windows)]
impl FromRawSocket for Socket {
    unsafe fn from_raw_socket(socket: RawSocket) -> Self {
        // SAFETY: the caller vouches for what this function asks for too.
        Self::from(unsafe { socket2::Socket::from_raw_socket(socket) })
    }
}

#[cfg(windows)]
impl AsRawSocket for Socket {
    fn as_raw_socket(&self) -> RawSocket {
        self.system.as_raw_socket()
    }
}

#[cfg(windows)]
impl IntoRawSocket for Socket {
    fn into_raw_socket(self) -> RawSocket {
        self.system.into_raw_socket()
    }
}
