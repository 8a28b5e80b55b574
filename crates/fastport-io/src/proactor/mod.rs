//! The contract of [`AsyncIoProvider`], carried out once for all backends.
//!
//! A [`Proactor`] keeps the order of operations, their time limits, their cancellation, the closing of sockets, the counts
//! and the batches; its [`Driver`] knows the system. So a rule of the contract stands in one place, and a backend is small.

mod core;
mod deadlines;
mod driver;
mod lanes;
mod op;
mod regions;
mod report;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub(crate) use self::core::Core;
pub(crate) use self::driver::{BATCH_BYTES, Driver};
pub(crate) use self::op::{Transfer, Work};
pub(crate) use self::regions::MAX_REGIONS;

use crate::buffer::{BufferPool, PoolConfig, ReceiveBuffer, Region, SendBuffers};
use crate::config::{BusyPoll, ProviderConfig};
use crate::error::{Error, ErrorCode, Rejected, Result};
use crate::info::ProviderInfo;
use crate::operation::{CloseMode, CompletionBatch, Direction, OpId, OpKind, RegionId, SendAtOnce, SocketId};
use crate::provider::AsyncIoProvider;
use crate::slab::Key;
use crate::socket::Socket;
use crate::stats::ProviderStats;
use crate::waker::Waker;

/// An [`AsyncIoProvider`] over one driver.
#[allow(private_bounds, reason = "drivers are this crate's own; the types that it exports are aliases of this one")]
pub struct Proactor<D: Driver> {
    // Dropped first: closing the kernel's end ends its use of whatever the core still holds.
    driver: D,
    core: Core<D::SocketState>,
    busy_poll: BusyPoll,
    drain_limit: Duration,
}

/// Stands where an operation belongs to no socket.
const NO_SOCKET: SocketId = SocketId(Key { index: u32::MAX, generation: 0 });

#[allow(private_bounds, reason = "see the type")]
impl<D: Driver> Proactor<D> {
    /// Submits an operation of a lane; `work` was taken from the caller already.
    fn submit(&mut self, kind: OpKind, socket: SocketId, context: u64, work: Work) -> Result<OpId> {
        let (op, at_head) = self.core.insert(kind, socket, context, work)?;
        if at_head {
            self.core.mark_started(op);
            self.driver.start(&mut self.core, op);
        }
        Ok(op)
    }

    fn check(&self, socket: SocketId, kind: OpKind) -> Result<bool> {
        let is_free = self.core.check_lane(socket, kind)?;
        self.core.has_room()?;
        Ok(is_free)
    }

    /// The operation of a send of which a part is out already, or that has failed.
    #[cold]
    fn submit_begun_send(
        &mut self,
        socket: SocketId,
        context: u64,
        buffers: SendBuffers,
        begun: Result<usize>,
    ) -> Result<OpId> {
        let (op, _) = self.core.insert(OpKind::Send, socket, context, Work::Send(buffers))?;
        self.core.mark_started(op);
        match begun {
            Ok(bytes) => {
                self.core.sent(op, bytes as u32);
                self.driver.start(&mut self.core, op);
            }
            Err(error) => self.core.finish(op, Err(error)),
        }
        Ok(op)
    }

    fn request_cancel(&mut self, op: OpId) -> Result<()> {
        if self.core.request_cancel(op)? {
            self.driver.cancel(&mut self.core, op);
        }
        Ok(())
    }

    /// Does what finished operations have made possible: starts the next of their lanes, closes sockets, lets parked
    /// streams go on.
    fn settle(&mut self) {
        while let Some(op) = self.core.next_to_start() {
            self.driver.start(&mut self.core, op);
        }
        while let Some((socket, close)) = self.core.next_to_close() {
            self.driver.detach(&mut self.core, socket);
            // Dropping the entry closes the descriptor.
            drop(self.core.remove_socket(socket));
            self.core.finish(close, Ok(0));
        }
        // A stream that finds no buffer parks again at the end of the line, so each gets one try.
        for _ in 0..self.resumable() {
            let Some(op) = self.core.next_to_resume() else { break };
            self.driver.start(&mut self.core, op);
        }
    }

    /// How many parked streams may try again: no more than there are buffers for, and one if the pool has to grow for it.
    fn resumable(&self) -> usize {
        if !self.core.has_parked() {
            return 0;
        }
        let may_grow = self.core.pool.available().min(1);
        self.core.parked().min(self.driver.obtainable_buffers(&self.core).max(may_grow))
    }

