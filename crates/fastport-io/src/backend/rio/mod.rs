//! Registered I/O (Windows 8 or newer): sends and receives by queues that are shared with the system.
//!
//! A provider has one completion queue ([`completion_queue`]), which tells the provider's completion port when something
//! is there; a connection has a request queue ([`socket`]); memory is registered once ([`registry`]) and named by range.
//! Sends are deferred and committed once for each socket and batch ([`sending`]); receives wait for data without a buffer
//! ([`receiving`]). Accepting, connecting, waiting for data, and all that a request cannot do are overlapped calls, shared
//! with the IOCP backend ([`super::windows`]).
//!
//! # One turn
//! ```text
//!   dequeue what is there ──▶ commit ──▶ end what was cancelled ──▶ arm the notification, if it would sleep
//!        ▲                                                                   │
//!        └───── dequeue, if the queue told its port ◀──── packets ◀── sleep at the port
//! ```
//! All calls on queues are made by the one thread of the provider, so none meets another.
//!
//! # What differs from other backends
//! A send by request that is cancelled midway takes its whole connection with it, receives included (as
//! `ConnectionReset`): the system ends requests only by closing their socket. So it does if it succeeds at that moment. Sockets that were made elsewhere, without
//! `WSA_FLAG_REGISTERED_IO`, or had a request queue in another provider, are served by overlapped calls. A socket that is
//! detached keeps its request queue, and its completion entries, for its life.

mod completion_queue;
mod figures;
mod functions;
mod ranges;
mod receiving;
mod registry;
mod sending;
mod socket;
mod tag;

#[cfg(feature = "rio-test-table")]
pub use self::functions::use_rio_table;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::windows::io::AsRawSocket;
use std::rc::Rc;
use std::time::{Duration, Instant};

use windows_sys::Win32::Networking::WinSock::{
    RIORESULT, SO_ACCEPTCONN, SOCKET, SOL_SOCKET, WSAECONNABORTED, getsockopt,
};

use self::completion_queue::{CompletionQueue, NOTIFICATION_KEY};
use self::figures::Figures;
use self::functions::Functions;
use self::ranges::Ranges;
use self::registry::Registry;
use self::socket::{ENTRIES, Reading, RequestQueue, RioSocket};
use self::tag::Tag;
use super::windows::{OverlappedIo, Packet, Posted, SocketKind};
use crate::buffer::{BufferPool, PoolConfig, Region, RegionRegistrar};
use crate::config::ProviderConfig;
use crate::error::{Error, ErrorCode, Result};
use crate::info::{Backend, Feature, Features, ProviderInfo};
use crate::operation::{OpId, OpKind, SocketId};
use crate::proactor::{Core, Driver};
use crate::socket::Socket;
use crate::waker::Waker;

/// The driver's note on a receive stream that was parked with data before it. Positive notes name the overlapped block in
/// flight.
const NOTE_DATA_IS_THERE: i32 = -1;
const NOTE_NONE: i32 = 0;

/// Completions that are dequeued by one call.
const DEQUEUE_BATCH: usize = 128;

/// The driver of Registered I/O; see the module.
pub struct RioDriver {
    functions: Functions,
    // Declared, and so closed, before the port and before the last registrations.
    completions: CompletionQueue,
    io: OverlappedIo,
    registry: Rc<Registry>,
    /// Regions of callers that are registered.
    regions: Vec<u32>,
    /// For sends from memory that is not registered.
    copies: BufferPool,
    /// Memory that requests use.
    ranges: Ranges,
    /// Requests whose completion is to come.
    outstanding: usize,
    /// Sockets with sends that wait for their commit, and how many these are.
    uncommitted: Vec<SocketId>,
    deferred: usize,
    /// Sockets with requests that shall end.
    cancelled: VecDeque<SocketId>,
    /// Operations that ended without a packet, and how.
    ended: VecDeque<(OpId, Result<u32>)>,
    results: Box<[RIORESULT]>,
    /// Why the provider cannot go on.
    failure: Option<Error>,
    figures: Figures,
    waker: Waker,
    info: ProviderInfo,
}

