//! The backends. This is the only file that says which system has which.

#[cfg(target_os = "linux")]
mod io_uring;
#[cfg(windows)]
mod iocp;
#[cfg(unix)]
mod readiness;
#[cfg(windows)]
mod rio;
#[cfg(feature = "sim")]
mod sim;
#[cfg(windows)]
mod windows;

use crate::config::ProviderConfig;
use crate::error::{Error, ErrorCode, Result};
use crate::info::Backend;
use crate::provider::AsyncIoProvider;

#[cfg(feature = "sim")]
pub use self::sim::{Entered, Fault, FaultCounts, FaultPlan, Random, Sim, SimNetwork, SimStats};
#[cfg(feature = "sim")]
pub(crate) use self::sim::{SimSocket, Switch};

/// io_uring (Linux 5.6 or newer).
#[cfg(target_os = "linux")]
pub type IoUring = crate::proactor::Proactor<io_uring::IoUringDriver>;

/// epoll (Linux).
#[cfg(target_os = "linux")]
pub type Epoll = crate::proactor::Proactor<readiness::ReadinessDriver<readiness::EpollSelector>>;

/// I/O completion ports (Windows).
#[cfg(windows)]
pub type Iocp = crate::proactor::Proactor<iocp::IocpDriver>;

/// Registered I/O (Windows).
#[cfg(windows)]
pub type Rio = crate::proactor::Proactor<rio::RioDriver>;

#[cfg(all(windows, feature = "rio-test-table"))]
#[doc(hidden)]
pub use rio::use_rio_table;

/// kqueue (macOS, iOS and the BSDs).
#[cfg(all(unix, any(not(target_os = "linux"), fastport_libkqueue)))]
pub type Kqueue = crate::proactor::Proactor<readiness::ReadinessDriver<readiness::KqueueSelector>>;

/// Room for four of the largest frames of most protocols, 64 KiB: one that is cut apart by the end of a slot must be copied.
/// The cache line more keeps slots from starting a power of two apart, where they would compete for the same lines.
#[cfg(not(windows))]
pub(crate) const RECEIVE_SLOT_BYTES: usize = 256 * 1024 + 64;
/// Room for one of the largest frames: Registered I/O locks all slots into physical memory.
#[cfg(windows)]
pub(crate) const RECEIVE_SLOT_BYTES: usize = 66 * 1024;

/// The backends that are compiled in for this system, best first: the order in which `auto` tries them.
pub const COMPILED: &[Backend] = if cfg!(fastport_libkqueue) {
    &[Backend::IoUring, Backend::Epoll, Backend::Kqueue]
} else if cfg!(target_os = "linux") {
    &[Backend::IoUring, Backend::Epoll]
} else if cfg!(windows) {
    &[Backend::Rio, Backend::Iocp]
} else {
    &[Backend::Kqueue]
};

/// Code that is generic over the provider, to be run with the type that a [`Backend`] names.
pub trait Visitor {
    /// What it returns.
    type Output;

    /// Called once, with the provider's type.
    fn visit<P: AsyncIoProvider + 'static>(self) -> Self::Output;
}

/// Runs the visitor with the provider type of `backend`. This is where a run-time choice becomes a type: whatever is
/// behind it is compiled once for each backend and calls no method through a pointer.
///
/// # Errors
/// `PlatformNotSupported` if the backend does not exist on this system.
pub fn with_backend<V: Visitor>(backend: Backend, visitor: V) -> Result<V::Output> {
    match backend {
        #[cfg(target_os = "linux")]
        Backend::IoUring => Ok(visitor.visit::<IoUring>()),
        #[cfg(target_os = "linux")]
        Backend::Epoll => Ok(visitor.visit::<Epoll>()),
        #[cfg(all(unix, any(not(target_os = "linux"), fastport_libkqueue)))]
        Backend::Kqueue => Ok(visitor.visit::<Kqueue>()),
        #[cfg(windows)]
        Backend::Iocp => Ok(visitor.visit::<Iocp>()),
        #[cfg(windows)]
        Backend::Rio => Ok(visitor.visit::<Rio>()),
        #[cfg(feature = "sim")]
        Backend::Sim => Ok(visitor.visit::<Sim>()),
        other => Err(Error::new(
            ErrorCode::PlatformNotSupported,
            format!("{other} does not exist on {}; this system has {}", std::env::consts::OS, names(COMPILED)),
        )),
    }
}

/// Opens a provider and closes it again: whether and why not the backend runs here.
pub(crate) fn probe(backend: Backend, config: &ProviderConfig) -> Result<()> {
    struct Probe<'a>(&'a ProviderConfig);
    impl Visitor for Probe<'_> {
        type Output = Result<()>;
        fn visit<P: AsyncIoProvider + 'static>(self) -> Result<()> {
            P::open(self.0).map(drop)
        }
    }
    let open_and_close = || with_backend(backend, Probe(config))?;
    if backend != Backend::IoUring {
        return open_and_close();
    }
    // The kernel takes a ring down a moment after it was closed, and interrupts the thread that set it up for that: its
    // next call with a time limit would fail with EINTR, in code that knows of no ring. So the trial has a thread of its own.
    std::thread::scope(|scope| {
        match std::thread::Builder::new().name("fastport-trial".to_owned()).spawn_scoped(scope, open_and_close) {
            Ok(trial) => trial.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // Where no thread is to be had, the answer is worth an interruption.
            Err(_) => open_and_close(),
        }
    })
}

/// Backend names, separated by commas.
pub(crate) fn names(backends: &[Backend]) -> String {
    backends.iter().map(|backend| backend.name()).collect::<Vec<_>>().join(", ")
}
