//! A provider under test with its books: what was submitted, what came back, and whether that keeps the contract.
//!
//! Whatever a test is about, the [`Rig`] checks on the way that each operation completes with its own context and kind,
//! that there is exactly one final completion, that only streams complete more than once, and that the completion of a
//! close is the last one of its socket.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fastport_io::socket::{SocketOptions, listen};
use fastport_io::{
    AsyncIoProvider, CloseMode, Completion, CompletionBatch, Error, ErrorCode, OpId, OpKind, Payload, ProviderConfig,
    ReceiveBuffer, RegionId, Result, SendAtOnce, SendBuffers, Socket, SocketId,
};

/// The longest that a test waits for one thing. Far above what a loaded machine needs, far below the watchdog's limit.
///
/// Windows is mostly Wine, whose server is one thread for all tests that run side by side, as is the emulator.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_secs(if cfg!(windows) { 40 } else { 10 });

/// How long one call of the provider waits, so that conditions that do not show in completions are looked at again.
const SLICE: Duration = Duration::from_millis(5);

/// Connections that are made at once by [`Rig::pairs`]; fewer than a listener's queue holds anywhere.
const CONNECTS_AT_ONCE: usize = 100;

/// Loopback, any port.
pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What the rig knows of an operation in flight.
struct Ticket {
    context: u64,
    kind: OpKind,
    socket: Option<SocketId>,
}

/// A socket that listens.
#[derive(Clone, Copy)]
pub(crate) struct Listener {
    pub(crate) id: SocketId,
    pub(crate) address: SocketAddr,
}

/// A provider and its books.
pub(crate) struct Rig<P: AsyncIoProvider> {
    pub(crate) provider: P,
    batch: CompletionBatch,
    /// Completions that no test has asked for yet, oldest first.
    arrived: VecDeque<Completion>,
    in_flight: HashMap<OpId, Ticket>,
    submitted: u64,
    completed: u64,
}

impl<P: AsyncIoProvider> Rig<P> {
    pub(crate) fn open(config: &ProviderConfig) -> Self {
        Self::over(P::open(config).expect("the provider opens"))
    }

    pub(crate) fn over(provider: P) -> Self {
        Self {
            provider,
            batch: CompletionBatch::with_capacity(256),
            arrived: VecDeque::new(),
            in_flight: HashMap::new(),
            submitted: 0,
            completed: 0,
        }
    }

    // Submitting

    #[track_caller]
    fn submit(
        &mut self,
        kind: OpKind,
        socket: Option<SocketId>,
        call: impl FnOnce(&mut P, u64) -> Result<OpId>,
    ) -> OpId {
        self.submitted += 1;
        // Spread over all 64 bits, as a pointer or a hash would be.
        let context = self.submitted.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let op = match call(&mut self.provider, context) {
            Ok(op) => op,
            Err(error) => panic!("{kind:?} was refused: {error}"),
        };
        let before = self.in_flight.insert(op, Ticket { context, kind, socket });
        assert!(before.is_none(), "the id of an operation in flight was given out again");
        op
    }

    #[track_caller]
    pub(crate) fn accept(&mut self, listener: SocketId) -> OpId {
        self.submit(OpKind::Accept, Some(listener), |provider, context| provider.accept(listener, context))
    }

    #[track_caller]
    pub(crate) fn accept_stream(&mut self, listener: SocketId) -> OpId {
        self.submit(OpKind::AcceptStream, Some(listener), |provider, context| provider.accept_stream(listener, context))
    }

    #[track_caller]
    pub(crate) fn connect(&mut self, socket: SocketId, address: &SocketAddr) -> OpId {
        self.submit(OpKind::Connect, Some(socket), |provider, context| provider.connect(socket, address, context))
    }

    #[track_caller]
    pub(crate) fn send(&mut self, socket: SocketId, buffers: impl Into<SendBuffers>) -> OpId {
        let buffers = buffers.into();
        self.submit(OpKind::Send, Some(socket), |provider, context| Ok(provider.send(socket, buffers, context)?))
    }