impl Driver for RioDriver {
    type SocketState = RioSocket;

    fn open(config: &ProviderConfig) -> Result<Self> {
        let functions = Functions::load()?;
        let io = OverlappedIo::open(config, SocketKind::Registered)?;
        let registry = Rc::new(Registry::new(functions));
        let copies = registered_pool(&registry, &config.rio.copy_pool)?;
        let completions = CompletionQueue::new(functions, &config.rio, io.port())?;
        let info = ProviderInfo {
            backend: Backend::Rio,
            features: Features::default().with(Feature::BufferRegistration).with(Feature::Batching),
            queue_depth: config.queue_depth,
            completion_depth: completions.entries(),
            max_operations: config.max_operations,
            notes: Vec::new(),
        };
        Ok(Self {
            functions,
            completions,
            waker: io.waker().clone(),
            io,
            registry,
            regions: Vec::new(),
            copies,
            ranges: Ranges::default(),
            outstanding: 0,
            uncommitted: Vec::new(),
            deferred: 0,
            cancelled: VecDeque::new(),
            ended: VecDeque::new(),
            results: vec![RIORESULT::default(); DEQUEUE_BATCH].into_boxed_slice(),
            failure: None,
            figures: Figures::new(config.rio.log_period),
            info,
        })
    }

    fn receive_pool(config: &ProviderConfig) -> &PoolConfig {
        config.rio.receive_pool.as_ref().unwrap_or(&config.receive_pool)
    }

    fn create_pool(&mut self, config: &PoolConfig) -> Result<BufferPool> {
        registered_pool(&self.registry, config)
    }

    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    fn waker(&self) -> &Waker {
        &self.waker
    }

    fn create_socket(&mut self, address: &SocketAddr) -> Result<Socket> {
        self.io.create_socket(address)
    }

    fn attach(&mut self, core: &mut Core<RioSocket>, socket: SocketId) -> Result<()> {
        let Some(entry) = core.socket_mut(socket) else { return Ok(()) };
        if listens(&entry.socket) {
            return Ok(());
        }
        // Taken now, so that a full queue refuses the socket as a whole, and not one of its operations.
        self.completions.take(ENTRIES)?;
        entry.state.has_entries = true;
        self.info.completion_depth = self.completions.entries();
        Ok(())
    }

    fn detach(&mut self, core: &mut Core<RioSocket>, id: SocketId) {
        let Some(entry) = core.socket_mut(id) else { return };
        debug_assert!(!entry.state.is_outstanding(), "an operation ends after its last request");
        // An open socket that leaves takes its request queue along, and the system keeps the entries for it.
        let stays_open = !entry.is_closing();
        if !(stays_open && matches!(entry.state.queue, RequestQueue::Open(_))) {
            self.give_entries_back(core, id);
        }
        self.io.leave(core, id);
    }

    fn start(&mut self, core: &mut Core<RioSocket>, id: OpId) {
        let Some(op) = core.op(id) else { return };
        let (kind, note, socket) = (op.kind, op.note, op.socket);
        if core.socket(socket).is_some_and(|entry| entry.state.queue == RequestQueue::Ended) {
            return self.ended.push_back((id, Err(Error::from_os(WSAECONNABORTED))));
        }
        let posted = match kind {
            OpKind::ReceiveStream if note == NOTE_DATA_IS_THERE => return self.resume(core, id),
            OpKind::ReceiveStream => self.await_data(core, id),
            OpKind::Send => self.send(core, id),
            OpKind::Receive => self.receive(core, id),
            OpKind::Connect => self.io.start_connect(core, id),
            OpKind::Accept | OpKind::AcceptStream => self.io.start_accept(core, id),
            OpKind::Attach | OpKind::Timeout | OpKind::Close => return debug_assert!(false, "the proactor's own"),
        };
        self.note_end(id, posted);
    }

