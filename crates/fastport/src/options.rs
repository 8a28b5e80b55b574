//! Everything that can be set on a service, with its defaults and limits.

use std::net::SocketAddr;
use std::time::Duration;

use fastport_io::{Choice, Feature, Features, PoolConfig, ProviderConfig, Scheduling, SocketOptions};

use crate::error::Error;
use crate::limits::Limits;
use crate::session::{MAX_SESSIONS, MAX_WORKERS};

/// How a service is set up. [`ServiceBuilder`](crate::ServiceBuilder) has a method for each field.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceOptions {
    /// Which backend to use; the best that works here by default.
    pub backend: Choice,
    /// I/O threads, 1 ..= 1024; one a core by default.
    pub workers: usize,
    /// Addresses to listen on. Port 0 lets the system choose; [`Service::local_addresses`](crate::Service::local_addresses)
    /// tells.
    pub listen: Vec<SocketAddr>,
    /// Connections that the system keeps for a listener until they are accepted.
    pub backlog: i32,
    /// Options of every connection.
    pub socket: SocketOptions,
    /// Limits of every session.
    pub session: SessionOptions,
    /// Set-up of each worker's provider: queue depth, receive pool, busy polling, io_uring features.
    pub provider: ProviderConfig,
    /// Each worker's pool for what is sent and for frames that arrive in pieces. A slot should hold the largest frame;
    /// larger ones use memory of their own. Idle sessions hold no slot.
    pub send_pool: PoolConfig,
    /// Completions that are handled before their replies are flushed, 1 ..= 65 536; by default what suits the backend:
    /// 256 where one call reaches the kernel for many sessions, and where returning all receive buffers before the kernel
    /// looks for them pays; 16 elsewhere, as then a reply goes out while its session is still in the cache.
    pub batch: Option<usize>,
    /// Sessions at once over all workers, 1 ..= 4 194 304. Further clients are accepted and closed at once.
    pub max_sessions: usize,
    /// What clients may ask of the service; unlimited by default.
    pub limits: Limits,
    /// Which worker gets a new session.
    pub balance: Balance,
    /// Which thread runs the handler.
    pub handlers: HandlerThreads,
    /// How the workers compete with other threads for their cores. [`Scheduling::Batch`] is for machines whose cores are
    /// shared with programs that send to the service, and for throughput: a packet then interrupts nobody, and is handled
    /// with those that follow it (measured in docs/performance.md). A simulation has no threads, and so no use for it.
    pub scheduling: Scheduling,
    /// How often [`Handler::tick`](crate::Handler::tick) is called; never by default. At least 1 ms.
    pub tick: Option<Duration>,
    /// How often a worker logs its pool use and batch statistics at level `debug`, and checks the error rate. An idle
    /// worker, which has nothing new to tell, is not woken for it.
    pub log_period: Option<Duration>,
}

impl Default for ServiceOptions {
    /// Send slots are as large as receive slots, so that the replies to what was received at once go out at once.
    fn default() -> Self {
        let provider = ProviderConfig::default();
        Self {
            backend: Choice::Auto,
            workers: std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS),
            listen: Vec::new(),
            backlog: 1024,
            socket: SocketOptions::default(),
            session: SessionOptions::default(),
            send_pool: PoolConfig { slot_bytes: provider.receive_pool.slot_bytes, initial_slots: 64, max_slots: 4096 },
            provider,
            batch: None,
            max_sessions: 65_536,
            limits: Limits::default(),
            balance: Balance::default(),
            handlers: HandlerThreads::default(),
            scheduling: Scheduling::default(),
            tick: None,
            log_period: Some(Duration::from_secs(60)),
        }
    }
}

/// The default batch where the kernel takes many operations by one call.
const LARGE_BATCH: usize = 256;

/// The default batch where each operation is a call of its own (measured in docs/performance.md).
const SMALL_BATCH: usize = 16;

/// Limits of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Queued bytes from which on a session counts as congested: handles, and under [`Overflow::Refuse`] the handler
    /// too, are told [`SendError::Full`](crate::SendError::Full).
    pub high_water_bytes: usize,
    /// Queued bytes at which a congested session is writable again.
    pub low_water_bytes: usize,
    /// Queued bytes beyond which the session is closed with reason
    /// [`Backpressure`](crate::CloseReason::Backpressure). A single message may be larger.
    pub limit_bytes: usize,
    /// What happens to a message of the handler's when the peer reads too slowly.
    pub overflow: Overflow,
    /// Sessions whose peer sent nothing for this long are closed with reason [`Idle`](crate::CloseReason::Idle); never
    /// by default. At least 10 ms. It is checked lazily: closing may be late by an eighth, at most by a quarter of a
    /// second.
    pub idle_limit: Option<Duration>,
    /// How long a graceful close may take to send what is queued and to see the peer's end of the stream. Then the
    /// connection is reset.
    pub close_limit: Duration,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            high_water_bytes: 1 << 20,
            low_water_bytes: 256 << 10,
            limit_bytes: 4 << 20,
            overflow: Overflow::default(),
            idle_limit: None,
            close_limit: Duration::from_secs(5),
        }
    }
}

