//! The readiness engine over the system's real selector, against a model: two socket pairs whose far ends do anything.
//!
//! Bytes arrive in order and unaltered in both directions; every operation has one final completion, and streams alone have
//! more before it; the end of the peer's data is told when there is one; nothing fails without a reason; nothing is left.
//! Input: steps of two bytes each, what at which pair, and how much.
#![no_main]

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fastport_io::{
    AsyncIoProvider, CloseMode, Completion, CompletionBatch, Direction, Epoll, OpId, OpKind, Payload, PoolConfig,
    ProviderConfig, ReceiveBuffer, Socket, SocketId,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut table = Table::set();
    for step in input.chunks_exact(2).take(300) {
        table.step(usize::from(step[0] / 16 % 2), step[0] % 16, usize::from(step[1]));
    }
    table.clear();
});

struct Table {
    provider: Epoll,
    batch: CompletionBatch,
    pairs: [Pair; 2],
    /// Operations in flight: of which pair, and how long a send is.
    ops: HashMap<OpId, (usize, usize)>,
}

struct Pair {
    far: Option<UnixStream>,
    near: SocketId,
    /// What each side has sent and the other has received; bytes count upward.
    from_far: Flow,
    from_near: Flow,
    far_has_ended: bool,
    near_has_ended: bool,
    is_closing: bool,
    /// A send was cancelled, and who knows where.
    is_torn: bool,
}

#[derive(Default)]
struct Flow {
    sent: u8,
    received: u8,
}

impl Flow {
    fn next(&mut self, count: usize) -> Vec<u8> {
        let bytes = (0..count).map(|at| self.sent.wrapping_add(at as u8)).collect();
        self.sent = self.sent.wrapping_add(count as u8);
        bytes
    }

    fn verify(&mut self, bytes: &[u8]) {
        for byte in bytes {
            assert_eq!(*byte, self.received, "a byte was lost, doubled or altered");
            self.received = self.received.wrapping_add(1);
        }
    }
}

impl Table {
    fn set() -> Self {
        let receive_pool = PoolConfig { slot_bytes: 64, initial_slots: 2, max_slots: 2 };
        let mut provider = Epoll::open(&ProviderConfig { receive_pool, ..ProviderConfig::default() }).unwrap();
        let pairs = std::array::from_fn(|_| {
            let (far, near) = UnixStream::pair().unwrap();
            far.set_nonblocking(true).unwrap();
            Pair {
                far: Some(far),
                near: provider.attach(Socket::from(OwnedFd::from(near))).unwrap(),
                from_far: Flow::default(),
                from_near: Flow::default(),
                far_has_ended: false,
                near_has_ended: false,
                is_closing: false,
                is_torn: false,
            }
        });
        Self { provider, batch: CompletionBatch::with_capacity(3), pairs, ops: HashMap::new() }
    }

    fn step(&mut self, index: usize, step: u8, number: usize) {
        let Self { provider, pairs, ops, .. } = self;
        let pair = &mut pairs[index];
        let near = pair.near;
        match step {
            0 | 1 => pair.far_writes(1 + number * if step == 0 { 1 } else { 64 }),
            2 | 3 => pair.far_reads(1 + number * if step == 2 { 1 } else { 64 }),
            4 | 5 => {
                let bytes = 1 + number * if step == 4 { 1 } else { 512 };
                let before = pair.from_near.sent;
                match provider.send(near, pair.from_near.next(bytes).into(), 7) {
                    Ok(op) => drop(ops.insert(op, (index, bytes))),
                    Err(rejected) => {
                        assert!(pair.is_closing, "{}", rejected.error);
                        pair.from_near.sent = before;
                    }
                }
            }
            6 => {
                if let Ok(op) = provider.receive(near, ReceiveBuffer::with_capacity(1 + number), 7) {
                    ops.insert(op, (index, 0));
                }
            }
            7 => {
                if let Ok(op) = provider.receive_stream(near, 7) {
                    ops.insert(op, (index, 0));
                }
            }
            8 => {
                // Any of those in flight, in an order that does not depend on the hash.
                let mut all: Vec<_> = ops.iter().map(|(op, (pair, length))| (op.to_bits(), *pair, *length)).collect();
                all.sort_unstable();
                if let Some(&(op, pair, length)) = all.get(number % all.len().max(1)) {
                    // Its completion may be on its way, and then there is nothing to cancel.
                    let is_cancelled = provider.cancel(OpId::from_bits(op)).is_ok();
                    pairs[pair].is_torn |= is_cancelled && length > 0;
                }
            }
            9 => {
                if let Some(far) = &pair.far {
                    far.shutdown(Shutdown::Write).unwrap();
                    pair.far_has_ended = true;
                }
            }
            10 if number > 200 => {
                pair.far = None;
                pair.far_has_ended = true;
                pair.is_torn = true;
            }
            11 if number > 200 && !pair.is_closing => {
                let mode = if number & 1 == 0 { CloseMode::Graceful } else { CloseMode::Abortive };
                ops.insert(provider.close(near, mode, 7).unwrap(), (index, 0));
                pair.is_closing = true;
                pair.is_torn = true;
            }
            12 if number > 200 && provider.shut_down_socket(near, Direction::Write).is_ok() => {
                pair.near_has_ended = true;
                pair.is_torn = true;
            }
            _ => {
                self.poll(Duration::ZERO);
            }
        }
    }