    /// Polls the driver once, sleeping at most `wait`, spinning before if configured.
    fn poll(&mut self, wait: Option<Duration>, room: usize) -> Result<bool> {
        let spin = match self.busy_poll {
            _ if wait == Some(Duration::ZERO) => Duration::ZERO,
            BusyPoll::Off => Duration::ZERO,
            BusyPoll::Spin(limit) => wait.map_or(limit, |wait| wait.min(limit)),
            BusyPoll::Always => wait.unwrap_or(Duration::MAX),
        };
        if spin.is_zero() {
            return self.driver.poll(&mut self.core, wait, room);
        }
        let begin = self.driver.now();
        loop {
            let woken = self.driver.poll(&mut self.core, Some(Duration::ZERO), room)?;
            if woken || self.core.ready() > 0 {
                return Ok(woken);
            }
            let spun = self.driver.now() - begin;
            if spun >= spin {
                let rest = wait.map(|wait| wait.saturating_sub(spun));
                return match self.busy_poll {
                    BusyPoll::Always => Ok(false),
                    _ => self.driver.poll(&mut self.core, rest, room),
                };
            }
            std::hint::spin_loop();
        }
    }

    /// Cancels and closes everything and waits until the kernel let go, at most `drain_limit`. Returns whether it did.
    fn drain(&mut self) -> bool {
        for socket in self.core.all_sockets() {
            if self.close(socket, CloseMode::Graceful, 0).is_ok() {
                continue;
            }
            // It is being closed already, or there is no room for one more operation: then it is closed below.
            for op in self.core.operations_of(socket) {
                let _ = self.request_cancel(op);
            }
        }
        for op in self.core.all_timeouts() {
            let _ = self.request_cancel(op);
        }
        let deadline = self.driver.now() + self.drain_limit;
        loop {
            self.settle();
            while let Some(completion) = self.core.take_ready() {
                drop(completion);
            }
            if self.core.operations() == 0 {
                // Sockets that could not get a close operation because the slab was full.
                for socket in self.core.all_sockets() {
                    self.driver.detach(&mut self.core, socket);
                    drop(self.core.remove_socket(socket));
                }
                if self.driver.is_quiet() {
                    return true;
                }
            }
            let left = deadline.saturating_duration_since(self.driver.now());
            if left.is_zero() {
                return false;
            }
            if let Err(error) = self.driver.poll(&mut self.core, Some(left), usize::MAX) {
                tracing::error!(%error, "provider failed while it was drained");
                return false;
            }
        }
    }
}

impl<D: Driver> AsyncIoProvider for Proactor<D> {
    fn open(config: &ProviderConfig) -> Result<Self> {
        config.check()?;
        let mut driver = D::open(config)?;
        let pool = driver.create_pool(D::receive_pool(config))?;
        driver.set_receive_pool(&pool)?;
        let core = Core::new(pool, config.max_operations, driver.now());
        Ok(Self { driver, core, busy_poll: config.busy_poll, drain_limit: config.drain_limit })
    }

    fn info(&self) -> &ProviderInfo {
        self.driver.info()
    }

    fn stats(&self) -> ProviderStats {
        self.core.stats()
    }

    fn waker(&self) -> Waker {
        self.driver.waker().clone()
    }

    fn now(&self) -> Instant {
        self.core.now()
    }

    fn create_socket(&mut self, address: &SocketAddr) -> Result<Socket> {
        self.driver.create_socket(address)
    }

    fn attach(&mut self, socket: Socket) -> Result<SocketId, Rejected<Socket>> {
        // A closed descriptor is found here, by name, and not by the first operation.
        if let Err(error) = self.driver.check_socket(&socket) {
            return Err(Rejected { error: error.during("cannot attach the socket"), returned: socket });
        }
        let id = self.core.add_socket(socket);
        if let Err(error) = self.driver.attach(&mut self.core, id) {
            let entry = self.core.remove_socket(id).expect("it was added above");
            return Err(Rejected { error: error.during("cannot attach the socket"), returned: entry.socket });
        }
        Ok(id)
    }

    fn detach(&mut self, socket: SocketId) -> Result<Socket> {
        if !self.core.is_idle(socket)? {
            return Err(Error::new(ErrorCode::OperationPending, "the socket has operations in flight"));
        }
        self.driver.detach(&mut self.core, socket);
        let entry = self.core.remove_socket(socket).ok_or(Error::plain(ErrorCode::SocketNotRegistered))?;
        Ok(entry.socket)
    }

    fn socket(&self, socket: SocketId) -> Result<&Socket> {
        let entry = self.core.socket(socket).ok_or(Error::plain(ErrorCode::SocketNotRegistered))?;
        Ok(&entry.socket)
    }

    fn shut_down_socket(&mut self, socket: SocketId, direction: Direction) -> Result<()> {
        self.core.open_socket(socket)?.socket.shutdown(direction)?;
        if let Some(entry) = self.core.socket_mut(socket) {
            entry.write_ended |= direction != Direction::Read;
        }
        Ok(())
    }

