//! The contract that every backend keeps.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::buffer::{BufferPool, PoolConfig, ReceiveBuffer, Region, SendBuffers};
use crate::config::ProviderConfig;
use crate::error::{Rejected, Result};
use crate::info::ProviderInfo;
use crate::operation::{CloseMode, CompletionBatch, Direction, OpId, RegionId, SendAtOnce, SocketId};
use crate::socket::Socket;
use crate::stats::ProviderStats;
use crate::waker::Waker;

/// Completion-based socket I/O: operations are submitted, completions come back.
///
/// # Operations
/// Every call that returns an [`OpId`] accepted an operation, and for each accepted operation there is **exactly one final
/// completion** (`more == false`), with the 64-bit `context` that was given. A call that returns an error accepted nothing,
/// and gives back what it was handed ([`Rejected`]). Completions of an operation never arrive inside the call that
/// submitted it, only through [`process_completions`](Self::process_completions).
///
/// Streams complete many times: each step has `more == true`, the last one has not. A receive stream ends by a completion
/// of 0 bytes (end of file) or by an error; an accept stream ends by an error only, and may be started again. Where the
/// kernel ends a stream for reasons of its own (a full queue, no buffer), the provider goes on by itself.
///
/// # Order
/// A socket has two lanes: one for connect and sends, one for accepts and receives. In each lane operations are carried out
/// one after another in the order of their submission; the lanes are independent. So sends may be queued, even behind a
/// connect, and their bytes go out in order. A stream never leaves its lane, so nothing can be queued behind it
/// (`OperationPending`). Between sockets there is no order, except that timeouts complete in the order of their deadlines.
///
/// # Sends and receives
/// A send succeeds when the system has taken **all** its bytes; partial sends are continued by the provider. If it fails or
/// is cancelled midway, an unknown part was sent, the stream is broken, and the socket is only good for closing. A one-shot
/// receive completes with what is there, at least one byte, 0 for end of file. **End of file is reported by a receive of 0
/// only; a reset is an error on every backend.** A dead peer never raises a signal.
///
/// # Buffers
/// From submission to final completion the memory of an operation belongs to the provider; it can be neither freed nor
/// borrowed, whatever is dropped or forgotten. A receive stream takes its buffers from [`receive_pool`](Self::receive_pool)
/// only when data is there, so a silent socket holds none. When all are held, streams wait in line and go on, oldest first,
/// as leases are dropped; nothing is lost and none starves.
///
/// # Cancellation
/// [`cancel`](Self::cancel) asks; the operation then completes soon, with `Cancelled` or with whatever it achieved before:
/// a late connection or late data is **delivered**, never dropped. Cancelling an operation that is finished is a harmless
/// error. Closing a socket cancels all its operations in the same way, then closes the descriptor, then completes the close
/// itself; so the completion of a close is the last one of its socket.
///
/// # Threads
/// A provider belongs to the thread that opened it (it is `!Send`: an io_uring with `SINGLE_ISSUER` answers only that
/// thread). Other threads reach it by its [`Waker`] and by a [`crate::shared::Remote`].
///
/// # Dropping
/// Dropping a provider cancels everything, waits up to `drain_limit` for the kernel to let go, closes all sockets and frees
/// the memory. If the kernel does not let go in time, the memory it may still write is leaked and an error is logged.
///
/// # Errors
/// Dead ids give `SocketNotRegistered`, a closing socket `InvalidSocket`, empty or outlying ranges
/// `InvalidBuffer`, too many operations `NoResources`. Errors of a connection arrive in completions.
pub trait AsyncIoProvider: Sized {
    /// Up to how many sends that go out together are better made by [`send_at_once`](Self::send_at_once) than queued: all,
    /// where the system sends by a call of its own (epoll, kqueue); one on io_uring, where the call for it costs less than an
    /// entry in either queue and the turn that its completion takes; none elsewhere.
    const SENDS_AT_ONCE: usize = 0;

