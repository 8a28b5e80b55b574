//! The command line and the listener of a server.

use std::net::{SocketAddr, TcpListener};

use clap::Parser;
use socket2::{Domain, Protocol, Socket, Type};

/// The arguments of every server.
#[derive(Debug, Parser)]
pub struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:7000")]
    pub addr: SocketAddr,
    /// The server's other way of working: tokio over `Framed` with a codec, raw with a copy into pooled send buffers.
    #[arg(long)]
    pub variant: bool,
}

impl Arguments {
    /// Reads the command line; ends the process if it is wrong.
    pub fn read() -> Self {
        Self::parse()
    }

    /// Listens. Accepted sockets inherit `TCP_NODELAY`, so no server spends a call on it.
    pub fn listen(&self) -> TcpListener {
        let socket = Socket::new(Domain::for_address(self.addr), Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        socket.set_reuse_address(true).expect("SO_REUSEADDR");
        socket.set_tcp_nodelay(true).expect("TCP_NODELAY");
        socket.bind(&self.addr.into()).unwrap_or_else(|error| panic!("cannot bind {}: {error}", self.addr));
        socket.listen(4096).expect("listen");
        socket.into()
    }
}
