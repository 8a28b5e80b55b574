//! What FastPort sets on sockets, and how it makes them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, TcpKeepalive, Type};

use super::Socket;
use crate::error::{Error, Result};

/// Options that FastPort sets on every connection, accepted or connecting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Send small packets at once (`TCP_NODELAY`). On by default: packets are batched above the socket already.
    pub no_delay: bool,
    /// Probe silent peers (`SO_KEEPALIVE`); off if `None`.
    pub keep_alive: Option<KeepAlive>,
    /// `SO_RCVBUF` in bytes; the system's own tuning if `None`.
    pub receive_buffer_bytes: Option<usize>,
    /// `SO_SNDBUF` in bytes; the system's own tuning if `None`.
    pub send_buffer_bytes: Option<usize>,
    /// `SO_LINGER`; the system's way if `None`. Zero makes every close a reset.
    pub linger: Option<Duration>,
}

/// When TCP probes a silent peer, in whole seconds. OpenBSD has one setting for all sockets (`net.inet.tcp.keepidle` and
/// its kin) instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe (`TCP_KEEPIDLE`, `TCP_KEEPALIVE` on macOS).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Unanswered probes before the connection counts as dead (`TCP_KEEPCNT`). Always 10 on Windows before 10, version
    /// 1703, and under Wine.
    pub probes: u32,
}

impl KeepAlive {
    #[cfg(not(target_os = "openbsd"))]
    pub(super) fn set_on(self, socket: &socket2::Socket) -> io::Result<()> {
        /// WSAENOPROTOOPT, winsock2.h.
        const NO_SUCH_OPTION: i32 = 10_042;
        let probing = TcpKeepalive::new().with_time(self.idle).with_interval(self.interval);
        match socket.set_tcp_keepalive(&probing.clone().with_retries(self.probes)) {
            // Not every Windows lets the number of probes be set.
            Err(error) if cfg!(windows) && error.raw_os_error() == Some(NO_SUCH_OPTION) => {
                socket.set_tcp_keepalive(&probing)
            }
            set => set,
        }
    }

    #[cfg(target_os = "openbsd")]
    pub(super) fn set_on(self, socket: &socket2::Socket) -> io::Result<()> {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(self.idle))
    }
}

impl Default for KeepAlive {
    /// 60 s of silence, then every 10 s, 6 times: a dead peer is found within two minutes.
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(10), probes: 6 }
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { no_delay: true, keep_alive: None, receive_buffer_bytes: None, send_buffer_bytes: None, linger: None }
    }
}

impl SocketOptions {
    /// Sets the options on a socket.
    ///
    /// On a listener they are set too where accepted sockets inherit them (Linux does, for all of these), which saves a
    /// system call for each connection.
    pub fn apply(&self, socket: &Socket) -> Result<()> {
        let set = || {
            if self.no_delay {
                socket.set_tcp_nodelay(true)?;
            }
            if let Some(keep_alive) = &self.keep_alive {
                socket.set_tcp_keepalive(keep_alive)?;
            }
            if let Some(bytes) = self.receive_buffer_bytes {
                socket.set_recv_buffer_size(bytes)?;
            }
            if let Some(bytes) = self.send_buffer_bytes {
                socket.set_send_buffer_size(bytes)?;
            }
            if self.linger.is_some() {
                socket.set_linger(self.linger)?;
            }
            Ok(())
        };
        set().map_err(|error: io::Error| Error::from(error).during("cannot set socket options"))
    }
}

/// A TCP socket for the address family of `address`, closed on exec.
pub fn stream_socket(address: &SocketAddr) -> Result<Socket> {
    socket2::Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))
        .map(Socket::from)
        .map_err(|error| Error::from(error).during("cannot create a socket"))
}

/// Makes `socket` listen on `address`; port 0 lets the system choose, `socket.local_addr()` tells.
///
/// An address that was in use a moment ago can be taken again on Unix (`SO_REUSEADDR`; on Windows that option means
/// sharing the port with a stranger and is left alone). An IPv6 listener takes IPv6 only, on every system.
///
/// # Errors
/// The system's (`EADDRINUSE`, `EACCES`, …), with the address in the message.
pub fn listen(socket: &Socket, address: &SocketAddr, backlog: i32, options: &SocketOptions) -> Result<()> {
    let bind = || {
        if cfg!(unix) {
            socket.set_reuse_address(true)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(address)?;
        socket.listen(backlog)
    };
    bind().map_err(|error: io::Error| Error::from(error).during(format_args!("cannot listen on {address}")))?;
    options.apply(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_set_and_a_busy_port_names_its_address() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = stream_socket(&address).unwrap();
        let options = SocketOptions { keep_alive: Some(KeepAlive::default()), ..SocketOptions::default() };
        listen(&listener, &address, 16, &options).unwrap();
        assert!(listener.tcp_nodelay().unwrap());
        assert!(listener.keepalive().unwrap());

        let taken = listener.local_addr().unwrap();
        let second = stream_socket(&taken).unwrap();
        let error = listen(&second, &taken, 16, &options).unwrap_err();
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
    }
}