    /// Sets the backend up, with the best features that this system grants.
    ///
    /// # Errors
    /// `InvalidArgument` for a configuration out of range; `PlatformNotSupported` or the system's error, with a sentence
    /// about what to do, if the backend cannot run here.
    fn open(config: &ProviderConfig) -> Result<Self>;

    /// What this provider is and can do.
    fn info(&self) -> &ProviderInfo;

    /// The counts up to now.
    fn stats(&self) -> ProviderStats;

    /// A handle that ends waits from any thread.
    fn waker(&self) -> Waker;

    /// The time at which the latest batch was collected: read once a batch, to be used instead of asking again.
    fn now(&self) -> Instant;

    // Sockets

    /// A TCP socket for the family of `address` of the kind that this backend needs (Registered I/O wants a flag of its
    /// own). It is not attached yet.
    fn create_socket(&mut self, address: &SocketAddr) -> Result<Socket>;

    /// Hands a socket over to the provider: a listener, a connected socket, or a fresh one to connect.
    ///
    /// # Errors
    /// The socket comes back with the reason: it is no socket, or the system or the provider is at a limit.
    fn attach(&mut self, socket: Socket) -> Result<SocketId, Rejected<Socket>>;

    /// Takes a socket back, open.
    ///
    /// # Errors
    /// `OperationPending` while one of its operations is in flight.
    fn detach(&mut self, socket: SocketId) -> Result<Socket>;

    /// Looks at an attached socket: its addresses and options. Reading, writing or closing it by other means breaks the
    /// order of its operations, nothing else.
    fn socket(&self, socket: SocketId) -> Result<&Socket>;

    /// Ends one or both directions of a connection at once (`shutdown(2)`). Data accepted before is still delivered.
    fn shut_down_socket(&mut self, socket: SocketId, direction: Direction) -> Result<()>;

    /// Cancels the socket's operations, waits for their completions, then closes it. From now on the socket takes no
    /// operation.
    fn close(&mut self, socket: SocketId, mode: CloseMode, context: u64) -> Result<OpId>;

    // Operations

    /// Accepts one connection on a listening socket.
    fn accept(&mut self, listener: SocketId, context: u64) -> Result<OpId>;

    /// Accepts connections until cancelled or until an error (`EMFILE`, say) ends the stream.
    fn accept_stream(&mut self, listener: SocketId, context: u64) -> Result<OpId>;

    /// Connects a socket. There is no time limit but the system's; submit a timeout and cancel, or close, for a shorter one.
    fn connect(&mut self, socket: SocketId, address: &SocketAddr, context: u64) -> Result<OpId>;

    /// Sends one or two buffers, whole and in order.
    #[allow(clippy::result_large_err, reason = "a refused send gives its buffers back; boxing them would allocate")]
    fn send(&mut self, socket: SocketId, buffers: SendBuffers, context: u64) -> Result<OpId, Rejected<SendBuffers>>;

