//! Memory that the kernel reads and writes: regions, pools of equal slots, leases on them, and the byte ring.
//!
//! ```text
//! Region      page-aligned memory, zeroed, touched lazily
//!   └ BufferPool   cut into slots of one size, LIFO free list, limits and counts
//!       ├ PoolBuffer   one slot, ours alone: may be written
//!       └ Lease        a range of a slot, shared and immutable: what a receive delivers, what a send may refer to
//! ByteRing    circular byte queue over a pool slot or over memory of its own
//! SendBuffer  bytes that a send operation keeps alive until its completion
//! ReceiveBuffer  memory that a receive operation fills and hands back
//! ```
//!
//! A slot is counted: it returns to its pool when the last lease, ring and operation that refers to it is gone. Freeing
//! memory under the kernel is therefore impossible in safe code, whatever is dropped or forgotten first.

mod pool;
mod region;
mod ring;
mod transfer;

#[cfg(windows)]
pub(crate) use pool::RegionRegistrar;
pub use pool::{BufferPool, Lease, PoolBuffer, PoolConfig, PoolStats};
pub use region::{PAGE_BYTES, Region};
pub use ring::{ByteRing, Reservation};
pub use transfer::{ReceiveBuffer, SendBuffer, SendBuffers};
