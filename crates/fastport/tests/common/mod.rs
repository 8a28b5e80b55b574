//! What the tests over real sockets share: a blocking client.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use fastport::{Packet, PacketId};

/// The limit of every wait: far beyond what a loaded machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A client that speaks packets, and gives up after [`PATIENCE`].
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the service accepts")
    }

    /// Fails also where the service resets the connection as soon as it has accepted it.
    pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    pub(crate) fn send(&mut self, id: u16, payload: &[u8]) {
        self.stream.write_all(&frame(id, payload)).unwrap();
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next packet.
    pub(crate) fn receive(&mut self) -> (u16, Vec<u8>) {
        self.try_receive().expect("a packet arrives")
    }

    pub(crate) fn try_receive(&mut self) -> std::io::Result<(u16, Vec<u8>)> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header)?;
        let size = u16::from_be_bytes([header[0], header[1]]);
        let mut payload = vec![0; usize::from(size) - 4];
        self.stream.read_exact(&mut payload)?;
        Ok((u16::from_be_bytes([header[2], header[3]]), payload))
    }

    /// Sends a packet and returns the answer.
    pub(crate) fn ask(&mut self, id: u16, payload: &[u8]) -> (u16, Vec<u8>) {
        self.send(id, payload);
        self.receive()
    }

    /// Everything up to the end of the stream.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).expect("the stream ends");
        bytes
    }

    /// Waits for the connection to end, by a close or by a reset.
    pub(crate) fn await_end(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    assert!(!is_timeout(error.kind()), "the service does not close the connection");
                    return;
                }
            }
        }
    }

    /// Ends the sending direction.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        let socket = fastport_io::Socket::from(self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The bytes of a packet.
pub(crate) fn frame(id: u16, payload: &[u8]) -> Vec<u8> {
    Packet::new(PacketId(id), payload).unwrap().frame().to_vec()
}

/// Bytes that tell their position.
pub(crate) fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|position| (position * 7 + position / 256) as u8).collect()
}

pub(crate) fn localhost() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