    /// Sends as much of each entry's `first`, then of its `second`, as the system takes without waiting, and writes down how
    /// many bytes that were. These are no operations: nothing is borrowed after the call, and no completion follows. What was
    /// not taken is to be sent by [`send`](Self::send).
    ///
    /// 0 if the system takes nothing now, if sends of this socket are in flight, whose bytes come first, if `send` would not
    /// copy so many, or if the backend has no such call ([`SENDS_AT_ONCE`](Self::SENDS_AT_ONCE)).
    ///
    /// Many entries cost less than as many calls where the system takes several sends by one call ([`Feature::Batching`] of
    /// epoll).
    ///
    /// # Errors
    /// In the entries: those of a refused `send`, and those that its completion would tell.
    ///
    /// [`Feature::Batching`]: crate::Feature::Batching
    fn send_at_once(&mut self, _sends: &mut [SendAtOnce<'_>]) {}

    /// Receives once into a buffer, which comes back in the completion.
    fn receive(
        &mut self,
        socket: SocketId,
        buffer: ReceiveBuffer,
        context: u64,
    ) -> Result<OpId, Rejected<ReceiveBuffer>>;

    /// Receives until the end of the stream, each time into a pool buffer that the completion leases to the caller.
    fn receive_stream(&mut self, socket: SocketId, context: u64) -> Result<OpId>;

    /// Completes successfully after `delay`; timeouts complete in the order of their deadlines.
    fn timeout(&mut self, delay: Duration, context: u64) -> Result<OpId>;

    /// Asks for the end of an operation; see *Cancellation* above.
    ///
    /// # Errors
    /// `OperationFailed` if there is no such operation (any more), or if it is a close, which cannot be undone.
    fn cancel(&mut self, op: OpId) -> Result<()>;

    /// Submits what is queued to the kernel, in one call where the backend can, and returns how many operations that were.
    /// [`process_completions`](Self::process_completions) does so by itself.
    fn flush(&mut self) -> Result<usize>;

    /// Submits what is queued, waits for completions, and appends them to `batch` as far as it has room. Those that do not
    /// fit stay and come with the next call.
    ///
    /// `Some(ZERO)` polls, `None` waits for ever, otherwise at most that long. Returns how many were appended: 0 when the
    /// time is up, when a [`Waker`] ended the wait, or when `batch` was full already.
    ///
    /// # Errors
    /// Only if the provider itself failed.
    fn process_completions(&mut self, batch: &mut CompletionBatch, timeout: Option<Duration>) -> Result<usize>;

    // Memory

    /// The pool that receive streams take their buffers from.
    fn receive_pool(&self) -> &BufferPool;

    /// A pool whose memory is registered where the backend profits from it, for what is sent.
    fn create_pool(&mut self, config: &PoolConfig) -> Result<BufferPool>;

    /// Makes a region known to the kernel (io_uring fixed buffers, Registered I/O) or, elsewhere, just to the provider.
    ///
    /// # Errors
    /// The region comes back if the provider is at its limit of regions.
    fn register_region(&mut self, region: Region) -> Result<RegionId, Rejected<Region>>;

    /// Takes a region back.
    ///
    /// # Errors
    /// `OperationPending` while an operation uses it; `InvalidBuffer` for a dead id.
    fn unregister_region(&mut self, region: RegionId) -> Result<Region>;

    /// The bytes of a registered region, while no operation uses it (`OperationPending`).
    fn region_mut(&mut self, region: RegionId) -> Result<&mut [u8]>;

    /// Sends `length` bytes from `offset` on out of a registered region.
    fn send_registered(
        &mut self,
        socket: SocketId,
        region: RegionId,
        offset: usize,
        length: usize,
        context: u64,
    ) -> Result<OpId>;

    /// Receives once into `length` bytes from `offset` on of a registered region.
    fn receive_registered(
        &mut self,
        socket: SocketId,
        region: RegionId,
        offset: usize,
        length: usize,
        context: u64,
    ) -> Result<OpId>;

    /// Posts sends until one is refused, and returns how many were posted; the refused one and all after it stay in
    /// `sends`.
    fn send_batch(&mut self, sends: &mut Vec<(SocketId, SendBuffers, u64)>) -> usize {
        let mut posted = 0;
        let mut waiting = std::mem::take(sends).into_iter();
        for (socket, buffers, context) in waiting.by_ref() {
            if let Err(rejected) = self.send(socket, buffers, context) {
                sends.push((socket, rejected.returned, context));
                break;
            }
            posted += 1;
        }
        sends.extend(waiting);
        posted
    }

    /// Posts receives until one is refused, and returns how many were posted; the refused one and all after it stay in
    /// `receives`.
    fn receive_batch(&mut self, receives: &mut Vec<(SocketId, ReceiveBuffer, u64)>) -> usize {
        let mut posted = 0;
        let mut waiting = std::mem::take(receives).into_iter();
        for (socket, buffer, context) in waiting.by_ref() {
            if let Err(rejected) = self.receive(socket, buffer, context) {
                receives.push((socket, rejected.returned, context));
                break;
            }
            posted += 1;
        }
        receives.extend(waiting);
        posted
    }
}