    fn close(&mut self, socket: SocketId, mode: CloseMode, context: u64) -> Result<OpId> {
        self.core.open_socket(socket)?;
        self.core.has_room()?;
        let (close, _) = self.core.insert(OpKind::Close, socket, context, Work::Nothing)?;
        for op in self.core.begin_close(socket, mode, close) {
            // It may have finished by the cancellation of another one.
            let _ = self.request_cancel(op);
        }
        Ok(close)
    }

    fn accept(&mut self, listener: SocketId, context: u64) -> Result<OpId> {
        self.check(listener, OpKind::Accept)?;
        self.submit(OpKind::Accept, listener, context, Work::Nothing)
    }

    fn accept_stream(&mut self, listener: SocketId, context: u64) -> Result<OpId> {
        self.check(listener, OpKind::AcceptStream)?;
        self.submit(OpKind::AcceptStream, listener, context, Work::Nothing)
    }

    fn connect(&mut self, socket: SocketId, address: &SocketAddr, context: u64) -> Result<OpId> {
        self.check(socket, OpKind::Connect)?;
        self.submit(OpKind::Connect, socket, context, Work::Connect(Box::new(*address)))
    }

    fn send(&mut self, socket: SocketId, buffers: SendBuffers, context: u64) -> Result<OpId, Rejected<SendBuffers>> {
        let length = buffers.len();
        let checked = match length {
            0 => Err(Error::new(ErrorCode::InvalidBuffer, "there is nothing to send")),
            _ if u32::try_from(length).is_err() => {
                Err(Error::new(ErrorCode::InvalidBuffer, "one send has less than 4 GiB"))
            }
            _ => self.check(socket, OpKind::Send),
        };
        let is_free = match checked {
            Ok(is_free) => is_free,
            Err(error) => return Err(Rejected { error, returned: buffers }),
        };
        // How many sends go out together is not known here, so it must be right for any number.
        let begun = if D::SENDS_AT_ONCE == usize::MAX && is_free {
            // SAFETY: the buffers are held for longer than the call, and nothing else runs on this thread, to which their
            // memory belongs, while it lasts.
            let (first, second) = unsafe { buffers.as_slices() };
            let mut send = SendAtOnce::new(socket, first, second);
            self.driver.send_at_once(&mut self.core, std::slice::from_mut(&mut send));
            send.taken
        } else {
            Ok(0)
        };
        let op = match begun {
            Ok(0) => self.submit(OpKind::Send, socket, context, Work::Send(buffers)),
            Ok(bytes) if bytes == length => {
                self.core.count_sent_at_once(bytes);
                self.core.complete_send(context, bytes as u32)
            }
            begun => self.submit_begun_send(socket, context, buffers, begun),
        };
        Ok(op.expect("room and socket were checked"))
    }

    const SENDS_AT_ONCE: usize = D::SENDS_AT_ONCE;

