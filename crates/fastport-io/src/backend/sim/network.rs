//! The network as its user holds it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Sim;
use super::handle::SimSocket;
use super::plan::{FaultCounts, FaultPlan};
use super::state::{FOR_EVER, State};
use crate::config::ProviderConfig;
use crate::error::{Error, ErrorCode, Result};
use crate::provider::AsyncIoProvider;
use crate::socket::Socket;

/// A TCP network in memory with a time of its own. Clones are handles to the same network.
///
/// All that happens in it follows from the seed, the plan and the calls that are made, so a run that is driven from one
/// thread repeats exactly. Nothing in it ever takes real time.
///
/// # Time
/// A provider that waits moves the clock on to the next event of the network, or to the end of its wait. If nothing can
/// ever happen, a wait without limit blocks the thread until a [`Waker`](crate::Waker) ends it.
///
/// Several parties on one thread want a scheduler instead: after [`SimNetwork::schedule`], a provider that has nothing to
/// do returns from its wait at once, as if it had been woken, and [`SimNetwork::next_runnable`] and
/// [`SimNetwork::advance`] say whose turn it is:
///
/// ```
/// use fastport_io::sim::{FaultPlan, SimNetwork};
/// use fastport_io::{AsyncIoProvider, CompletionBatch, ProviderConfig};
/// use std::time::Duration;
///
/// let network = SimNetwork::new(7, FaultPlan::default());
/// network.schedule();
/// let mut providers = [network.provider(&ProviderConfig::default())?, network.provider(&ProviderConfig::default())?];
/// for provider in &mut providers {
///     provider.timeout(Duration::from_secs(3600), 0)?;
/// }
/// let mut batch = CompletionBatch::with_capacity(16);
/// while batch.len() < 2 {
///     match network.next_runnable() {
///         // Providers have numbers in the order in which they were opened.
///         Some(number) => {
///             providers[number].process_completions(&mut batch, None)?;
///         }
///         None => assert!(network.advance(), "something is still to happen"),
///     }
/// }
/// # Ok::<(), fastport_io::Error>(())
/// ```
#[derive(Clone)]
pub struct SimNetwork {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// A waker was used.
    woken: Condvar,
}

thread_local! {
    /// The networks that were entered on this thread, the present one last.
    static ENTERED: RefCell<Vec<SimNetwork>> = const { RefCell::new(Vec::new()) };
}

impl SimNetwork {
    /// A network that behaves by `plan`, with all that is random in it drawn from `seed`.
    pub fn new(seed: u64, plan: FaultPlan) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(State::new(seed, plan)), woken: Condvar::new() }) }
    }

    /// Opens a provider on this network.
    ///
    /// # Errors
    /// As [`AsyncIoProvider::open`].
    pub fn provider(&self, config: &ProviderConfig) -> Result<Sim> {
        let _entered = self.enter();
        Sim::open(config)
    }

    /// A fresh socket of this network, for the family of `address`: to listen with, before there is a provider.
    ///
    /// # Errors
    /// `NoResources` if the plan has it so.
    pub fn socket(&self, address: &SocketAddr) -> Result<Socket> {
        let endpoint = self.lock().create(address.is_ipv6())?;
        Ok(SimSocket::new(self.clone(), endpoint).into())
    }

    /// Providers that were ever opened: the number of the next one.
    pub fn providers(&self) -> usize {
        self.lock().participants.len()
    }

    /// Makes this the network of [`AsyncIoProvider::open`] on this thread, for code that is generic over the provider,
    /// until the guard is dropped. Guards are dropped in the reverse order of entering.
    pub fn enter(&self) -> Entered {
        ENTERED.with_borrow_mut(|entered| entered.push(self.clone()));
        Entered { not_send: std::marker::PhantomData }
    }

    /// The network that was entered last on this thread.
    ///
    /// # Errors
    /// `PlatformNotSupported` if there is none.
    pub(super) fn current() -> Result<Self> {
        let current = ENTERED.with_borrow(|entered| entered.last().cloned());
        current.ok_or_else(|| {
            Error::new(
                ErrorCode::PlatformNotSupported,
                "no simulated network was entered on this thread; use SimNetwork::enter or SimNetwork::provider",
            )
        })
    }

    /// Changes how the network behaves from now on.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.lock().plan = plan;
    }

    /// How the network behaves.
    pub fn plan(&self) -> FaultPlan {
        self.lock().plan.clone()
    }

    /// The time in the network.
    pub fn now(&self) -> Instant {
        self.lock().now()
    }

    /// The time in the network since it was made.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.lock().clock_ns)
    }

    /// The counts up to now.
    pub fn stats(&self) -> SimStats {
        let state = self.lock();
        SimStats {
            sockets: state.endpoints.len(),
            open_connections: state.connections.len(),
            connections: state.counts.connections,
            bytes: state.counts.bytes,
            events: state.counts.events,
            calls: state.counts.calls,
            faults: state.faults,
            digest: state.digest(),
        }
    }

    // Scheduling

    /// From now on turns are given by a scheduler; see the type.
    pub fn schedule(&self) {
        self.lock().is_scheduled = true;
    }

    /// The number of a provider that has something to do, any of them if there are several. `None` if all wait.
    pub fn next_runnable(&self) -> Option<usize> {
        let mut state = self.lock();
        let runnable = (0..state.participants.len()).filter(|&provider| state.is_runnable(provider)).count();
        if runnable == 0 {
            return None;
        }
        let chosen = if runnable == 1 { 0 } else { state.random.below(runnable as u64) as usize };
        let chosen = (0..state.participants.len()).filter(|&provider| state.is_runnable(provider)).nth(chosen)?;
        state.participants[chosen].resting_until = None;
        Some(chosen)
    }

    /// Gives a provider no turn for that long, as if its thread slept.
    pub fn pause(&self, provider: usize, time: Duration) {
        let mut state = self.lock();
        let until_ns = state.clock_ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(FOR_EVER));
        state.participants[provider].paused_until = until_ns;
    }

    /// Moves the clock to the next time at which something happens. False if nothing ever will.
    pub fn advance(&self) -> bool {
        let mut state = self.lock();
        let Some(next_ns) = state.next_time_ns() else { return false };
        state.advance_to(next_ns);
        true
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of a test leaves the network as usable as it was.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until a waker was used.
    pub(super) fn wait_for_waker(&self, provider: usize) {
        let state = self.lock();
        let woken = self.shared.woken.wait_while(state, |state| !state.has_changes(provider));
        drop(woken);
    }

    /// A waker of that provider is used.
    pub(super) fn wake(&self, provider: usize) {
        self.lock().participants[provider].is_woken = true;
        self.shared.woken.notify_all();
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl std::fmt::Debug for SimNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SimNetwork").field(&self.stats()).finish()
    }
}

/// Leaves the network again when it is dropped.
#[derive(Debug)]
#[must_use = "the network is left when the guard is dropped"]
pub struct Entered {
    /// It belongs to the thread.
    not_send: std::marker::PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.with_borrow_mut(Vec::pop);
    }
}

/// Counts of a network at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimStats {
    /// Sockets that are open.
    pub sockets: usize,
    /// Connections that are not over: one of their ends is open, or has something under way.
    pub open_connections: usize,
    /// Connections that were ever made.
    pub connections: u64,
    /// Bytes that were received.
    pub bytes: u64,
    /// Things that happened in the network.
    pub events: u64,
    /// Calls of providers.
    pub calls: u64,
    /// Faults that happened.
    pub faults: FaultCounts,
    /// A number that follows from all that has happened. Two runs with the same one were the same.
    pub digest: u64,
}