    /// One send without an operation.
    pub(crate) fn send_at_once(&mut self, socket: SocketId, first: &[u8], second: &[u8]) -> Result<usize> {
        let mut send = SendAtOnce::new(socket, first, second);
        self.provider.send_at_once(std::slice::from_mut(&mut send));
        send.taken
    }

    #[track_caller]
    pub(crate) fn receive(&mut self, socket: SocketId, capacity: usize) -> OpId {
        self.receive_into(socket, ReceiveBuffer::with_capacity(capacity))
    }

    #[track_caller]
    pub(crate) fn receive_into(&mut self, socket: SocketId, buffer: ReceiveBuffer) -> OpId {
        self.submit(OpKind::Receive, Some(socket), |provider, context| Ok(provider.receive(socket, buffer, context)?))
    }

    #[track_caller]
    pub(crate) fn receive_stream(&mut self, socket: SocketId) -> OpId {
        self.submit(OpKind::ReceiveStream, Some(socket), |provider, context| provider.receive_stream(socket, context))
    }

    #[track_caller]
    pub(crate) fn send_registered(&mut self, socket: SocketId, region: RegionId, offset: usize, length: usize) -> OpId {
        self.submit(OpKind::Send, Some(socket), |provider, context| {
            provider.send_registered(socket, region, offset, length, context)
        })
    }

    #[track_caller]
    pub(crate) fn receive_registered(
        &mut self,
        socket: SocketId,
        region: RegionId,
        offset: usize,
        length: usize,
    ) -> OpId {
        self.submit(OpKind::Receive, Some(socket), |provider, context| {
            provider.receive_registered(socket, region, offset, length, context)
        })
    }

    #[track_caller]
    pub(crate) fn timeout(&mut self, delay: Duration) -> OpId {
        self.submit(OpKind::Timeout, None, |provider, context| provider.timeout(delay, context))
    }

    #[track_caller]
    pub(crate) fn close(&mut self, socket: SocketId, mode: CloseMode) -> OpId {
        self.submit(OpKind::Close, Some(socket), |provider, context| provider.close(socket, mode, context))
    }

    // Collecting

    /// Lets the provider work for at most `wait` and takes in what it reports.
    #[track_caller]
    pub(crate) fn collect(&mut self, wait: Option<Duration>) -> usize {
        let count = self.provider.process_completions(&mut self.batch, wait).expect("the provider works");
        assert_eq!(count, self.batch.len(), "the count is that of the completions that were appended");
        for completion in self.batch.drain() {
            let ticket = self.in_flight.get(&completion.op);
            let Some(ticket) = ticket else { panic!("no such operation is in flight: {completion:?}") };
            assert_eq!(ticket.context, completion.context, "the context is the one that was given: {completion:?}");
            assert_eq!(ticket.kind, completion.kind, "the kind is the one that was submitted: {completion:?}");
            assert!(!completion.more || completion.kind.is_stream(), "only streams go on: {completion:?}");
            assert!(!completion.more || completion.result.is_ok(), "an error ends a stream: {completion:?}");
            if !completion.more
                && let Some(ended) = self.in_flight.remove(&completion.op)
                && ended.kind == OpKind::Close
            {
                let behind = self.in_flight.values().find(|ticket| ticket.socket == ended.socket);
                assert!(behind.is_none(), "the completion of a close is the last one of its socket");
            }
            self.completed += 1;
            self.arrived.push_back(completion);
        }
        count
    }

    /// Takes in what is at hand through a batch with room for one.
    #[track_caller]
    pub(crate) fn collect_by_one(&mut self) {
        while self.collect_at_most(1) > 0 {}
    }

    /// Takes in `limit` of the completions that are at hand; the others stay with the provider.
    #[track_caller]
    pub(crate) fn collect_at_most(&mut self, limit: usize) -> usize {
        let usual = std::mem::replace(&mut self.batch, CompletionBatch::with_capacity(limit));
        let count = self.collect(Some(Duration::ZERO));
        self.batch = usual;
        count
    }

