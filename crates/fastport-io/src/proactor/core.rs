//! Operations and sockets of one provider, the same for every backend.
//!
//! The life of an operation:
//!
//! ```text
//!             lane empty                          finish
//!   submit ───────────────▶ Started ───────────────────────────▶ completion (more = false)
//!     │                      │  ▲  └── deliver ──▶ completion (more = true), any number
//!     │ lane busy       park │  │ resume                          ▲
//!     ▼                      ▼  │                                 │
//!   Waiting ──at the head──▶ Parked (stream without a buffer)     │
//!     └───────────── cancel ────────────────────────── cancel ────┘
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::deadlines::Deadlines;
use super::op::{Lane, Op, OpState, Transfer, Work};
use super::regions::Regions;
use crate::buffer::{BufferPool, ReceiveBuffer, SendBuffers};
use crate::error::{Error, ErrorCode, Result};
use crate::operation::{CloseMode, Completion, CompletionBatch, OpId, OpKind, SocketId};
use crate::slab::Slab;
use crate::socket::Socket;
use crate::stats::{LatencyHistogram, ProviderStats};

/// An attached socket.
pub(crate) struct SocketEntry<S> {
    pub(crate) socket: Socket,
    pub(super) lanes: [Lane; 2],
    /// The close operation, once it was asked for.
    pub(super) closing: Option<OpId>,
    /// The system's number of the error that ended the connection.
    pub(super) failure: Option<i32>,
    /// Its sending side was shut down from here, so sends fail without meaning more.
    pub(crate) write_ended: bool,
    /// The driver's own.
    pub(crate) state: S,
}

impl<S> SocketEntry<S> {
    /// True once the close of the socket was asked for.
    #[cfg_attr(not(windows), allow(dead_code, reason = "asked by drivers whose sockets take leave of a port"))]
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) requests: u64,
    /// Completions that went out in batches.
    pub(super) delivered: u64,
    /// Sends that were done at once, and so are in no batch.
    pub(super) done_at_once: u64,
    pub(super) errors: u64,
    pub(super) stale: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) batches: u64,
    pub(super) max_batch: u64,
    pub(super) buffer_waits: u64,
}

/// The shared state of a proactor and its driver.
pub(crate) struct Core<S> {
    pub(super) ops: Slab<Op>,
    pub(super) sockets: Slab<SocketEntry<S>>,
    pub(super) regions: Regions,
    pub(crate) pool: BufferPool,
    pub(super) ready: VecDeque<Completion>,
    /// How many of them are the last of their operation.
    pub(super) ready_finals: u64,
    /// Operations that came to the head of their lane.
    pub(super) to_start: VecDeque<OpId>,
    /// Streams without a buffer, longest waiting first.
    pub(super) parked: VecDeque<OpId>,
    /// Closing sockets without operations.
    pub(super) closable: VecDeque<SocketId>,
    pub(super) deadlines: Deadlines,
    epoch: Instant,
    now: Instant,
    /// `now` since `epoch`; each operation is stamped with it twice.
    pub(super) now_ns: u64,
    pub(super) counters: Counters,
    pub(super) latency: LatencyHistogram,
}

impl<S: Default> Core<S> {
    pub(super) fn new(pool: BufferPool, max_operations: u32, now: Instant) -> Self {
        Self {
            ops: Slab::with_limit(max_operations),
            sockets: Slab::with_limit(u32::MAX - 1),
            regions: Regions::new(),
            pool,
            ready: VecDeque::new(),
            ready_finals: 0,
            to_start: VecDeque::new(),
            parked: VecDeque::new(),
            closable: VecDeque::new(),
            deadlines: Deadlines::new(now),
            epoch: now,
            now,
            now_ns: 0,
            counters: Counters::default(),
            latency: LatencyHistogram::new(),
        }
    }

    // For drivers: looking up

    /// The operation, if it is still in flight. A driver that gets an id back from the kernel asks here; a stale one is
    /// counted and answered with `None`.
    #[inline]
    pub(crate) fn op_from_kernel(&mut self, op: OpId) -> Option<&mut Op> {
        if self.ops.get(op.0).is_none() {
            self.counters.stale += 1;
            tracing::debug!(?op, "completion of a dead operation dropped");
            return None;
        }
        self.ops.get_mut(op.0)
    }

    #[inline]
    pub(crate) fn op(&self, op: OpId) -> Option<&Op> {
        self.ops.get(op.0)
    }

    #[inline]
    pub(crate) fn op_mut(&mut self, op: OpId) -> Option<&mut Op> {
        self.ops.get_mut(op.0)
    }

    #[inline]
    pub(crate) fn socket(&self, socket: SocketId) -> Option<&SocketEntry<S>> {
        self.sockets.get(socket.0)
    }

