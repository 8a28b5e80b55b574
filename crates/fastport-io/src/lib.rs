//! Completion-based socket I/O for servers: one trait, [`AsyncIoProvider`], over the best interface that each system has.
//!
//! ```
//! use fastport_io::{AsyncIoProvider, CompletionBatch, ProviderConfig, Result, Visitor, select, with_backend};
//!
//! struct WaitABit;
//! impl Visitor for WaitABit {
//!     type Output = Result<usize>;
//!     fn visit<P: AsyncIoProvider + 'static>(self) -> Result<usize> {
//!         let mut provider = P::open(&ProviderConfig::default())?;
//!         provider.timeout(std::time::Duration::from_millis(1), 42)?;
//!         let mut batch = CompletionBatch::with_capacity(64);
//!         provider.process_completions(&mut batch, None)
//!     }
//! }
//! let selection = select(Default::default(), &ProviderConfig::default())?;
//! assert_eq!(with_backend(selection.backend, WaitABit)??, 1);
//! # Ok::<(), fastport_io::Error>(())
//! ```
//!
//! The contract stands at [`AsyncIoProvider`]; the memory model at [`buffer`].

// Linux has the backends that use most of what they share, so it is there that unused code is looked for.
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, unused_imports, reason = "some backends use less of the shared floor")
)]

pub mod buffer;
pub mod shared;
#[cfg(feature = "sim")]
pub mod sim;
pub mod slab;
pub mod socket;

mod backend;
mod config;
mod error;
mod info;
mod operation;
mod proactor;
mod provider;
mod scheduling;
mod select;
mod stats;
mod sync;
mod waker;

#[cfg(all(unix, any(not(target_os = "linux"), fastport_libkqueue)))]
pub use backend::Kqueue;
#[cfg(all(windows, feature = "rio-test-table"))]
#[doc(hidden)]
pub use backend::use_rio_table;
pub use backend::{COMPILED, Visitor, with_backend};
#[cfg(target_os = "linux")]
pub use backend::{Epoll, IoUring};
#[cfg(windows)]
pub use backend::{Iocp, Rio};
pub use buffer::{
    BufferPool, ByteRing, Lease, PoolBuffer, PoolConfig, PoolStats, ReceiveBuffer, Region, SendBuffer, SendBuffers,
};
pub use config::{
    BusyPoll, EpollOptions, IO_URING_WITHOUT_VARIABLE, IoUringOptions, IocpOptions, ProviderConfig, RioNotification,
    RioOptions,
};
pub use error::{Error, ErrorCode, Rejected, Result};
pub use info::{Backend, Feature, Features, ProviderInfo};
pub use operation::{
    CloseMode, Completion, CompletionBatch, Direction, OpId, OpKind, Payload, RegionId, SendAtOnce, SocketId, Status,
};
pub use provider::AsyncIoProvider;
pub use scheduling::{Scheduled, Scheduling};
pub use select::{BACKEND_VARIABLE, Choice, Selection, is_supported, select, supported};
pub use socket::{KeepAlive, Socket, SocketOptions};
pub use stats::ProviderStats;
pub use waker::Waker;