    /// Lets the provider work without waiting, a few times over: whatever can be done at once is done afterwards.
    #[track_caller]
    pub(crate) fn turn(&mut self) {
        for _ in 0..4 {
            self.collect(Some(Duration::ZERO));
        }
    }

    /// Lets the provider work until `done` says so.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let begin = Instant::now();
        while !done(self) {
            let in_time = begin.elapsed() < WAIT_LIMIT;
            assert!(in_time, "waited {WAIT_LIMIT:?} in vain until {what}; {:?}", self.provider.stats());
            self.collect(Some(SLICE));
        }
    }

    #[track_caller]
    fn wait_for(&mut self, what: &str, wanted: impl Fn(&Completion) -> bool) -> Completion {
        let mut found = None;
        self.until(what, |rig| {
            let position = rig.arrived.iter().position(&wanted);
            found = position.and_then(|position| rig.arrived.remove(position));
            found.is_some()
        });
        found.expect("the wait ended by finding it")
    }

    /// The final completion of an operation. Steps of a stream that came before stay for [`Rig::step_of`].
    #[track_caller]
    pub(crate) fn final_of(&mut self, op: OpId) -> Completion {
        self.wait_for("the operation has completed", |completion| completion.op == op && !completion.more)
    }

    /// The next completion of an operation.
    #[track_caller]
    pub(crate) fn step_of(&mut self, op: OpId) -> Completion {
        self.wait_for("the operation has reported something", |completion| completion.op == op)
    }

    /// The next completion of any operation.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Completion {
        self.wait_for("anything has completed", |_| true)
    }

    /// The next step of any receive stream, which goes on.
    #[track_caller]
    pub(crate) fn next_step(&mut self) -> Completion {
        let step = self.wait_for("a stream has received", |completion| completion.kind == OpKind::ReceiveStream);
        assert!(step.more, "the stream goes on: {step:?}");
        step
    }

    /// All completions that arrived and were not asked for, oldest first.
    pub(crate) fn take_arrived(&mut self) -> Vec<Completion> {
        self.arrived.drain(..).collect()
    }

    /// True if the final completion of the operation was delivered.
    pub(crate) fn is_finished(&self, op: OpId) -> bool {
        !self.in_flight.contains_key(&op)
    }

    /// Operations whose final completion is still to come.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Operations that were accepted.
    pub(crate) const fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Completions that were delivered, steps of streams included.
    pub(crate) const fn completed(&self) -> u64 {
        self.completed
    }

    // Sockets

    /// A fresh socket of the address's family, attached.
    #[track_caller]
    pub(crate) fn socket_for(&mut self, address: &SocketAddr) -> SocketId {
        let socket = self.provider.create_socket(address).expect("a socket is created");
        self.attach(socket)
    }

    #[track_caller]
    pub(crate) fn attach(&mut self, socket: Socket) -> SocketId {
        self.provider.attach(socket).expect("the socket is attached")
    }

    /// A listener on IPv4 loopback.
    #[track_caller]
    pub(crate) fn listen(&mut self) -> Listener {
        self.listen_on(&LOOPBACK, 1024)
    }

    #[track_caller]
    pub(crate) fn listen_on(&mut self, address: &SocketAddr, backlog: i32) -> Listener {
        let socket = self.provider.create_socket(address).expect("a socket is created");
        listen(&socket, address, backlog, &SocketOptions::default()).expect("the socket listens");
        let address = local_address(&socket);
        Listener { id: self.attach(socket), address }
    }

    /// Two connected sockets, the one that connected first.
    #[track_caller]
    pub(crate) fn pair(&mut self) -> (SocketId, SocketId) {
        self.pair_on(&LOOPBACK)
    }

    #[track_caller]
    pub(crate) fn pair_on(&mut self, address: &SocketAddr) -> (SocketId, SocketId) {
        let listener = self.listen_on(address, 16);
        let accept = self.accept(listener.id);
        let client = self.socket_for(&listener.address);
        let connect = self.connect(client, &listener.address);
        self.final_of(connect).result.expect("the connection is made");
        let server = self.final_of(accept).into_socket();
        self.close_now(listener.id);
        (client, self.attach(server))
    }

    /// Many connected pairs, over one listener.
    #[track_caller]
    pub(crate) fn pairs(&mut self, count: usize) -> Vec<(SocketId, SocketId)> {
        let listener = self.listen();
        let accepting = self.accept_stream(listener.id);
        let mut pairs = Vec::with_capacity(count);
        while pairs.len() < count {
            let wanted = CONNECTS_AT_ONCE.min(count - pairs.len());
            let mut clients = HashMap::new();
            for _ in 0..wanted {
                let client = self.socket_for(&listener.address);
                let connect = self.connect(client, &listener.address);
                clients.insert(connect, client);
            }
            // Both ends know the port of the one that connected.
            let mut ports = HashMap::new();
            let mut accepted = Vec::new();
            while ports.len() < wanted || accepted.len() < wanted {
                let completion = self.next();
                completion.result.as_ref().expect("connections are made");
                if completion.op == accepting {
                    accepted.push(completion.into_socket());
                    continue;
                }
                let client = clients[&completion.op];
                ports.insert(local_address(self.provider.socket(client).expect("it is attached")).port(), client);
            }
            for server in accepted {
                let client = ports[&peer_address(&server).port()];
                let server = self.attach(server);
                pairs.push((client, server));
            }
        }
        self.close_now(listener.id);
        self.final_of(accepting);
        pairs
    }

    /// A connect that neither succeeds nor fails: the listener's queue is full and nobody accepts.
    #[track_caller]
    pub(crate) fn stuck_connect(&mut self) -> (SocketId, OpId) {
        let listener = self.listen_on(&LOOPBACK, 0);
        for _ in 0..16 {
            let socket = self.socket_for(&listener.address);
            let connect = self.connect(socket, &listener.address);
            self.turn();
            // A slow system takes a while for a handshake, one that is refused repeats it only after a second.
            let deadline = self.provider.now() + Duration::from_millis(100);
            while !self.is_finished(connect) {
                let left = deadline.saturating_duration_since(self.provider.now());
                if left.is_zero() {
                    return (socket, connect);
                }
                self.collect(Some(left));
            }
            self.final_of(connect).result.expect("the listener's queue takes it");
        }
        panic!("a listener without a queue took 16 connections");
    }

    /// Makes the system hold little between two sockets, so that large sends must wait for their reader.
    #[track_caller]
    pub(crate) fn narrow(&self, sender: SocketId, receiver: SocketId) {
        let socket = |socket| self.provider.socket(socket).expect("it is attached");
        socket(sender).set_send_buffer_size(64 * 1024).expect("the system takes it");
        socket(receiver).set_recv_buffer_size(64 * 1024).expect("the system takes it");
    }

    // Whole exchanges

    /// Closes gracefully and waits until that is done.
    #[track_caller]
    pub(crate) fn close_now(&mut self, socket: SocketId) {
        let close = self.close(socket, CloseMode::Graceful);
        self.final_of(close).result.expect("closing succeeds");
    }

    /// Sends and waits until the system has taken it.
    #[track_caller]
    pub(crate) fn send_now(&mut self, socket: SocketId, bytes: &[u8]) {
        let send = self.send(socket, bytes.to_vec());
        assert_eq!(self.final_of(send).bytes_moved(), bytes.len());
    }

    /// Receives exactly `count` bytes by one-shot receives.
    #[track_caller]
    pub(crate) fn receive_exactly(&mut self, socket: SocketId, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            let receive = self.receive(socket, (count - bytes.len()).min(64 * 1024));
            let completion = self.final_of(receive);
            assert_ne!(completion.bytes_moved(), 0, "the peer ended after {} of {count} bytes", bytes.len());
            bytes.extend_from_slice(completion.bytes());
        }
        bytes
    }

    /// Receives until the end of the peer's data by one-shot receives.
    #[track_caller]
    pub(crate) fn receive_to_end(&mut self, socket: SocketId) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let receive = self.receive(socket, 64 * 1024);
            let completion = self.final_of(receive);
            if completion.bytes_moved() == 0 {
                return bytes;
            }
            bytes.extend_from_slice(completion.bytes());
        }
    }

    /// Checks that two sockets are the ends of one living connection.
    #[track_caller]
    pub(crate) fn assert_connected(&mut self, one: SocketId, other: SocketId) {
        for (from, to) in [(one, other), (other, one)] {
            self.send_now(from, b"are you there?");
            assert_eq!(self.receive_exactly(to, 14), b"are you there?");
        }
    }

    /// Receives until the connection breaks and returns the reason. Data that arrived before is passed over.
    #[track_caller]
    pub(crate) fn receive_until_error(&mut self, socket: SocketId) -> ErrorCode {
        loop {
            let receive = self.receive(socket, 64 * 1024);
            match self.final_of(receive).result {
                Ok(0) => panic!("a broken connection is not the end of a file"),
                Ok(_) => {}
                Err(error) => return error.code(),
            }
        }
    }
}