    fn poll(&mut self, wait: Duration) {
        self.provider.process_completions(&mut self.batch, Some(wait)).unwrap();
        for completion in self.batch.drain() {
            let (index, length) = *self.ops.get(&completion.op).expect("a completion of an operation in flight");
            assert!(!completion.more || completion.kind.is_stream(), "only streams go on");
            assert_eq!(completion.context, 7);
            if !completion.more {
                self.ops.remove(&completion.op);
            }
            self.pairs[index].completed(&completion, length);
        }
    }

    fn clear(mut self) {
        for index in 0..self.pairs.len() {
            let pair = &mut self.pairs[index];
            if !std::mem::replace(&mut pair.is_closing, true) {
                let close = self.provider.close(pair.near, CloseMode::Abortive, 7).unwrap();
                self.ops.insert(close, (index, 0));
            }
        }
        for _ in 0..1000 {
            if self.ops.is_empty() {
                break;
            }
            self.poll(Duration::from_millis(10));
        }
        assert!(self.ops.is_empty(), "{:?} never complete", self.ops);
        let (pool, stats) = (self.provider.receive_pool().clone(), self.provider.stats());
        assert_eq!((stats.pending, stats.active_sockets, stats.stale_completions), (0, 0, 0));
        drop(self);
        assert_eq!(pool.stats().allocated, 0);
    }
}

impl Pair {
    fn far_writes(&mut self, count: usize) {
        let Some(far) = self.far.as_mut().filter(|_| !self.far_has_ended) else { return };
        let before = self.from_far.sent;
        let written = match far.write(&self.from_far.next(count)) {
            Ok(written) => written,
            Err(error) => {
                let is_closed = self.is_closing && error.kind() == ErrorKind::BrokenPipe;
                assert!(is_closed || error.kind() == ErrorKind::WouldBlock, "{error}");
                0
            }
        };
        self.from_far.sent = before.wrapping_add(written as u8);
    }

    fn far_reads(&mut self, count: usize) {
        let Some(far) = &mut self.far else { return };
        let mut bytes = vec![0; count];
        match far.read(&mut bytes) {
            Ok(0) => assert!(self.is_closing || self.near_has_ended, "the stream ended by itself"),
            Ok(read) if !self.is_torn => self.from_near.verify(&bytes[..read]),
            Ok(_) => {}
            Err(error) => assert!(self.is_closing || error.kind() == ErrorKind::WouldBlock, "{error}"),
        }
    }

    fn completed(&mut self, completion: &Completion, length: usize) {
        let is_over = self.is_closing || self.far.is_none() || self.near_has_ended;
        match (&completion.result, &completion.payload) {
            (Err(error), _) if error.is_cancelled() => self.is_torn |= completion.kind == OpKind::Send,
            (Err(error), _) => assert!(is_over, "{:?} fails without a reason: {error}", completion.kind),
            (Ok(bytes), _) if completion.kind == OpKind::Send => assert_eq!(*bytes as usize, length),
            (Ok(bytes @ 1..), Payload::Lease(lease)) => {
                assert_eq!(*bytes as usize, lease.len());
                self.from_far.verify(lease);
            }
            (Ok(bytes @ 1..), Payload::Buffer(buffer)) => {
                assert_eq!(*bytes as usize, buffer.filled().len());
                self.from_far.verify(buffer.filled());
            }
            (Ok(0), _) if completion.kind == OpKind::Close => {}
            (Ok(0), _) => {
                assert!(self.far_has_ended || self.is_closing, "an end that the peer did not make");
                assert!(
                    self.is_torn || self.from_far.received == self.from_far.sent,
                    "bytes are missing before the end"
                );
            }
            (Ok(_), other) => panic!("{:?} brings {other:?}", completion.kind),
        }
    }
}