    fn cancel(&mut self, core: &mut Core<RioSocket>, id: OpId) {
        let Some(op) = core.op(id) else { return };
        let (kind, socket) = (op.kind, op.socket);
        let Some(entry) = core.socket(socket) else { return };
        let is_request = match kind {
            OpKind::Send => entry.state.sending.outstanding > 0,
            // A request to receive was made because data is there, so it ends by itself; unless the socket is closed,
            // which must not wait for anything.
            _ => entry.state.reading == Reading::Requested && entry.is_closing(),
        };
        if is_request {
            // Perhaps its completion is there already; that is seen first in the next turn.
            self.cancelled.push_back(socket);
        } else {
            // If nothing of it is in flight, it has ended, and that is told with the next turn.
            self.io.cancel(core, id);
        }
    }

    fn flush(&mut self, core: &mut Core<RioSocket>) -> Result<usize> {
        Ok(self.commit(core))
    }

    fn poll(&mut self, core: &mut Core<RioSocket>, wait: Option<Duration>, room: usize) -> Result<bool> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.report(core.now(), &core.pool);
        // A queue that does not notify is looked at again and again while anything is outstanding.
        let spins = !self.completions.notifies() && wait != Some(Duration::ZERO);
        let deadline = if spins { wait.and_then(|wait| Instant::now().checked_add(wait)) } else { None };
        loop {
            let sleep = if spins && self.outstanding > 0 { Some(Duration::ZERO) } else { wait };
            let turn = self.turn(core, sleep, room)?;
            let in_time = deadline.is_none_or(|deadline| Instant::now() < deadline);
            if turn.seen > 0 || turn.woken || !(spins && self.outstanding > 0 && in_time) {
                return Ok(turn.woken);
            }
            std::thread::yield_now();
        }
    }

    fn register_region(&mut self, region: &Region) -> Option<u32> {
        match self.registry.register(region) {
            Ok(number) => {
                self.regions.push(number);
                Some(number)
            }
            Err(error) => {
                tracing::warn!(%error, bytes = region.len(), "region is used unregistered");
                None
            }
        }
    }

    fn unregister_region(&mut self, number: u32) {
        self.regions.retain(|&other| other != number);
        self.registry.unregister(number);
    }

    fn abandon(&mut self) {
        self.completions.abandon();
        self.copies.leak();
        self.regions.clear();
    }
}

/// What a turn brought.
struct Turn {
    woken: bool,
    /// Completions and packets that were looked at.
    seen: usize,
}

impl RioDriver {
    fn turn(&mut self, core: &mut Core<RioSocket>, wait: Option<Duration>, room: usize) -> Result<Turn> {
        // Only those that stand in line before: what ends at once in this turn has its turn later.
        let line = self.ended.len().min(room);
        let mut turn = Turn { woken: false, seen: self.dequeue(core, room)? + line };
        // First the commit: a request that was never committed might not be told of the end either.
        self.commit(core);
        self.end_cancelled(core);
        let wait = if turn.seen > 0 { Some(Duration::ZERO) } else { wait };
        if wait != Some(Duration::ZERO) && self.outstanding > 0 {
            self.completions.arm()?;
        }
        self.io.collect(core, wait, room)?;
        let mut notified = false;
        while let Some(packet) = self.io.next_packet(core) {
            turn.seen += 1;
            match packet {
                Packet::Completed(completed) if completed.is_accept() => self.io.on_accept(core, completed),
                Packet::Completed(completed) => self.on_end(core, completed.op, completed.result),
                Packet::Wake => turn.woken |= self.waker.take(),
                Packet::Backend(key) => {
                    debug_assert_eq!(key, NOTIFICATION_KEY, "nobody else posts packets of the backend's");
                    self.completions.disarm();
                    notified = true;
                }
            }
        }
        for _ in 0..line {
            if let Some((op, result)) = self.ended.pop_front() {
                self.on_end(core, op, result);
            }
        }
        if notified {
            turn.seen += self.dequeue(core, room)?;
        }
        Ok(turn)
    }