/// What tests ask a completion.
pub(crate) trait Outcome {
    /// The bytes that were received.
    fn bytes(&self) -> &[u8];
    /// How many bytes a successful operation moved.
    fn bytes_moved(&self) -> usize;
    /// The connection that was accepted.
    fn into_socket(self) -> Socket;
    /// Why the operation failed.
    fn code(&self) -> ErrorCode;
}

impl Outcome for Completion {
    #[track_caller]
    fn bytes(&self) -> &[u8] {
        let bytes = match &self.payload {
            Payload::Lease(lease) => lease,
            Payload::Buffer(buffer) => buffer.filled(),
            other => panic!("a receive delivers bytes, not {other:?}"),
        };
        assert_eq!(bytes.len(), self.bytes_moved(), "the result counts the bytes of the payload");
        bytes
    }

    #[track_caller]
    fn bytes_moved(&self) -> usize {
        match &self.result {
            Ok(count) => *count as usize,
            Err(error) => panic!("{:?} failed: {error}", self.kind),
        }
    }

    #[track_caller]
    fn into_socket(self) -> Socket {
        match (self.result, self.payload) {
            (Ok(_), Payload::Socket(socket)) => socket,
            (result, payload) => panic!("an accept delivers a socket, not {result:?} with {payload:?}"),
        }
    }

