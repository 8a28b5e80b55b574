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

use socket2::Type;

pub use self::options::{KeepAlive, SocketOptions, listen, stream_socket};

#[cfg(feature = "sim")]
use crate::backend::{SimSocket, Switch};
use crate::error::{Error, ErrorCode, Result};

/// A TCP socket: fresh, listening or connected. Dropping it closes it.
///
/// It converts from the sockets of `std` and `socket2`, and back; [`Socket::as_system`] gives access to every option that
/// has no method here. Methods have the names of `std::net` and `socket2`, and fail as the system does.
#[derive(Debug)]
pub struct Socket(Kind);

#[derive(Debug)]
enum Kind {
    System(socket2::Socket),
    #[cfg(feature = "sim")]
    Simulated(SimSocket),
}

/// Does the same with a socket of either kind.
macro_rules! either {
    ($socket:expr, $system:ident => $of_system:expr, $simulated:ident => $of_simulated:expr $(,)?) => {
        match &$socket.0 {
            Kind::System($system) => $of_system,
            #[cfg(feature = "sim")]
            Kind::Simulated($simulated) => $of_simulated,
        }
    };
}

impl Socket {
    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        either!(self, system => address(&system.local_addr()?), simulated => simulated.local_address())
    }

    /// The address of the peer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        either!(self, system => address(&system.peer_addr()?), simulated => simulated.peer_address())
    }

    /// Binds the socket; port 0 lets the system choose.
    pub fn bind(&self, address: &SocketAddr) -> io::Result<()> {
        either!(self, system => system.bind(&(*address).into()), simulated => simulated.bind(address))
    }

    /// Makes a bound socket listen. `backlog` connections may wait to be accepted.
    pub fn listen(&self, backlog: i32) -> io::Result<()> {
        either!(self, system => system.listen(backlog), simulated => simulated.listen(backlog))
    }

    /// Ends one or both directions of a connection (`shutdown(2)`).
    pub fn shutdown(&self, direction: Shutdown) -> io::Result<()> {
        either!(self, system => system.shutdown(direction), simulated => simulated.shut_down(direction))
    }

    /// A second handle to the same socket, which is closed when the last handle is dropped.
    pub fn try_clone(&self) -> io::Result<Self> {
        either!(self, system => system.try_clone().map(Self::from), simulated => simulated.duplicate().map(Self::from))
    }

    /// `SO_LINGER`. Zero makes closing a reset.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        either!(self, system => system.set_linger(linger), simulated => simulated.set_linger(linger))
    }

    /// `SO_REUSEADDR`.
    pub fn set_reuse_address(&self, reuse: bool) -> io::Result<()> {
        either!(self, system => system.set_reuse_address(reuse), _simulated => Ok(()))
    }

    /// `IPV6_V6ONLY`.
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        either!(self, system => system.set_only_v6(only_v6), _simulated => Ok(()))
    }

    /// Whether calls on the socket return at once. Providers take either kind.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        either!(
            self,
            system => system.set_nonblocking(nonblocking),
            simulated => simulated.set(Switch::Nonblocking, nonblocking),
        )
    }

    /// Whether calls on the socket return at once. Windows does not tell.
    #[cfg(unix)]
    pub fn nonblocking(&self) -> io::Result<bool> {
        either!(self, system => system.nonblocking(), simulated => simulated.is_set(Switch::Nonblocking))
    }

    /// `TCP_NODELAY`.
    pub fn set_tcp_nodelay(&self, no_delay: bool) -> io::Result<()> {
        either!(
            self,
            system => system.set_tcp_nodelay(no_delay),
            simulated => simulated.set(Switch::NoDelay, no_delay),
        )
    }

    /// `TCP_NODELAY`.
    pub fn tcp_nodelay(&self) -> io::Result<bool> {
        either!(self, system => system.tcp_nodelay(), simulated => simulated.is_set(Switch::NoDelay))
    }

    /// `SO_KEEPALIVE` with its times.
    pub fn set_tcp_keepalive(&self, keep_alive: &KeepAlive) -> io::Result<()> {
        either!(
            self,
            system => keep_alive.set_on(system),
            simulated => simulated.set(Switch::KeepAlive, true),
        )
    }

    /// `SO_KEEPALIVE`.
    pub fn keepalive(&self) -> io::Result<bool> {
        either!(self, system => system.keepalive(), simulated => simulated.is_set(Switch::KeepAlive))
    }

    /// `SO_RCVBUF`, in bytes. Simulated sockets have the buffers of their network's plan.
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        either!(self, system => system.set_recv_buffer_size(bytes), _simulated => Ok(()))
    }

    /// `SO_SNDBUF`, in bytes. Simulated sockets have the buffers of their network's plan.
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        either!(self, system => system.set_send_buffer_size(bytes), _simulated => Ok(()))
    }

    /// The socket of the system, for options that have no method here. `None` for a simulated one.
    pub fn as_system(&self) -> Option<&socket2::Socket> {
        either!(self, system => Some(system), _simulated => None)
    }

    /// The socket of the system, taken out; or this one again if it is simulated.
    #[allow(clippy::missing_errors_doc, reason = "the sentence above says it")]
    pub fn into_system(self) -> Result<socket2::Socket, Self> {
        match self.0 {
            Kind::System(system) => Ok(system),
            #[cfg(feature = "sim")]
            simulated @ Kind::Simulated(_) => Err(Self(simulated)),
        }
    }

    /// The socket of the system, for backends of the system: only such sockets are attached to them.
    #[inline]
    pub(crate) fn system(&self) -> &socket2::Socket {
        either!(self, system => system, _simulated => unreachable!("a backend of the system has sockets of the system"))
    }

    /// Finds closed descriptors, those that are no sockets, and sockets that are not of the system.
    pub(crate) fn check_system(&self) -> Result<()> {
        either!(
            self,
            system => match system.r#type()? {
                Type::STREAM => Ok(()),
                // A short receive says that a stream is empty, and nothing about a datagram socket.
                other => Err(Error::new(ErrorCode::InvalidSocket, format!("a socket of type {other:?} is no stream"))),
            },
            _simulated => Err(Error::new(
                ErrorCode::SocketNotRegistered,
                "a simulated socket works with the providers of its network only",
            )),
        )
    }

    #[cfg(feature = "sim")]
    pub(crate) const fn as_simulated(&self) -> Option<&SimSocket> {
        match &self.0 {
            Kind::System(_) => None,
            Kind::Simulated(simulated) => Some(simulated),
        }
    }
}