    #[inline]
    fn send_at_once(&mut self, sends: &mut [SendAtOnce<'_>]) {
        if D::SENDS_AT_ONCE == 0 {
            return;
        }
        for send in sends.iter_mut().filter(|send| !send.first.is_empty()) {
            send.taken = match self.check(send.socket, OpKind::Send) {
                Ok(true) => continue,
                Ok(false) => Ok(0),
                Err(error) => Err(error),
            };
            // The driver passes it over.
            (send.first, send.second) = (&[], &[]);
        }
        self.driver.send_at_once(&mut self.core, sends);
        for send in sends.iter().filter(|send| !send.first.is_empty()) {
            match &send.taken {
                Ok(0) => {}
                Ok(bytes) => {
                    self.core.count_sent_at_once(*bytes);
                    self.core.counters.done_at_once += 1;
                }
                Err(error) => self.core.count_failed_at_once(send.socket, error),
            }
        }
    }

    fn receive(
        &mut self,
        socket: SocketId,
        buffer: ReceiveBuffer,
        context: u64,
    ) -> Result<OpId, Rejected<ReceiveBuffer>> {
        let checked = match buffer.capacity() {
            0 => Err(Error::new(ErrorCode::InvalidBuffer, "the buffer has no room")),
            capacity if u32::try_from(capacity).is_err() => {
                Err(Error::new(ErrorCode::InvalidBuffer, "one receive has less than 4 GiB"))
            }
            _ => self.check(socket, OpKind::Receive),
        };
        if let Err(error) = checked {
            return Err(Rejected { error, returned: buffer });
        }
        Ok(self.submit(OpKind::Receive, socket, context, Work::Receive(buffer)).expect("room and socket were checked"))
    }

    fn receive_stream(&mut self, socket: SocketId, context: u64) -> Result<OpId> {
        self.check(socket, OpKind::ReceiveStream)?;
        self.submit(OpKind::ReceiveStream, socket, context, Work::Nothing)
    }

    fn timeout(&mut self, delay: Duration, context: u64) -> Result<OpId> {
        self.core.has_room()?;
        let now = self.driver.now();
        let deadline = now.checked_add(delay).ok_or_else(|| {
            Error::new(ErrorCode::InvalidArgument, "the timeout lies beyond what the clock can express")
        })?;
        let (op, _) = self.core.insert(OpKind::Timeout, NO_SOCKET, context, Work::Nothing)?;
        self.core.add_deadline(op, deadline);
        Ok(op)
    }

    fn cancel(&mut self, op: OpId) -> Result<()> {
        self.request_cancel(op)
    }

    fn flush(&mut self) -> Result<usize> {
        self.settle();
        self.driver.flush(&mut self.core)
    }

    fn process_completions(&mut self, batch: &mut CompletionBatch, timeout: Option<Duration>) -> Result<usize> {
        let room = batch.room();
        let deadline = match timeout {
            Some(Duration::ZERO) | None => None,
            Some(timeout) => self.driver.now().checked_add(timeout),
        };
        loop {
            self.settle();
            let ready = self.core.ready();
            if ready >= room {
                self.driver.flush(&mut self.core)?;
                self.core.set_now(self.driver.now());
                break;
            }
            let until = match (deadline, self.core.next_deadline()) {
                (Some(first), Some(second)) => Some(first.min(second)),
                (first, second) => first.or(second),
            };
            // No sleep while streams stand in line and there are buffers: those that were let go on may have no data.
            let wait = if ready > 0 || timeout == Some(Duration::ZERO) || self.resumable() > 0 {
                Some(Duration::ZERO)
            } else {
                until.map(|until| until.saturating_duration_since(self.driver.now()))
            };
            let woken = self.poll(wait, room - ready)?;
            self.core.set_now(self.driver.now());
            self.core.expire_timeouts();
            self.settle();
            let expired = deadline.is_some_and(|deadline| deadline <= self.core.now());
            if self.core.ready() > 0 || woken || expired || timeout == Some(Duration::ZERO) {
                break;
            }
        }
        Ok(self.core.hand_over(batch))
    }

    fn receive_pool(&self) -> &BufferPool {
        &self.core.pool
    }

    fn create_pool(&mut self, config: &PoolConfig) -> Result<BufferPool> {
        self.driver.create_pool(config)
    }

    fn register_region(&mut self, region: Region) -> Result<RegionId, Rejected<Region>> {
        if !self.core.regions.has_room() {
            let error = Error::new(
                ErrorCode::NoResources,
                format!("{MAX_REGIONS} regions are registered, which is the maximum; use fewer and larger ones"),
            );
            return Err(Rejected { error, returned: region });
        }
        let registration = self.driver.register_region(&region);
        Ok(self.core.regions.add(region, registration).expect("room was checked"))
    }

    fn unregister_region(&mut self, region: RegionId) -> Result<Region> {
        let (region, registration) = self.core.regions.remove(region)?;
        if let Some(registration) = registration {
            self.driver.unregister_region(registration);
        }
        Ok(region)
    }

    fn region_mut(&mut self, region: RegionId) -> Result<&mut [u8]> {
        self.core.regions.bytes_mut(region)
    }

    fn send_registered(
        &mut self,
        socket: SocketId,
        region: RegionId,
        offset: usize,
        length: usize,
        context: u64,
    ) -> Result<OpId> {
        self.check(socket, OpKind::Send)?;
        self.core.regions.begin_use(region, offset, length)?;
        let work = Work::Region { region, offset: offset as u32, length: length as u32 };
        self.submit(OpKind::Send, socket, context, work)
    }

    fn receive_registered(
        &mut self,
        socket: SocketId,
        region: RegionId,
        offset: usize,
        length: usize,
        context: u64,
    ) -> Result<OpId> {
        self.check(socket, OpKind::Receive)?;
        self.core.regions.begin_use(region, offset, length)?;
        let work = Work::Region { region, offset: offset as u32, length: length as u32 };
        self.submit(OpKind::Receive, socket, context, work)
    }
}

impl<D: Driver> Drop for Proactor<D> {
    fn drop(&mut self) {
        if self.drain() {
            return;
        }
        tracing::error!(
            operations = self.core.operations(),
            limit = ?self.drain_limit,
            "the kernel did not let go of all operations in time; their memory is leaked"
        );
        self.core.leak_memory();
        self.driver.abandon();
    }
}

impl<D: Driver> std::fmt::Debug for Proactor<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proactor").field("info", self.driver.info()).finish_non_exhaustive()
    }
}
