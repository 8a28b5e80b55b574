//! What a backend implements: the system's part of the contract, and nothing else.
//!
//! ```text
//!           submit                 start                    system
//!  caller ─────────▶ Proactor ───────────────▶ Driver ──────────────────▶ kernel
//!         ◀───────── (order, lanes, closing,   │  ▲
//!          batches   time-outs, counts)        │  └───── poll ◀────────── kernel
//!                       ▲                      │
//!                       └── Core::finish, … ◀──┘
//! ```

use std::time::{Duration, Instant};

use super::core::Core;
use crate::buffer::{BufferPool, PoolConfig, Region};
use crate::config::ProviderConfig;
use crate::error::Result;
use crate::info::ProviderInfo;
use crate::operation::{OpId, SendAtOnce, SocketId};
use crate::socket::Socket;
use crate::waker::Waker;

/// About how much drivers receive before they let it be handled: what is handled and sent on while it is in the cache costs
/// half of what it costs later. A second-level cache has 1 to 2 MiB.
pub(crate) const BATCH_BYTES: usize = 1 << 20;

/// A backend. The [`super::Proactor`] calls it, always with the [`Core`] that holds operations and sockets.
///
/// For a socket the driver sees at most one started operation in each lane. It reports through the methods of `Core`,
/// from within any of its own: [`Core::finish`] and its kin once for each started operation, after any number of
/// [`Core::deliver_bytes`] and [`Core::deliver_socket`] for a stream.
pub(crate) trait Driver: Sized + 'static {
    /// What the driver keeps for each socket.
    type SocketState: Default;

    /// Sets the backend up. `config` was checked.
    fn open(config: &ProviderConfig) -> Result<Self>;

    /// The pool that receive streams use.
    fn receive_pool(config: &ProviderConfig) -> &PoolConfig {
        &config.receive_pool
    }

    /// A pool whose memory is made known to the system if the backend needs that.
    fn create_pool(&mut self, config: &PoolConfig) -> Result<BufferPool> {
        BufferPool::new(config)
    }

    /// Told once, before anything else: the pool that receive streams use.
    fn set_receive_pool(&mut self, _pool: &BufferPool) -> Result<()> {
        Ok(())
    }

    /// How many streams find a buffer now. Streams that wait for one are let go on in that number.
    fn obtainable_buffers(&self, core: &Core<Self::SocketState>) -> usize {
        core.pool.available()
    }

    fn info(&self) -> &ProviderInfo;

    fn waker(&self) -> &Waker;

    /// The time. A simulated system has its own.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// A socket of the kind that the backend needs.
    fn create_socket(&mut self, address: &std::net::SocketAddr) -> Result<Socket> {
        crate::socket::stream_socket(address)
    }

    /// Whether a socket is one that the backend can work with, before it joins.
    fn check_socket(&self, socket: &Socket) -> Result<()> {
        socket.check_system()
    }

    /// A socket joined: make it known to the system.
    fn attach(&mut self, core: &mut Core<Self::SocketState>, socket: SocketId) -> Result<()>;

    /// A socket is about to leave. None of its operations is started.
    fn detach(&mut self, core: &mut Core<Self::SocketState>, socket: SocketId);

    /// Begins an operation, which is at the head of its lane. Also called to let a parked stream go on.
    fn start(&mut self, core: &mut Core<Self::SocketState>, op: OpId);

    /// See [`AsyncIoProvider::SENDS_AT_ONCE`](crate::AsyncIoProvider::SENDS_AT_ONCE).
    const SENDS_AT_ONCE: usize = 0;

    /// Sends without operations, as much as the system takes: nothing is in flight in the writing lanes of the sockets.
    /// Entries without bytes are passed over.
    #[inline]
    fn send_at_once(&mut self, _core: &mut Core<Self::SocketState>, _sends: &mut [SendAtOnce<'_>]) {}

    /// Asks the system to end a started operation, which is marked as cancelled. The driver finishes it, now or later,
    /// with `Cancelled` or with what it achieved. Called at most once for an operation.
    fn cancel(&mut self, core: &mut Core<Self::SocketState>, op: OpId);

    /// Hands what is queued to the system and returns how many requests that were.
    fn flush(&mut self, core: &mut Core<Self::SocketState>) -> Result<usize>;

    /// Hands what is queued to the system, waits at most `wait` (`None`: for ever) for something to happen, and reports
    /// about `room` completions at most. Returns true if a waker ended the wait. May return early with nothing.
    fn poll(&mut self, core: &mut Core<Self::SocketState>, wait: Option<Duration>, room: usize) -> Result<bool>;

    /// Makes a region known to the system; the number is kept in the core. `None` if it is used like ordinary memory.
    fn register_region(&mut self, _region: &Region) -> Option<u32> {
        None
    }

    /// Undoes it. No operation uses the region.
    fn unregister_region(&mut self, _registration: u32) {}

    /// True if the system uses no memory beyond that of the operations in flight.
    fn is_quiet(&self) -> bool {
        true
    }

    /// The drain on drop failed: leak whatever memory of the driver's own the system may still write.
    fn abandon(&mut self) {}
}