fn address(address: &socket2::SockAddr) -> io::Result<SocketAddr> {
    address
        .as_socket()
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "the socket is not one of the Internet"))
}

impl From<socket2::Socket> for Socket {
    fn from(system: socket2::Socket) -> Self {
        Self(Kind::System(system))
    }
}

#[cfg(feature = "sim")]
impl From<SimSocket> for Socket {
    fn from(simulated: SimSocket) -> Self {
        Self(Kind::Simulated(simulated))
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

/// -1, which no descriptor has, for a simulated socket.
#[cfg(unix)]
impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_system().map_or(-1, AsRawFd::as_raw_fd)
    }
}

/// -1, which no descriptor has, for a simulated socket, which is closed.
#[cfg(unix)]
impl IntoRawFd for Socket {
    fn into_raw_fd(self) -> RawFd {
        self.into_system().map_or(-1, IntoRawFd::into_raw_fd)
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

/// `INVALID_SOCKET` for a simulated socket.
#[cfg(windows)]
impl AsRawSocket for Socket {
    fn as_raw_socket(&self) -> RawSocket {
        self.as_system().map_or(RawSocket::MAX, AsRawSocket::as_raw_socket)
    }
}

/// `INVALID_SOCKET` for a simulated socket, which is closed.
#[cfg(windows)]
impl IntoRawSocket for Socket {
    fn into_raw_socket(self) -> RawSocket {
        self.into_system().map_or(RawSocket::MAX, IntoRawSocket::into_raw_socket)
    }
}