    #[inline]
    pub(crate) fn socket_mut(&mut self, socket: SocketId) -> Option<&mut SocketEntry<S>> {
        self.sockets.get_mut(socket.0)
    }

    /// Takes the buffer back that the driver gave to a receive stream's operation.
    pub(crate) fn take_stream_buffer(&mut self, id: OpId) -> Option<ReceiveBuffer> {
        match std::mem::replace(&mut self.ops.get_mut(id.0)?.work, Work::Nothing) {
            Work::Receive(buffer) => Some(buffer),
            _ => None,
        }
    }

    /// Takes the bytes of a send that will be finished while the system still reads them; whoever takes them keeps them.
    pub(crate) fn take_send_buffers(&mut self, id: OpId) -> Option<SendBuffers> {
        let op = self.ops.get_mut(id.0)?;
        match std::mem::replace(&mut op.work, Work::Nothing) {
            Work::Send(buffers) => Some(buffers),
            other => {
                op.work = other;
                None
            }
        }
    }

    /// What a send or a one-shot receive has still to transfer.
    pub(crate) fn transfer(&mut self, op: OpId) -> Option<Transfer> {
        let op = self.ops.get_mut(op.0)?;
        let (first, second, registration) = match &mut op.work {
            Work::Send(buffers) => {
                let (first, second) = buffers.remaining(op.progress as usize);
                let cast = |(start, bytes): (*const u8, usize)| (start.cast_mut(), bytes);
                (cast(first), second.map(cast), None)
            }
            Work::Receive(buffer) => ((buffer.as_mut_ptr(), buffer.capacity()), None, None),
            Work::Region { region, offset, length } => {
                let (start, registration) = self.regions.address(*region, *offset + op.progress)?;
                ((start, (*length - op.progress) as usize), None, registration)
            }
            Work::Nothing | Work::Connect(_) => return None,
        };
        Some(Transfer { first, second, registration })
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    // For the proactor: submitting

    /// The socket, if it takes operations.
    pub(super) fn open_socket(&self, socket: SocketId) -> Result<&SocketEntry<S>> {
        let entry = self.sockets.get(socket.0).ok_or(Error::plain(ErrorCode::SocketNotRegistered))?;
        if entry.closing.is_some() {
            return Err(Error::new(ErrorCode::InvalidSocket, "the socket is being closed"));
        }
        Ok(entry)
    }

    /// True if [`Core::insert`] would succeed.
    pub(super) fn has_room(&self) -> Result<()> {
        if self.ops.len() < self.ops.limit() as usize {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::NoResources,
            format!("{} operations are in flight, which is the configured maximum", self.ops.len()),
        ))
    }

    /// Stores an operation and, unless it belongs to no lane, queues it. Returns whether it is at the head.
    pub(super) fn insert(&mut self, kind: OpKind, socket: SocketId, context: u64, work: Work) -> Result<(OpId, bool)> {
        let key = self.ops.insert(Op {
            kind,
            state: OpState::Waiting,
            cancelled: false,
            length: work.send_length(),
            progress: 0,
            note: 0,
            place_in_line: 0,
            socket,
            context,
            submitted_ns: self.now_ns,
            next: None,
            work,
        })?;
        self.counters.requests += 1;
        if matches!(kind, OpKind::Timeout | OpKind::Close) {
            return Ok((OpId(key), false));
        }
        Ok((OpId(key), self.join_lane(socket, kind, key.index)?))
    }

    /// All that was received so far.
    pub(crate) fn bytes_received(&self) -> u64 {
        self.counters.bytes_received
    }

    /// The longest waiting of the parked streams, to go on.
    pub(super) fn next_to_resume(&mut self) -> Option<OpId> {
        while let Some(id) = self.parked.pop_front() {
            // It may have been cancelled since.
            if let Some(op) = self.ops.get_mut(id.0)
                && op.state == OpState::Parked
            {
                op.state = OpState::Started;
                return Some(id);
            }
        }
        None
    }

    /// Streams that wait for a buffer.
    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// True if a stream waits for a buffer.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    // For the proactor: cancelling and closing

    /// Asks for the end of an operation. Returns true if the driver has to be asked.
    pub(super) fn request_cancel(&mut self, id: OpId) -> Result<bool> {
        let gone = || Error::new(ErrorCode::OperationFailed, "there is no such operation in flight");
        let op = self.ops.get_mut(id.0).ok_or_else(gone)?;
        match (op.kind, op.state) {
            (OpKind::Close, _) => Err(Error::new(ErrorCode::OperationFailed, "a close cannot be cancelled")),
            (OpKind::Timeout, _) | (_, OpState::Waiting | OpState::Parked) => {
                self.finish(id, Err(Error::plain(ErrorCode::Cancelled)));
                Ok(false)
            }
            (_, OpState::Started) => Ok(!std::mem::replace(&mut op.cancelled, true)),
        }
    }

