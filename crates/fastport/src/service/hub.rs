//! What the threads of one service share.

use std::net::SocketAddr;
use std::sync::{OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::addresses::Addresses;
use super::handle::SharedFrame;
use super::mailbox::{Command, Mailbox};
use super::slots::SlotTable;
use super::stats::{PublishedStats, ServiceStats};
use crate::framer::Framer;
use crate::limits::Refusal;
use crate::options::{Balance, ServiceOptions};
use crate::packet::{PacketId, PayloadTooLarge};
use crate::sync::{AtomicUsize, Mutex, Ordering};

/// Stands for a drain without a limit that the clock can express.
const LONGEST_DRAIN: Duration = Duration::from_secs(365 * 24 * 3600);

/// The side of a worker that faces other threads.
pub(crate) struct Port {
    pub(crate) mailbox: Mailbox,
    pub(crate) slots: SlotTable,
    pub(crate) stats: PublishedStats,
    /// Sessions on this worker and on their way to it.
    pub(crate) sessions: AtomicUsize,
}

/// One for each service, held by its workers and handles.
pub(crate) struct Hub {
    pub(crate) ports: Box<[Port]>,
    pub(crate) local_addresses: Vec<SocketAddr>,
    /// Encodes for handles, which do not know the framer's type.
    encoder: Box<dyn Encode>,
    balance: Balance,
    next_worker: AtomicUsize,
    /// Sessions on all workers.
    sessions: AtomicUsize,
    max_sessions: usize,
    /// What a session may have on the way to its worker.
    pub(crate) high_water_bytes: usize,
    /// Sessions of clients by address, where these are limited.
    addresses: Option<Addresses>,
    /// How long a graceful close may take.
    close_limit: Duration,
    /// When the stop was asked for.
    stopped_at: OnceLock<Instant>,
    /// The first failure that ended a worker.
    failure: Mutex<Option<fastport_io::Error>>,
}

impl Hub {
    pub(crate) fn new<F: Framer>(options: &ServiceOptions, framer: F, local_addresses: Vec<SocketAddr>) -> Self {
        let port = |_| Port {
            mailbox: Mailbox::default(),
            slots: SlotTable::new(options.max_sessions),
            stats: PublishedStats::default(),
            sessions: AtomicUsize::new(0),
        };
        Self {
            ports: (0..options.workers).map(port).collect(),
            local_addresses,
            encoder: Box::new(framer),
            balance: options.balance,
            next_worker: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            max_sessions: options.max_sessions,
            high_water_bytes: options.session.high_water_bytes,
            addresses: options.limits.sessions_per_address.map(Addresses::new),
            close_limit: options.session.close_limit,
            stopped_at: OnceLock::new(),
            failure: Mutex::new(None),
        }
    }

    /// Counts one more session and chooses its worker; `None` at the limit.
    pub(crate) fn claim_session(&self) -> Option<usize> {
        if self.sessions.fetch_add(1, Ordering::Relaxed) >= self.max_sessions {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let worker = self.choose_worker();
        self.ports[worker].sessions.fetch_add(1, Ordering::Relaxed);
        Some(worker)
    }

    /// Undoes [`Hub::claim_session`] when the session is gone.
    pub(crate) fn release_session(&self, worker: usize) {
        self.ports[worker].sessions.fetch_sub(1, Ordering::Relaxed);
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// The same for a client that has come: its address has a limit of its own.
    pub(crate) fn claim_client(&self, peer: SocketAddr) -> Result<usize, Refusal> {
        if self.addresses.as_ref().is_some_and(|addresses| !addresses.claim(peer)) {
            return Err(Refusal::Address);
        }
        self.claim_session().ok_or_else(|| {
            self.release_address(peer);
            Refusal::Sessions
        })
    }

    /// Undoes [`Hub::claim_client`] when the session is gone.
    pub(crate) fn release_client(&self, worker: usize, peer: SocketAddr) {
        self.release_address(peer);
        self.release_session(worker);
    }

    fn release_address(&self, peer: SocketAddr) {
        if let Some(addresses) = &self.addresses {
            addresses.release(peer);
        }
    }

    fn choose_worker(&self) -> usize {
        let first = self.next_worker.fetch_add(1, Ordering::Relaxed) % self.ports.len();
        match self.balance {
            Balance::RoundRobin => first,
            // Equals take turns, because the search starts at another one each time.
            Balance::LeastLoaded => (0..self.ports.len())
                .map(|offset| (first + offset) % self.ports.len())
                .min_by_key(|&worker| self.ports[worker].sessions.load(Ordering::Relaxed))
                .unwrap_or(first),
        }
    }

    /// Sessions on all workers.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// A whole frame for a payload.
    pub(crate) fn encode(&self, id: PacketId, payload: &[u8]) -> Result<SharedFrame, PayloadTooLarge> {
        self.encoder.encode(id, payload)
    }

    /// Asks all workers to drain for at most `drain_limit` and to end. The first call counts.
    pub(crate) fn stop(&self, drain_limit: Duration) {
        if self.stopped_at.set(Instant::now()).is_err() {
            return;
        }
        let drain_limit = drain_limit.min(LONGEST_DRAIN);
        for port in &self.ports {
            // A worker that has ended needs no order.
            let _ = port.mailbox.order(Command::Stop { drain_limit });
        }
    }

    /// When the stop was asked for, if it was.
    pub(crate) fn stopped_at(&self) -> Option<Instant> {
        self.stopped_at.get().copied()
    }

    /// A worker cannot go on. The service would be incomplete, so all workers drain, for as long as a graceful close may
    /// take, and end. The first failure is kept.
    pub(crate) fn fail(&self, error: fastport_io::Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop(self.close_limit);
    }

    pub(crate) fn failure(&self) -> Option<fastport_io::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn stats(&self) -> ServiceStats {
        let mut sum = ServiceStats::default();
        for port in &self.ports {
            sum.add(&port.stats.read());
        }
        sum
    }
}

/// The part of a [`Framer`] that handles need, callable without its type. The packet path does not come this way.
trait Encode: Send + Sync {
    fn encode(&self, id: PacketId, payload: &[u8]) -> Result<SharedFrame, PayloadTooLarge>;
}

impl<F: Framer> Encode for F {
    fn encode(&self, id: PacketId, payload: &[u8]) -> Result<SharedFrame, PayloadTooLarge> {
        let packet = self.packet(id, payload.len(), |bytes| bytes.copy_from_slice(payload))?;
        Ok(packet.into_shared_frame())
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("workers", &self.ports.len())
            .field("sessions", &self.sessions())
            .finish_non_exhaustive()
    }
}
