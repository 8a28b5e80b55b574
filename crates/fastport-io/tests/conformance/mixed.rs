//! Operations of all kinds in an order that nobody thought of.
//!
//! From a seed follows a sequence of sends, receives, streams, cancellations and closes on a few connections, with too
//! few buffers and a shallow queue. The rig checks the contract of each operation; here it is checked that each end
//! receives a beginning of what the other end has sent, and that nothing is left over.

use std::collections::HashMap;

use fastport_io::{
    AsyncIoProvider, CloseMode, Completion, ErrorCode, Lease, OpId, OpKind, Payload, PoolConfig, ProviderConfig,
    SocketId,
};

use crate::rig::{Outcome, Rig, pattern};

const SEEDS: u64 = 5;
const STEPS: usize = 400;
/// The most that one end sends.
const BYTES: usize = 1 << 20;
/// The most connections at once.
const PAIRS: usize = 5;

/// Numbers that look random and follow from a seed (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// One end of a connection. Ends are numbered; the peer of an even one is the next, and the other way round.
struct End {
    socket: SocketId,
    closed: bool,
    /// All that it may ever send.
    content: Vec<u8>,
    sent: usize,
    /// Some of its sends may be missing or cut, so what arrives cannot be told any more.
    torn: bool,
    received: usize,
    stream: Option<OpId>,
    receives: usize,
}

impl End {
    fn new(socket: SocketId, number: usize) -> Self {
        let content = pattern(number as u32 * 77, BYTES);
        Self { socket, closed: false, content, sent: 0, torn: false, received: 0, stream: None, receives: 0 }
    }
}

struct Mixer<P: AsyncIoProvider> {
    rig: Rig<P>,
    numbers: Numbers,
    ends: Vec<End>,
    /// Which end each operation belongs to, and what it is.
    owners: HashMap<OpId, (usize, OpKind)>,
    leases: Vec<Lease>,
}

impl<P: AsyncIoProvider> Mixer<P> {
    fn step(&mut self) {
        let open: Vec<usize> = (0..self.ends.len()).filter(|&number| !self.ends[number].closed).collect();
        let choice = self.numbers.below(100);
        if open.len() < 2 || (choice < 3 && open.len() < 2 * PAIRS) {
            return self.connect();
        }
        let number = open[self.numbers.below(open.len())];
        match choice {
            0..35 => self.send(number),
            35..50 => self.receive(number),
            50..65 => self.start_stream(number),
            65..75 => self.cancel_one(),
            75..80 => self.drop_a_lease(),
            80..82 => self.close(number),
            _ => self.rig.turn(),
        }
        self.look();
    }

    fn connect(&mut self) {
        let (one, other) = self.rig.pair();
        for socket in [one, other] {
            let number = self.ends.len();
            self.ends.push(End::new(socket, number));
        }
    }

    fn send(&mut self, number: usize) {
        let end = &mut self.ends[number];
        let bytes = (1 + self.numbers.below(12_000)).min(BYTES - end.sent);
        if bytes == 0 {
            return;
        }
        let piece = end.content[end.sent..end.sent + bytes].to_vec();
        end.sent += bytes;
        let send = self.rig.send(end.socket, piece);
        self.owners.insert(send, (number, OpKind::Send));
    }

    fn receive(&mut self, number: usize) {
        let end = &mut self.ends[number];
        if end.stream.is_some() {
            return;
        }
        end.receives += 1;
        let receive = self.rig.receive(end.socket, 1 + self.numbers.below(5000));
        self.owners.insert(receive, (number, OpKind::Receive));
    }

    fn start_stream(&mut self, number: usize) {
        let end = &mut self.ends[number];
        if end.stream.is_some() || end.receives > 0 {
            return;
        }
        let stream = self.rig.receive_stream(end.socket);
        end.stream = Some(stream);
        self.owners.insert(stream, (number, OpKind::ReceiveStream));
    }