    pub(super) fn add_socket(&mut self, socket: Socket) -> SocketId {
        let entry = SocketEntry {
            socket,
            lanes: [Lane::default(); 2],
            closing: None,
            failure: None,
            write_ended: false,
            state: S::default(),
        };
        let key = self.sockets.insert(entry);
        SocketId(key.expect("the slab has room for more sockets than a process can have descriptors"))
    }

    /// Forgets a socket without operations.
    pub(super) fn remove_socket(&mut self, socket: SocketId) -> Option<SocketEntry<S>> {
        self.sockets.remove(socket.0)
    }

    /// Marks the socket as closing and lists its operations, those to cancel.
    pub(super) fn begin_close(&mut self, socket: SocketId, mode: CloseMode, close: OpId) -> Vec<OpId> {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return Vec::new() };
        entry.closing = Some(close);
        if mode == CloseMode::Abortive
            && let Err(error) = entry.socket.set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "an abortive close becomes a graceful one");
        }
        let ops = self.operations_of(socket);
        if ops.is_empty() {
            self.closable.push_back(socket);
        }
        ops
    }

    /// A closing socket whose last operation has finished, with its close operation.
    pub(super) fn next_to_close(&mut self) -> Option<(SocketId, OpId)> {
        let socket = self.closable.pop_front()?;
        let close = self.sockets.get(socket.0)?.closing?;
        Some((socket, close))
    }

    pub(super) fn all_sockets(&self) -> Vec<SocketId> {
        self.sockets.keys().map(SocketId).collect()
    }

    pub(super) fn all_timeouts(&self) -> Vec<OpId> {
        self.ops.iter().filter(|(_, op)| op.kind == OpKind::Timeout).map(|(key, _)| OpId(key)).collect()
    }

    // For the proactor: time

    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = now;
        self.now_ns = now.saturating_duration_since(self.epoch).as_nanos() as u64;
    }

    pub(super) fn add_deadline(&mut self, op: OpId, deadline: Instant) {
        let ops = &self.ops;
        self.deadlines.add(op, deadline, |op| ops.get(op.0).is_some());
    }

    /// The deadline of the next timeout, if there is one.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        let ops = &self.ops;
        self.deadlines.next(|op| ops.get(op.0).is_some())
    }

    /// Completes the timeouts whose time has come.
    pub(super) fn expire_timeouts(&mut self) {
        while let Some(deadline) = self.next_deadline()
            && deadline <= self.now
        {
            if let Some(op) = self.deadlines.pop() {
                self.finish(op, Ok(0));
            }
        }
    }

    // For the proactor: handing over

    /// Completions that wait to be handed over.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn take_ready(&mut self) -> Option<Completion> {
        let completion = self.ready.pop_front()?;
        if !completion.more {
            self.ready_finals -= 1;
        }
        Some(completion)
    }

    /// Moves completions into the batch as far as it has room, and returns their number.
    pub(super) fn hand_over(&mut self, batch: &mut CompletionBatch) -> usize {
        let before = batch.len();
        if batch.take_all(&mut self.ready) {
            self.ready_finals = 0;
        } else {
            while batch.room() > 0
                && let Some(completion) = self.take_ready()
            {
                batch.push(completion);
            }
        }
        let moved = batch.len() - before;
        if moved > 0 {
            self.counters.batches += 1;
            self.counters.delivered += moved as u64;
            self.counters.max_batch = self.counters.max_batch.max(moved as u64);
        }
        moved
    }

    pub(super) fn stats(&self) -> ProviderStats {
        let counters = &self.counters;
        let batches = counters.batches.max(1) as f64;
        ProviderStats {
            requests: counters.requests,
            completions: counters.delivered + counters.done_at_once,
            pending: self.ops.len() as u64 + self.ready_finals,
            errors: counters.errors,
            stale_completions: counters.stale,
            active_sockets: self.sockets.len() as u64,
            bytes_sent: counters.bytes_sent,
            bytes_received: counters.bytes_received,
            mean_latency: self.latency.mean(),
            p99_latency: self.latency.percentile(0.99),
            batches: counters.batches,
            mean_batch: counters.delivered as f64 / batches,
            max_batch: counters.max_batch,
            buffer_waits: counters.buffer_waits,
        }
    }

    pub(super) fn operations(&self) -> usize {
        self.ops.len()
    }

    /// The drain failed: what the kernel may still touch must never be freed.
    pub(super) fn leak_memory(&mut self) {
        self.pool.leak();
        std::mem::forget(std::mem::replace(&mut self.ops, Slab::with_limit(0)));
        std::mem::forget(std::mem::replace(&mut self.regions, Regions::new()));
    }
}
