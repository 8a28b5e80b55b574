//! A provider on a network of its own, with what nearly every test does.

use std::collections::VecDeque;
use std::net::SocketAddr;

use fastport_io::sim::{FaultPlan, Sim, SimNetwork};
use fastport_io::socket::{SocketOptions, listen};
use fastport_io::{
    AsyncIoProvider, CloseMode, Completion, CompletionBatch, ErrorCode, OpId, Payload, ProviderConfig, ReceiveBuffer,
    SocketId,
};

/// Where servers listen.
pub(crate) const SERVER: ([u8; 4], u16) = ([127, 0, 0, 1], 6628);

pub(crate) struct Party {
    pub(crate) network: SimNetwork,
    pub(crate) provider: Sim,
    batch: CompletionBatch,
    arrived: VecDeque<Completion>,
}

impl Party {
    pub(crate) fn calm() -> Self {
        Self::with(FaultPlan::default())
    }

    pub(crate) fn with(plan: FaultPlan) -> Self {
        Self::on(&SimNetwork::new(7, plan))
    }

    pub(crate) fn on(network: &SimNetwork) -> Self {
        let provider = network.provider(&ProviderConfig::default()).unwrap();
        Self { network: network.clone(), provider, batch: CompletionBatch::with_capacity(64), arrived: VecDeque::new() }
    }

    pub(crate) fn collect(&mut self) -> usize {
        let count = self.provider.process_completions(&mut self.batch, None).unwrap();
        self.arrived.extend(self.batch.drain());
        count
    }

    /// The next completion of any operation.
    pub(crate) fn next(&mut self) -> Completion {
        loop {
            if let Some(completion) = self.arrived.pop_front() {
                return completion;
            }
            self.collect();
        }
    }

    /// The next completion of an operation.
    pub(crate) fn outcome(&mut self, op: OpId) -> Completion {
        loop {
            if let Some(position) = self.arrived.iter().position(|completion| completion.op == op) {
                return self.arrived.remove(position).unwrap();
            }
            self.collect();
        }
    }

    pub(crate) fn error(&mut self, op: OpId) -> ErrorCode {
        self.outcome(op).result.unwrap_err().code()
    }

    pub(crate) fn listener(&mut self, backlog: i32) -> SocketId {
        let socket = self.provider.create_socket(&SERVER.into()).unwrap();
        listen(&socket, &SERVER.into(), backlog, &SocketOptions::default()).unwrap();
        self.provider.attach(socket).unwrap()
    }

    pub(crate) fn fresh(&mut self) -> SocketId {
        let address: SocketAddr = SERVER.into();
        let socket = self.provider.create_socket(&address).unwrap();
        self.provider.attach(socket).unwrap()
    }

    /// Begins to connect a fresh socket to the server's address.
    pub(crate) fn connect(&mut self) -> (SocketId, OpId) {
        let socket = self.fresh();
        let op = self.provider.connect(socket, &SERVER.into(), 0).unwrap();
        (socket, op)
    }

    /// Accepts one connection.
    pub(crate) fn accept(&mut self, listener: SocketId) -> SocketId {
        let op = self.provider.accept(listener, 0).unwrap();
        let Payload::Socket(socket) = self.outcome(op).payload else { panic!("an accept brings a socket") };
        self.provider.attach(socket).unwrap()
    }

    /// A client and its server.
    pub(crate) fn pair(&mut self) -> (SocketId, SocketId) {
        let listener = self.listener(16);
        let (client, connect) = self.connect();
        let server = self.accept(listener);
        self.outcome(connect).result.unwrap();
        self.close(listener, CloseMode::Graceful);
        (client, server)
    }

    pub(crate) fn close(&mut self, socket: SocketId, mode: CloseMode) {
        let op = self.provider.close(socket, mode, 0).unwrap();
        while self.outcome(op).op != op {}
    }

    pub(crate) fn send(&mut self, socket: SocketId, bytes: &[u8]) -> OpId {
        self.provider.send(socket, bytes.to_vec().into(), 0).unwrap()
    }

    pub(crate) fn send_now(&mut self, socket: SocketId, bytes: &[u8]) {
        let op = self.send(socket, bytes);
        assert_eq!(self.outcome(op).result, Ok(bytes.len() as u32));
    }

    pub(crate) fn receive(&mut self, socket: SocketId, capacity: usize) -> OpId {
        self.provider.receive(socket, ReceiveBuffer::with_capacity(capacity), 0).unwrap()
    }

    pub(crate) fn receive_now(&mut self, socket: SocketId, capacity: usize) -> Vec<u8> {
        let op = self.receive(socket, capacity);
        bytes_of(&self.outcome(op)).to_vec()
    }

    /// All that comes until the end of the stream.
    pub(crate) fn receive_all(&mut self, socket: SocketId) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let part = self.receive_now(socket, 4096);
            if part.is_empty() {
                return all;
            }
            all.extend(part);
        }
    }

    pub(crate) fn receive_error(&mut self, socket: SocketId) -> ErrorCode {
        let op = self.receive(socket, 64);
        self.error(op)
    }
}

/// What a one-shot receive brought.
pub(crate) fn bytes_of(completion: &Completion) -> &[u8] {
    match (&completion.result, &completion.payload) {
        (Ok(_), Payload::Buffer(buffer)) => buffer.filled(),
        other => panic!("a receive brings bytes, not {other:?}"),
    }
}

/// Bytes in which a swap or a gap shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|position| (position * 7 % 251) as u8).collect()
}