    fn cancel_one(&mut self) {
        let mut ops: Vec<OpId> = self.owners.keys().copied().collect();
        if ops.is_empty() {
            return;
        }
        ops.sort_unstable_by_key(|op| op.to_bits());
        let op = ops[self.numbers.below(ops.len())];
        let (number, kind) = self.owners[&op];
        if kind == OpKind::Send {
            // Mostly spared: nobody knows how much of a cancelled send goes out, so that nothing can be checked any more.
            if self.numbers.below(8) > 0 {
                return;
            }
            self.ends[number].torn = true;
        }
        // It may be finished already, and on its way.
        let _ = self.rig.provider.cancel(op);
    }

    fn drop_a_lease(&mut self) {
        if !self.leases.is_empty() {
            let position = self.numbers.below(self.leases.len());
            self.leases.swap_remove(position);
        }
    }

    fn close(&mut self, number: usize) {
        let mode = if self.numbers.below(3) == 0 { CloseMode::Abortive } else { CloseMode::Graceful };
        self.ends[number].closed = true;
        self.ends[number].torn = true;
        self.rig.close(self.ends[number].socket, mode);
    }

    /// Looks at what has arrived.
    fn look(&mut self) {
        for completion in self.rig.take_arrived() {
            let owner = self.owners.get(&completion.op).copied();
            if let Some((number, _)) = owner {
                self.look_at(number, completion);
            }
        }
    }

    fn look_at(&mut self, number: usize, completion: Completion) {
        if !completion.more {
            self.owners.remove(&completion.op);
            match completion.kind {
                OpKind::Receive => self.ends[number].receives -= 1,
                OpKind::ReceiveStream => self.ends[number].stream = None,
                _ => {}
            }
        }
        if let Err(error) = &completion.result {
            assert!(matches!(error.code(), ErrorCode::Cancelled | ErrorCode::ConnectionReset), "{completion:?}");
            return;
        }
        if completion.kind == OpKind::Send || completion.bytes_moved() == 0 {
            return;
        }
        let peer = &self.ends[number ^ 1];
        let from = self.ends[number].received;
        let upto = from + completion.bytes().len();
        assert!(peer.torn || upto <= peer.sent, "more arrives than was sent");
        assert!(
            peer.torn || peer.content[from..upto] == *completion.bytes(),
            "the content differs from byte {from} on"
        );
        self.ends[number].received = upto;
        if let Payload::Lease(lease) = completion.payload
            && self.numbers.below(2) == 0
        {
            self.leases.push(lease);
        }
        if self.leases.len() > 3 {
            self.drop_a_lease();
        }
    }

    fn end(mut self) {
        self.leases.clear();
        for number in 0..self.ends.len() {
            if !self.ends[number].closed {
                self.close(number);
            }
        }
        self.rig.until("everything has completed", |rig| rig.in_flight() == 0);
        self.look();
        self.leases.clear();
        assert!(self.owners.is_empty());
        assert_eq!(self.rig.provider.receive_pool().stats().allocated, 0);
        let stats = self.rig.provider.stats();
        assert_eq!((stats.pending, stats.active_sockets), (0, 0));
        assert_eq!((stats.requests, stats.completions), (self.rig.submitted(), self.rig.completed()));
    }
}

pub(crate) fn any_sequence_of_operations_keeps_the_contract<P: AsyncIoProvider>(config: &ProviderConfig) {
    let receive_pool = PoolConfig { slot_bytes: 700, initial_slots: 2, max_slots: 5 };
    let config = ProviderConfig { queue_depth: 32, receive_pool, ..config.clone() };
    for seed in 1..=SEEDS {
        // Shown if the test fails.
        eprintln!("seed {seed}");
        let rig = Rig::<P>::open(&config);
        let numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut mixer = Mixer { rig, numbers, ends: Vec::new(), owners: HashMap::new(), leases: Vec::new() };
        for _ in 0..STEPS {
            mixer.step();
        }
        mixer.end();
    }
}
