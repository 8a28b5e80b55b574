//! What the threads of one service share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::handle::SharedFrame;
use super::mailbox::Mailbox;
use super::slots::SlotTable;
use super::stats::{PublishedStats, ServiceStats};
use crate::framer::Framer;
use crate::options::{Balance, ServiceOptions};
use crate::packet::{PacketId, PayloadTooLarge};

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
    is_stopping: AtomicBool,
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
            is_stopping: AtomicBool::new(false),
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

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Returns false if it was set already.
    pub(crate) fn set_stopping(&self) -> bool {
        !self.is_stopping.swap(true, Ordering::AcqRel)
    }

    /// Keeps the first failure.
    pub(crate) fn report_failure(&self, error: fastport_io::Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
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
