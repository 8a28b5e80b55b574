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
use super::op::{Lane, Op, OpState, READ, Transfer, WRITE, Work, lane_of};
use super::regions::Regions;
use crate::buffer::{BufferPool, Lease, ReceiveBuffer, SendBuffers};
use crate::error::{Error, ErrorCode, Result};
use crate::operation::{CloseMode, Completion, CompletionBatch, OpId, OpKind, Payload, SocketId};
use crate::slab::Slab;
use crate::socket::Socket;
use crate::stats::{LatencyHistogram, ProviderStats};

/// An attached socket.
pub(crate) struct SocketEntry<S> {
    pub(crate) socket: Socket,
    lanes: [Lane; 2],
    /// The close operation, once it was asked for.
    closing: Option<OpId>,
    /// The system's number of the error that ended the connection.
    failure: Option<i32>,
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
struct Counters {
    requests: u64,
    completions: u64,
    errors: u64,
    stale: u64,
    bytes_sent: u64,
    bytes_received: u64,
    batches: u64,
    max_batch: u64,
    buffer_waits: u64,
}

/// The shared state of a proactor and its driver.
pub(crate) struct Core<S> {
    ops: Slab<Op>,
    sockets: Slab<SocketEntry<S>>,
    pub(super) regions: Regions,
    pub(crate) pool: BufferPool,
    ready: VecDeque<Completion>,
    /// How many of them are the last of their operation.
    ready_finals: u64,
    /// Operations that came to the head of their lane.
    to_start: VecDeque<OpId>,
    /// Streams without a buffer, longest waiting first.
    parked: VecDeque<OpId>,
    /// Closing sockets without operations.
    closable: VecDeque<SocketId>,
    deadlines: Deadlines,
    epoch: Instant,
    now: Instant,
    /// `now` since `epoch`; each operation is stamped with it twice.
    now_ns: u64,
    counters: Counters,
    latency: LatencyHistogram,
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

    /// The started operation of a socket that reads (accept or receive), if there is one.
    pub(crate) fn reader(&self, socket: SocketId) -> Option<OpId> {
        self.started(socket, READ)
    }

    /// The started operation of a socket that writes (connect or send), if there is one.
    pub(crate) fn writer(&self, socket: SocketId) -> Option<OpId> {
        self.started(socket, WRITE)
    }

