//! A client that speaks the wire format by hand, so that it can say wrong things too.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fastport_protocol::commons::Header;
use fastport_protocol::views::{EchoRequestView, EchoResponseView};
use fastport_protocol::{Decode, Encode, packet_id};

pub(crate) struct RawClient {
    stream: TcpStream,
}

impl RawClient {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { stream }
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn send(&mut self, id: u16, payload: &[u8]) {
        let size = u16::try_from(payload.len() + 4).unwrap();
        self.send_bytes(&[&size.to_be_bytes()[..], &id.to_be_bytes(), payload].concat());
    }

    pub(crate) fn receive(&mut self) -> (u16, Vec<u8>) {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).unwrap();
        let size = u16::from_be_bytes([header[0], header[1]]);
        let mut payload = vec![0; usize::from(size) - 4];
        self.stream.read_exact(&mut payload).unwrap();
        (u16::from_be_bytes([header[2], header[3]]), payload)
    }

    /// Fails the test unless an echo request is answered, as the next packet.
    #[track_caller]
    pub(crate) fn expect_echo(&mut self, request_id: u64) {
        let header = Some(Header { request_id, timestamp_ms: 7 });
        let request = EchoRequestView { header, data: b"ping", data_str: "pong" };
        self.send(packet_id::ECHO, &request.to_wire());

        let (id, payload) = self.receive();
        let response = EchoResponseView::decode_from(&payload).unwrap();
        assert_eq!(id, packet_id::ECHO);
        assert_eq!(response.header, Some(Header { request_id: request_id + 1, timestamp_ms: 7 }));
        assert_eq!((response.data, response.data_str), (&b"ping"[..], "pong"));
    }

    /// Sends echo requests. False if the server does not take them any more.
    #[cfg(target_os = "linux")]
    pub(crate) fn try_send_echoes(&mut self, count: usize) -> bool {
        let payload = EchoRequestView { header: None, data: b"ping", data_str: "" }.to_wire();
        let size = u16::try_from(payload.len() + 4).unwrap();
        let request = [&size.to_be_bytes()[..], &packet_id::ECHO.to_be_bytes(), &payload].concat();
        self.stream.write_all(&request.repeat(count)).is_ok()
    }

    /// Receives a packet. False at the end of the stream.
    #[cfg(target_os = "linux")]
    pub(crate) fn try_receive(&mut self) -> bool {
        let mut header = [0; 4];
        match self.stream.read(&mut header[..1]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
        self.stream.read_exact(&mut header[1..]).unwrap();
        let mut payload = vec![0; usize::from(u16::from_be_bytes([header[0], header[1]])) - 4];
        self.stream.read_exact(&mut payload).unwrap();
        true
    }

    /// Counts the packets up to the end of the stream.
    #[cfg(target_os = "linux")]
    pub(crate) fn count_to_end(&mut self) -> u64 {
        let mut count = 0;
        while self.try_receive() {
            count += 1;
        }
        count
    }

    /// Fails the test unless the server ends the stream or resets the connection.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => {}
            Ok(_) => panic!("data where the end was expected"),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
    }
}