/// What happens to a message of the handler's when the peer reads too slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It is queued up to `limit_bytes`; one that goes beyond closes the session. So a handler that does not look at the
    /// result of a send loses no message of a session that lives.
    #[default]
    Close,
    /// It is refused from `high_water_bytes` on, and the handler's `writable` tells when to go on: for handlers that
    /// produce as much as the peer will take.
    Refuse,
}

/// Which worker gets a new session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The one with the fewest sessions.
    #[default]
    LeastLoaded,
    /// One after the other.
    RoundRobin,
}

/// Which thread runs the handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandlerThreads {
    /// The I/O worker itself: nothing is copied and nothing is locked. Right for handlers that never wait.
    #[default]
    Inline,
    /// This many threads, each with a handler of its own. A session stays with one of them, so its packets keep their
    /// order. Right for handlers that compute for long or call something that waits: they hold up each other, not the
    /// I/O.
    Pool(usize),
}

/// How to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// An attempt that took this long has failed.
    pub time_limit: Duration,
    /// Try again after a failure, and connect again after a loss; not by default.
    pub reconnect: Option<Reconnect>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { time_limit: Duration::from_secs(10), reconnect: None }
    }
}

/// When to connect again. The waits double from one attempt to the next and start over once a connection stood.
///
/// A session that the application closes, or that ends with the service, is not connected again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconnect {
    /// The wait before the first new attempt.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// New attempts in a row before it gives up; no limit if `None`.
    pub attempts: Option<u32>,
}

impl Default for Reconnect {
    /// From 100 ms to 30 s, for ever.
    fn default() -> Self {
        Self { first_wait: Duration::from_millis(100), longest_wait: Duration::from_secs(30), attempts: None }
    }
}

impl ServiceOptions {
    /// The shortest tick.
    pub const MIN_TICK: Duration = Duration::from_millis(1);
    /// The shortest idle limit.
    pub const MIN_IDLE_LIMIT: Duration = Duration::from_millis(10);
    /// Operations that a worker may have in flight for each session: a receive stream, a send or connect, a close.
    const OPERATIONS_PER_SESSION: u64 = 3;

    /// Completions to a batch on a provider with these features.
    pub(crate) fn batch_for(&self, features: Features) -> usize {
        self.batch.unwrap_or(if features.has(Feature::Batching) { LARGE_BATCH } else { SMALL_BATCH })
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let session = &self.session;
        let needed = self.max_sessions as u64 * Self::OPERATIONS_PER_SESSION + self.listen.len() as u64 * 2;
        let fault = if !(1..=MAX_WORKERS).contains(&self.workers) {
            format!("{} workers; choose 1 to {MAX_WORKERS}", self.workers)
        } else if !(1..=MAX_SESSIONS).contains(&self.max_sessions) {
            format!("at most {} sessions; choose 1 to {MAX_SESSIONS}", self.max_sessions)
        } else if needed > u64::from(self.provider.max_operations) {
            format!(
                "{} sessions need {needed} operations, the provider is limited to {}; raise provider.max_operations",
                self.max_sessions, self.provider.max_operations
            )
        } else if let Some(batch) = self.batch.filter(|batch| !(1..=65_536).contains(batch)) {
            format!("a batch of {batch}; choose 1 to 65536")
        } else if self.handlers == HandlerThreads::Pool(0) {
            "a pool of no handler threads; choose 1 or more, or handle inline".to_owned()
        } else if session.low_water_bytes > session.high_water_bytes || session.high_water_bytes > session.limit_bytes {
            format!(
                "send queue marks {} / {} / {}; choose low water <= high water <= limit",
                session.low_water_bytes, session.high_water_bytes, session.limit_bytes
            )
        } else if session.limit_bytes > u32::MAX as usize / 2 {
            format!("a send queue of up to {} bytes; choose less than 2 GiB", session.limit_bytes)
        } else if session.idle_limit.is_some_and(|limit| limit < Self::MIN_IDLE_LIMIT) {
            format!("an idle limit below {:?}", Self::MIN_IDLE_LIMIT)
        } else if self.tick.is_some_and(|period| period < Self::MIN_TICK) {
            format!("a tick below {:?}", Self::MIN_TICK)
        } else if self.log_period.is_some_and(|period| period < Duration::from_secs(1)) {
            "a log period below one second".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::Options(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        ServiceOptions::default().check().unwrap();
    }

    #[test]
    fn options_out_of_range_are_refused_with_a_remedy() {
        let base = ServiceOptions::default;
        for (options, words) in [
            (ServiceOptions { workers: 0, ..base() }, "choose 1 to 1024"),
            (ServiceOptions { max_sessions: 4_000_000, ..base() }, "raise provider.max_operations"),
            (ServiceOptions { handlers: HandlerThreads::Pool(0), ..base() }, "handle inline"),
            (
                ServiceOptions {
                    session: SessionOptions { high_water_bytes: 10, ..SessionOptions::default() },
                    ..base()
                },
                "low water <= high water <= limit",
            ),
        ] {
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
