//! The service: workers that each own a provider and its sessions, and the handles that reach them.

mod acceptor;
mod addresses;
mod builder;
mod connector;
mod delivery;
mod handle;
mod handler_pool;
mod hub;
mod mailbox;
mod recovery;
mod seats;
#[cfg(feature = "sim")]
mod simulate;
mod slots;
mod start;
mod stats;
#[cfg(all(test, fastport_loom))]
mod threads;
mod watching;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastport_io::{Backend, Error, Selection};

pub use builder::ServiceBuilder;
pub use handle::{Handle, SessionHandle, SharedFrame};
#[cfg(feature = "sim")]
pub use simulate::SimService;
pub use stats::ServiceStats;

pub(crate) use mailbox::Command;

use self::handler_pool::HandlerPool;
use self::hub::Hub;

/// A running service. It stops when it is dropped, without draining; [`Service::stop`] drains.
///
/// ```no_run
/// use fastport::{Context, Handler, PacketView, Service};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
///         let _ = session.send(packet.id, packet.payload);
///     }
/// }
///
/// let service = Service::builder(|_worker| Echo).listen("127.0.0.1:6628".parse()?).start()?;
/// println!("listening on {:?}", service.local_addresses());
/// service.wait();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Service {
    hub: Arc<Hub>,
    selection: Selection,
    /// Each returns the number of sessions that it had to cut off.
    workers: Vec<JoinHandle<u64>>,
    /// Declared after the workers and emptied after them: its threads end when no worker sends any more.
    pool: Option<HandlerPool>,
}

/// How a service ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StopReport {
    /// Sessions that were still open when the time for draining was over, and were reset.
    pub aborted: u64,
    /// How long the end took.
    pub elapsed: Duration,
    /// What made the service stop by itself, if it did.
    pub failure: Option<Error>,
    /// The final counts.
    pub stats: ServiceStats,
}

impl Service {
    /// Begins to set a service up. `make_handler` is called on each worker, or on each handler thread of a pool, with its
    /// number, and makes the handler that lives there.
    pub fn builder<M, H>(make_handler: M) -> ServiceBuilder<M>
    where
        M: Fn(usize) -> H + Send + Sync + 'static,
    {
        ServiceBuilder::new(make_handler)
    }

    /// Where it listens, in the order in which the addresses were given.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.hub.local_addresses
    }

    /// The backend in use.
    pub const fn backend(&self) -> Backend {
        self.selection.backend
    }

    /// The backend in use, and why better ones were passed over.
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// A handle, for any thread.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.hub))
    }

    /// The counts of all workers together, at most one batch old.
    pub fn stats(&self) -> ServiceStats {
        self.hub.stats()
    }

    /// Stops accepting, lets sessions send what is queued and end for at most `drain_limit`, resets the rest, and waits for
    /// the threads.
    pub fn stop(self, drain_limit: Duration) -> StopReport {
        self.handle().stop(drain_limit);
        self.wait()
    }

    /// Waits until the service has stopped: by [`Handle::stop`], or because a provider failed.
    pub fn wait(mut self) -> StopReport {
        self.join()
    }

    fn join(&mut self) -> StopReport {
        let mut aborted = 0;
        for worker in self.workers.drain(..) {
            aborted += worker.join().expect("a worker catches its panics");
        }
        drop(self.pool.take());
        let begin = self.hub.stopped_at();
        StopReport {
            aborted,
            elapsed: begin.map_or(Duration::ZERO, |begin: Instant| begin.elapsed()),
            failure: self.hub.failure(),
            stats: self.hub.stats(),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.workers.is_empty() {
            return;
        }
        self.hub.stop(Duration::ZERO);
        self.join();
    }
}
