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

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::buffer::{BufferPool, Lease, ReceiveBuffer, Region, SendBuffers};
use crate::error::{Error, ErrorCode, Result};
use crate::operation::{CloseMode, Completion, OpId, OpKind, Payload, RegionId, SocketId};
use crate::slab::{Key, Slab};
use crate::socket::Socket;
use crate::stats::{LatencyHistogram, ProviderStats};

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpState {
    /// Behind another one in its lane.
    Waiting,
    /// With the driver.
    Started,
    /// A receive stream that waits for a pool buffer; the driver has nothing of it in the kernel.
    Parked,
}

/// What an operation works on.
pub(crate) enum Work {
    Nothing,
    Send(SendBuffers),
    Receive(ReceiveBuffer),
    Region { region: RegionId, offset: u32, length: u32 },
    Connect(Box<SocketAddr>),
}

/// An operation whose final completion is still to come.
pub(crate) struct Op {
    pub(crate) kind: OpKind,
    pub(crate) state: OpState,
    /// Someone asked for its end; the driver knows.
    pub(crate) cancelled: bool,
    /// Bytes sent so far.
    pub(crate) progress: u32,
    /// The driver's own note about the operation; 0 at first.
    pub(crate) note: i32,
    pub(crate) socket: SocketId,
    context: u64,
    submitted_ns: u64,
    /// The operation behind it in its lane.
    next: Option<u32>,
    pub(crate) work: Work,
}

/// The operations of one direction of a socket, by index, in the order of their submission.
#[derive(Clone, Copy, Default)]
struct Lane {
    head: Option<u32>,
    tail: Option<u32>,
}

const READ: usize = 0;
const WRITE: usize = 1;

const fn lane_of(kind: OpKind) -> usize {
    match kind {
        OpKind::Connect | OpKind::Send => WRITE,
        _ => READ,
    }
}

/// An attached socket.
pub(crate) struct SocketEntry<S> {
    pub(crate) socket: Socket,
    lanes: [Lane; 2],
    /// The close operation, once it was asked for.
    closing: Option<OpId>,
    /// The driver's own.
    pub(crate) state: S,
}