    /// Looks at completions of requests, at most `room`, until there is none.
    fn dequeue(&mut self, core: &mut Core<RioSocket>, room: usize) -> Result<usize> {
        let mut results = std::mem::take(&mut self.results);
        let mut seen = 0;
        while seen < room && self.outstanding > 0 {
            let limit = results.len().min(room - seen);
            let count = match self.completions.dequeue(&mut results[..limit]) {
                Ok(count) => count,
                Err(error) => {
                    self.failure = Some(error.clone());
                    return Err(error);
                }
            };
            if count == 0 {
                break;
            }
            seen += count;
            self.outstanding -= count;
            self.figures.counts.dequeues += 1;
            self.figures.counts.completions += count as u64;
            for result in &results[..count] {
                match Tag::from_bits(result.RequestContext) {
                    Tag::Receive(op) => self.on_received(core, op, result.Status, result.BytesTransferred),
                    Tag::Send(op, part) => self.on_part_sent(core, op, part, result.Status, result.BytesTransferred),
                }
            }
        }
        self.results = results;
        Ok(seen)
    }

    /// Remembers an end without a packet for the next turn.
    fn note_end(&mut self, op: OpId, posted: Posted) {
        match posted {
            Posted::Queued => {}
            Posted::Done(bytes) => self.ended.push_back((op, Ok(bytes))),
            Posted::Failed(error) => self.ended.push_back((op, Err(error))),
        }
    }

    /// An overlapped call for an operation ended; of an accept, that it could not be made.
    fn on_end(&mut self, core: &mut Core<RioSocket>, id: OpId, result: Result<u32>) {
        let Some(kind) = core.op(id).map(|op| op.kind) else { return };
        match kind {
            OpKind::Receive | OpKind::ReceiveStream => self.on_read_end(core, id, result),
            OpKind::Send => self.on_sent(core, id, result),
            OpKind::Connect => OverlappedIo::on_connect(core, id, result),
            _ => {
                debug_assert!(result.is_err(), "an accept succeeds by a packet");
                core.finish(id, result);
            }
        }
    }

    /// A transfer failed. Requests of a socket that was closed to end them are cancelled if their end was asked for, and
    /// otherwise victims of another one's end.
    fn fail(core: &mut Core<RioSocket>, id: OpId, error: Error) {
        let Some(op) = core.op(id) else { return };
        let (kind, cancelled, socket) = (op.kind, op.cancelled, op.socket);
        let ended = core.socket(socket).is_some_and(|entry| entry.state.queue == RequestQueue::Ended);
        if kind == OpKind::ReceiveStream {
            core.take_stream_buffer(id);
        }
        let error = match (ended || error.is_cancelled(), cancelled) {
            (true, true) => Error::plain(ErrorCode::Cancelled),
            (true, false) => Error::from_os(WSAECONNABORTED),
            (false, _) => error,
        };
        core.finish(id, Err(error));
    }
}

impl Drop for RioDriver {
    fn drop(&mut self) {
        // The provider was drained; a pool gives up its registrations by itself, with its last lease.
        for number in self.regions.drain(..) {
            self.registry.unregister(number);
        }
    }
}

fn registered_pool(registry: &Rc<Registry>, config: &PoolConfig) -> Result<BufferPool> {
    let registrar: Rc<dyn RegionRegistrar> = Rc::clone(registry) as _;
    BufferPool::with_registrar(config, Some(registrar))
}

/// True for a socket that accepts connections, which needs no request queue.
fn listens(socket: &Socket) -> bool {
    let mut listens: i32 = 0;
    let mut bytes = size_of::<i32>() as i32;
    // SAFETY: the socket is open; the call writes a number of the size it is told.
    let result = unsafe {
        getsockopt(
            socket.as_raw_socket() as SOCKET,
            SOL_SOCKET,
            SO_ACCEPTCONN,
            (&raw mut listens).cast(),
            &raw mut bytes,
        )
    };
    result == 0 && listens != 0
}