    #[track_caller]
    fn code(&self) -> ErrorCode {
        match &self.result {
            Ok(count) => panic!("{:?} was to fail but moved {count} bytes", self.kind),
            Err(error) => error.code(),
        }
    }
}

/// The code of a call that was to be refused.
#[track_caller]
pub(crate) fn refusal<T, E: Into<Error>>(call: Result<T, E>) -> ErrorCode {
    match call {
        Ok(_) => panic!("the call was to be refused"),
        Err(error) => error.into().code(),
    }
}

pub(crate) fn local_address(socket: &Socket) -> SocketAddr {
    socket.local_addr().expect("the socket has an address")
}

pub(crate) fn peer_address(socket: &Socket) -> SocketAddr {
    socket.peer_addr().expect("the socket is connected")
}

/// Bytes in which a missing, doubled or swapped piece shows: a block of prime length, again and again.
pub(crate) fn pattern(seed: u32, length: usize) -> Vec<u8> {
    let block: Vec<u8> =
        (0..4093u32).map(|index| (index.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut bytes = block.repeat(length.div_ceil(block.len()));
    bytes.truncate(length);
    bytes
}

/// Compares long contents without printing them.
#[track_caller]
pub(crate) fn assert_same(received: &[u8], sent: &[u8]) {
    let differs = received.iter().zip(sent).position(|(one, other)| one != other);
    if let Some(position) = differs.filter(|_| received != sent) {
        panic!("the content differs at byte {position} of {}", sent.len());
    }
    assert_eq!(received.len(), sent.len(), "as many bytes arrive as were sent");
}