struct RegionEntry {
    region: Region,
    registration: Option<u32>,
    users: u32,
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

/// The range that a send or a receive has still to transfer.
#[derive(Clone, Copy)]
pub(crate) struct Transfer {
    pub(crate) first: (*mut u8, usize),
    pub(crate) second: Option<(*mut u8, usize)>,
    /// What the driver called the region of a registered transfer.
    pub(crate) registration: Option<u32>,
}

/// The shared state of a proactor and its driver.
pub(crate) struct Core<S> {
    ops: Slab<Op>,
    sockets: Slab<SocketEntry<S>>,
    regions: Slab<RegionEntry>,
    pub(crate) pool: BufferPool,
    ready: VecDeque<Completion>,
    /// Operations that came to the head of their lane.
    to_start: VecDeque<OpId>,
    /// Streams without a buffer, longest waiting first.
    parked: VecDeque<OpId>,
    /// Closing sockets without operations.
    closable: VecDeque<SocketId>,
    /// Deadline in ns since `epoch`, number, operation. Cancelled ones are skipped when they come up.
    timers: BinaryHeap<Reverse<(u64, u64, u64)>>,
    timers_made: u64,
    epoch: Instant,
    now: Instant,
    counters: Counters,
    latency: LatencyHistogram,
}

impl<S: Default> Core<S> {
    pub(super) fn new(pool: BufferPool, max_operations: u32) -> Self {
        let now = Instant::now();
        Self {
            ops: Slab::with_limit(max_operations),
            sockets: Slab::with_limit(u32::MAX - 1),
            regions: Slab::with_limit(MAX_REGIONS),
            pool,
            ready: VecDeque::new(),
            to_start: VecDeque::new(),
            parked: VecDeque::new(),
            closable: VecDeque::new(),
            timers: BinaryHeap::new(),
            timers_made: 0,
            epoch: now,
            now,
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
                let entry = self.regions.get(region.0)?;
                let skip = *offset + op.progress;
                // SAFETY: the range was checked against the region when the operation was submitted.
                let start = unsafe { entry.region.as_ptr().as_ptr().add(skip as usize) };
                ((start, (*length - op.progress) as usize), None, entry.registration)
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
        let Some(op) = self.ops.get(id.0) else { return };
        debug_assert!(op.kind.is_stream(), "only streams complete more than once");
        self.counters.completions += 1;
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
        let (progress, total) = (op.progress, op.send_length());
        debug_assert!(progress <= total, "the system took more than it was given");
        if progress < total {
            return false;
        }
        self.finish(id, Ok(progress));
        true
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
    /// buffers, in the order of parking.
    pub(crate) fn park(&mut self, id: OpId) {
        let Some(op) = self.ops.get_mut(id.0) else { return };
        debug_assert_eq!(op.state, OpState::Started);
        if op.cancelled {
            return self.finish(id, Err(Error::plain(ErrorCode::Cancelled)));
        }
        op.state = OpState::Parked;
        self.counters.buffer_waits += 1;
        self.parked.push_back(id);
    }

    fn finish_with(&mut self, id: OpId, result: Result<u32>, payload: Payload) {
        let Some(op) = self.ops.remove(id.0) else {
            debug_assert!(false, "an operation was finished twice");
            self.counters.stale += 1;
            return;
        };
        self.counters.completions += 1;
        if let Err(error) = &result
            && !error.is_cancelled()
        {
            self.counters.errors += 1;
        }
        if !op.kind.is_stream() && op.kind != OpKind::Timeout {
            self.latency.record(self.clock_ns().saturating_sub(op.submitted_ns));
        }
        let payload = match op.work {
            // A stream's buffer is the pool's; only that of a one-shot receive goes back to its owner.
            Work::Receive(buffer) if op.kind == OpKind::Receive => Payload::Buffer(buffer),
            Work::Region { region, .. } => {
                if let Some(entry) = self.regions.get_mut(region.0) {
                    entry.users -= 1;
                }
                payload
            }
            _ => payload,
        };
        if !matches!(op.kind, OpKind::Timeout | OpKind::Close) {
            self.leave_lane(op.socket, op.kind, id.0.index, op.next);
        }
        self.ready.push_back(Completion { context: op.context, op: id, kind: op.kind, more: false, result, payload });
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

    /// Checks that an operation of that kind may join its lane.
    pub(super) fn check_lane(&self, socket: SocketId, kind: OpKind) -> Result<()> {
        let lane = self.open_socket(socket)?.lanes[lane_of(kind)];
        let Some(tail) = lane.tail.and_then(|index| self.ops.key_at(index)).and_then(|key| self.ops.get(key)) else {
            return Ok(());
        };
        if kind.is_stream() || tail.kind.is_stream() {
            return Err(Error::new(
                ErrorCode::OperationPending,
                "a stream needs the socket's whole receiving side; cancel what is in flight first",
            ));
        }
        Ok(())
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
        let submitted_ns = self.clock_ns();
        let key = self.ops.insert(Op {
            kind,
            state: OpState::Waiting,
            cancelled: false,
            progress: 0,
            note: 0,
            socket,
            context,
            submitted_ns,
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

    pub(super) fn add_socket(&mut self, socket: Socket) -> Result<SocketId> {
        let entry = SocketEntry { socket, lanes: [Lane::default(); 2], closing: None, state: S::default() };
        self.sockets.insert(entry).map(SocketId)
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
        let mut ops = Vec::new();
        // Last first: those that wait must be gone before the head finishes and would make them start.
        for lane in entry.lanes {
            let from = ops.len();
            let mut at = lane.head;
            while let Some(key) = at.and_then(|index| self.ops.key_at(index)) {
                ops.push(OpId(key));
                at = self.ops.get(key).and_then(|op| op.next);
            }
            ops[from..].reverse();
        }
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

    pub(super) fn read_clock(&mut self) {
        self.now = Instant::now();
    }

    fn clock_ns(&self) -> u64 {
        (self.now - self.epoch).as_nanos() as u64
    }

    pub(super) fn add_timer(&mut self, op: OpId, deadline: Instant) {
        let deadline_ns = deadline.saturating_duration_since(self.epoch).as_nanos() as u64;
        self.timers_made += 1;
        self.timers.push(Reverse((deadline_ns, self.timers_made, op.to_bits())));
    }

    /// The deadline of the next timeout, if there is one.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        while let Some(&Reverse((deadline_ns, _, op))) = self.timers.peek() {
            if self.ops.get(Key::from_bits(op)).is_some() {
                return Some(self.epoch + Duration::from_nanos(deadline_ns));
            }
            self.timers.pop();
        }
        None
    }

    /// Completes the timeouts whose time has come.
    pub(super) fn expire_timers(&mut self) {
        while let Some(deadline) = self.next_deadline()
            && deadline <= self.now
        {
            if let Some(Reverse((_, _, op))) = self.timers.pop() {
                self.finish(OpId::from_bits(op), Ok(0));
            }
        }
    }

    // For the proactor: handing over

    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn take_ready(&mut self) -> Option<Completion> {
        self.ready.pop_front()
    }

    pub(super) fn count_batch(&mut self, completions: u64) {
        self.counters.batches += 1;
        self.counters.max_batch = self.counters.max_batch.max(completions);
    }

    pub(super) fn stats(&self) -> ProviderStats {
        let counters = &self.counters;
        let delivered = counters.completions - self.ready.len() as u64;
        ProviderStats {
            requests: counters.requests,
            completions: counters.completions,
            pending: self.ops.len() as u64,
            errors: counters.errors,
            stale_completions: counters.stale,
            active_sockets: self.sockets.len() as u64,
            bytes_sent: counters.bytes_sent,
            bytes_received: counters.bytes_received,
            mean_latency: self.latency.mean(),
            p99_latency: self.latency.percentile(0.99),
            batches: counters.batches,
            mean_batch: if counters.batches == 0 { 0.0 } else { delivered as f64 / counters.batches as f64 },
            max_batch: counters.max_batch,
            buffer_waits: counters.buffer_waits,
        }
    }

    // For the proactor: regions

    pub(super) fn add_region(&mut self, region: Region, registration: Option<u32>) -> Result<RegionId> {
        self.regions.insert(RegionEntry { region, registration, users: 0 }).map(RegionId)
    }

    pub(super) fn has_region_room(&self) -> bool {
        self.regions.len() < self.regions.limit() as usize
    }

    /// The region, if no operation uses it.
    fn idle_region(&self, region: RegionId) -> Result<&RegionEntry> {
        let entry = self.regions.get(region.0).ok_or_else(|| {
            Error::new(ErrorCode::InvalidBuffer, "the region is not registered with this provider (any more)")
        })?;
        if entry.users > 0 {
            return Err(Error::new(ErrorCode::OperationPending, "an operation uses the region"));
        }
        Ok(entry)
    }

    pub(super) fn remove_region(&mut self, region: RegionId) -> Result<(Region, Option<u32>)> {
        self.idle_region(region)?;
        let entry = self.regions.remove(region.0).ok_or(Error::plain(ErrorCode::InvalidBuffer))?;
        Ok((entry.region, entry.registration))
    }

    pub(super) fn region_mut(&mut self, region: RegionId) -> Result<&mut [u8]> {
        self.idle_region(region)?;
        let entry = self.regions.get_mut(region.0).ok_or(Error::plain(ErrorCode::InvalidBuffer))?;
        Ok(entry.region.as_mut_slice())
    }

    /// Checks a range of a region and counts one more user of it.
    pub(super) fn use_region(&mut self, region: RegionId, offset: usize, length: usize) -> Result<Work> {
        let entry = self.regions.get_mut(region.0).ok_or_else(|| {
            Error::new(ErrorCode::InvalidBuffer, "the region is not registered with this provider (any more)")
        })?;
        let bytes = entry.region.len();
        let end = offset.checked_add(length).filter(|&end| end <= bytes && u32::try_from(end).is_ok());
        if length == 0 || end.is_none() {
            return Err(Error::new(
                ErrorCode::InvalidBuffer,
                format!("{length} bytes from offset {offset} on are not inside a region of {bytes} bytes"),
            ));
        }
        entry.users += 1;
        Ok(Work::Region { region, offset: offset as u32, length: length as u32 })
    }

    pub(super) fn operations(&self) -> usize {
        self.ops.len()
    }

    /// The drain failed: what the kernel may still touch must never be freed.
    pub(super) fn leak_memory(&mut self) {
        self.pool.leak();
        std::mem::forget(std::mem::replace(&mut self.ops, Slab::with_limit(0)));
        std::mem::forget(std::mem::replace(&mut self.regions, Slab::with_limit(0)));
    }
}

impl Op {
    fn send_length(&self) -> u32 {
        match &self.work {
            Work::Send(buffers) => buffers.len() as u32,
            Work::Region { length, .. } => *length,
            _ => 0,
        }
    }
}

/// The most regions that can be registered at once.
pub(crate) const MAX_REGIONS: u32 = 1024;