    fn started(&self, socket: SocketId, lane: usize) -> Option<OpId> {
        let head = self.sockets.get(socket.0)?.lanes[lane].head?;
        let key = self.ops.key_at(head)?;
        (self.ops.get(key)?.state == OpState::Started).then_some(OpId(key))
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

    // For drivers: reporting

    /// Bytes of a receive stream, which goes on.
    #[inline]
    pub(crate) fn deliver_bytes(&mut self, op: OpId, lease: Lease) {
        let bytes = lease.len() as u32;
        self.counters.bytes_received += u64::from(bytes);
        self.deliver(op, Ok(bytes), Payload::Lease(lease));
    }

    /// A connection of an accept stream, which goes on.
    pub(crate) fn deliver_socket(&mut self, op: OpId, socket: Socket) {
        self.deliver(op, Ok(0), Payload::Socket(socket));
    }

    fn deliver(&mut self, id: OpId, result: Result<u32>, payload: Payload) {
        let Some(op) = self.ops.get_mut(id.0) else { return };
        debug_assert!(op.kind.is_stream(), "only streams complete more than once");
        op.place_in_line = 0;
        self.ready.push_back(Completion { context: op.context, op: id, kind: op.kind, more: true, result, payload });
    }

    /// A one-shot accept got a connection.
    pub(crate) fn finish_accept(&mut self, op: OpId, socket: Socket) {
        self.finish_with(op, Ok(0), Payload::Socket(socket));
    }

    /// The final completion of an operation. Of a send: all its bytes are out, or it failed.
    pub(crate) fn finish(&mut self, op: OpId, result: Result<u32>) {
        self.finish_with(op, result, Payload::None);
    }

    /// `bytes` more bytes of a send were taken by the system. Finishes the send when that was all, and says so.
    #[inline]
    pub(crate) fn sent(&mut self, id: OpId, bytes: u32) -> bool {
        let Some(op) = self.ops.get_mut(id.0) else { return true };
        self.counters.bytes_sent += u64::from(bytes);
        op.progress += bytes;
        let (progress, total) = (op.progress, op.length);
        debug_assert!(progress <= total, "the system took more than it was given");
        if progress < total {
            return false;
        }
        self.finish(id, Ok(progress));
        true
    }

    /// True if `bytes` more bytes would make a send whole.
    pub(crate) fn sends_rest(&self, id: OpId, bytes: u32) -> bool {
        self.ops.get(id.0).is_some_and(|op| op.progress + bytes == op.length)
    }

    /// A one-shot receive got `bytes` bytes.
    pub(crate) fn received(&mut self, id: OpId, bytes: u32) {
        self.counters.bytes_received += u64::from(bytes);
        if let Some(Op { work: Work::Receive(buffer), .. }) = self.ops.get_mut(id.0) {
            buffer.set_filled(bytes as usize);
        }
        self.finish(id, Ok(bytes));
    }

    /// A receive stream found no pool buffer. The driver has nothing of it in flight; it is started again when there are
    /// buffers, in the order of parking. One that tries again in vain keeps its place in line.
    pub(crate) fn park(&mut self, id: OpId) {
        let Some(op) = self.ops.get_mut(id.0) else { return };
        debug_assert_eq!(op.state, OpState::Started);
        if op.cancelled {
            return self.finish(id, Err(Error::plain(ErrorCode::Cancelled)));
        }
        op.state = OpState::Parked;
        if op.place_in_line == 0 {
            self.counters.buffer_waits += 1;
            op.place_in_line = self.counters.buffer_waits;
            return self.parked.push_back(id);
        }
        let place = op.place_in_line;
        let is_before = |other: &OpId| self.ops.get(other.0).is_none_or(|other| other.place_in_line < place);
        // Few steps: only those that tried in the same round can stand before it.
        let position = self.parked.iter().take_while(|other| is_before(other)).count();
        self.parked.insert(position, id);
    }

    fn finish_with(&mut self, id: OpId, result: Result<u32>, payload: Payload) {
        let Some(op) = self.ops.remove(id.0) else {
            debug_assert!(false, "an operation was finished twice");
            self.counters.stale += 1;
            return;
        };
        let result = match result {
            Ok(1..) => result,
            result => self.note_end_of_connection(&op, result),
        };
        if result.as_ref().is_err_and(|error| !error.is_cancelled()) {
            self.counters.errors += 1;
        }
        if op.kind == OpKind::Timeout {
            self.deadlines.note_finished();
        } else if !op.kind.is_stream() {
            self.latency.record(self.now_ns.saturating_sub(op.submitted_ns));
        }
        let payload = match op.work {
            // A stream's buffer is the pool's; only that of a one-shot receive goes back to its owner.
            Work::Receive(buffer) if op.kind == OpKind::Receive => Payload::Buffer(buffer),
            Work::Region { region, .. } => {
                self.regions.end_use(region);
                payload
            }
            _ => payload,
        };
        if !matches!(op.kind, OpKind::Timeout | OpKind::Close) {
            self.leave_lane(op.socket, op.kind, id.0.index, op.next);
        }
        self.ready_finals += 1;
        self.ready.push_back(Completion { context: op.context, op: id, kind: op.kind, more: false, result, payload });
    }

    /// A system tells an error that ended a connection once, to whichever direction asks first; after that a receive
    /// returns 0, which would look like the end of the peer's data. So the error is kept, and told again instead.
    fn note_end_of_connection(&mut self, op: &Op, result: Result<u32>) -> Result<u32> {
        let moves_data = matches!(op.kind, OpKind::Send | OpKind::Receive | OpKind::ReceiveStream);
        let Some(entry) = self.sockets.get_mut(op.socket.0).filter(|_| moves_data) else { return result };
        match &result {
            Err(error) if error.ends_connection() && entry.failure.is_none() => {
                entry.failure = Some(error.os_code());
                result
            }
            Ok(0) => entry.failure.map_or(result, |os_code| Err(Error::from_os(os_code))),
            _ => result,
        }
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

    /// Checks that an operation of that kind may join its lane. Returns whether the lane is empty.
    pub(super) fn check_lane(&self, socket: SocketId, kind: OpKind) -> Result<bool> {
        let lane = self.open_socket(socket)?.lanes[lane_of(kind)];
        let Some(tail) = lane.tail.and_then(|index| self.ops.key_at(index)).and_then(|key| self.ops.get(key)) else {
            return Ok(true);
        };
        if kind.is_stream() || tail.kind.is_stream() {
            return Err(Error::new(
                ErrorCode::OperationPending,
                "a stream needs the socket's whole receiving side; cancel what is in flight first",
            ));
        }
        Ok(false)
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
        let entry = self.sockets.get_mut(socket.0).ok_or(Error::plain(ErrorCode::SocketNotRegistered))?;
        let lane = &mut entry.lanes[lane_of(kind)];
        let before = lane.tail.replace(key.index);
        match before.and_then(|index| self.ops.key_at(index)).and_then(|key| self.ops.get_mut(key)) {
            Some(before) => before.next = Some(key.index),
            None => lane.head = Some(key.index),
        }
        Ok((OpId(key), before.is_none()))
    }

    /// The completion of a send that needed no operation: the system took all its `bytes` bytes at once.
    #[inline]
    pub(super) fn complete_send(&mut self, context: u64, bytes: u32) -> Result<OpId> {
        let op = OpId(self.ops.spent_key()?);
        self.counters.requests += 1;
        self.counters.bytes_sent += u64::from(bytes);
        self.latency.record(0);
        self.ready_finals += 1;
        let (kind, result, payload) = (OpKind::Send, Ok(bytes), Payload::None);
        self.ready.push_back(Completion { context, op, kind, more: false, result, payload });
        Ok(op)
    }

    pub(super) fn mark_started(&mut self, op: OpId) {
        if let Some(op) = self.ops.get_mut(op.0) {
            op.state = OpState::Started;
        }
    }

    /// Takes a finished operation out of its lane; the one behind a head comes next.
    fn leave_lane(&mut self, socket: SocketId, kind: OpKind, index: u32, next: Option<u32>) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        let lane = &mut entry.lanes[lane_of(kind)];
        if lane.head == Some(index) {
            lane.head = next;
            match next.and_then(|next| self.ops.key_at(next)) {
                Some(key) => self.to_start.push_back(OpId(key)),
                None => lane.tail = None,
            }
            if entry.closing.is_some() && entry.lanes.iter().all(|lane| lane.head.is_none()) {
                self.closable.push_back(socket);
            }
            return;
        }
        // Cancelled while it waited: unlink it from the one before. Lanes are short.
        let mut before = lane.head;
        while let Some(at) = before {
            let Some(op) = self.ops.key_at(at).and_then(|key| self.ops.get_mut(key)) else { return };
            if op.next == Some(index) {
                op.next = next;
                if lane.tail == Some(index) {
                    lane.tail = Some(at);
                }
                return;
            }
            before = op.next;
        }
    }

    /// The next operation that can start: one that came to the head of its lane, or a parked stream if there are buffers.
    pub(super) fn next_to_start(&mut self) -> Option<OpId> {
        while let Some(id) = self.to_start.pop_front() {
            // It may have been cancelled since.
            if let Some(op) = self.ops.get_mut(id.0)
                && op.state == OpState::Waiting
            {
                op.state = OpState::Started;
                return Some(id);
            }
        }
        None
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

    /// How many parked streams may try again: no more than there are buffers for.
    pub(super) fn resumable(&self) -> usize {
        if self.parked.is_empty() { 0 } else { self.parked.len().min(self.pool.available()) }
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

    pub(super) fn is_idle(&self, socket: SocketId) -> Result<bool> {
        Ok(self.open_socket(socket)?.lanes.iter().all(|lane| lane.head.is_none()))
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

    /// The operations of a socket's lanes, last first: those that wait must be cancelled before the head finishes and
    /// would make them start.
    pub(super) fn operations_of(&self, socket: SocketId) -> Vec<OpId> {
        let Some(entry) = self.sockets.get(socket.0) else { return Vec::new() };
        let mut ops = Vec::new();
        for lane in entry.lanes {
            let from = ops.len();
            let mut at = lane.head;
            while let Some(key) = at.and_then(|index| self.ops.key_at(index)) {
                ops.push(OpId(key));
                at = self.ops.get(key).and_then(|op| op.next);
            }
            ops[from..].reverse();
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
            self.counters.completions += moved as u64;
            self.counters.max_batch = self.counters.max_batch.max(moved as u64);
        }
        moved
    }

    pub(super) fn stats(&self) -> ProviderStats {
        let counters = &self.counters;
        let batches = counters.batches.max(1) as f64;
        ProviderStats {
            requests: counters.requests,
            completions: counters.completions,
            pending: self.ops.len() as u64 + self.ready_finals,
            errors: counters.errors,
            stale_completions: counters.stale,
            active_sockets: self.sockets.len() as u64,
            bytes_sent: counters.bytes_sent,
            bytes_received: counters.bytes_received,
            mean_latency: self.latency.mean(),
            p99_latency: self.latency.percentile(0.99),
            batches: counters.batches,
            mean_batch: counters.completions as f64 / batches,
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
