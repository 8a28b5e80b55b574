//! A service on a simulated network: the workers of a [`Service`](super::Service), without their threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastport_io::BufferPool;
use fastport_io::sim::{Sim, SimNetwork};

use super::StopReport;
use super::delivery::Delivery;
use super::handle::Handle;
use super::hub::{Hub, Port};
use super::stats::ServiceStats;
use super::worker::{Inbox, Next, Worker};
use crate::framer::Framer;

/// A service whose workers work when they are given a turn, to test handlers on a simulated network (feature `sim`).
///
/// ```
/// use fastport::{Context, Handler, PacketView, Service};
/// use fastport_io::sim::{FaultPlan, SimNetwork};
/// use std::time::Duration;
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
///         let _ = session.send(packet.id, packet.payload);
///     }
/// }
///
/// let network = SimNetwork::new(1, FaultPlan::default());
/// network.schedule();
/// let mut service = Service::builder(|_worker| Echo).workers(1).listen("127.0.0.1:6628".parse()?).simulate(&network)?;
/// service.handle().stop(Duration::from_secs(1));
/// while service.is_running() {
///     match network.next_runnable() {
///         Some(provider) => service.turn(provider),
///         None => assert!(network.advance()),
///     }
/// }
/// assert_eq!(service.finish().aborted, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SimService {
    hub: Arc<Hub>,
    network: SimNetwork,
    /// The number of the first worker's provider; the others follow.
    first_provider: usize,
    /// `None` for one that has ended.
    workers: Vec<Option<Box<dyn Turns>>>,
    pools: Vec<BufferPool>,
    aborted: u64,
    began: Duration,
}

impl SimService {
    pub(super) fn new(network: &SimNetwork, hub: Arc<Hub>) -> Self {
        Self {
            hub,
            network: network.clone(),
            first_provider: network.providers(),
            workers: Vec::new(),
            pools: Vec::new(),
            aborted: 0,
            began: network.elapsed(),
        }
    }

    pub(super) fn add<F: Framer, D: Delivery<F>>(&mut self, worker: Worker<Sim, F, D>) {
        self.pools.extend([worker.desk.receive_pool.clone(), worker.desk.pool.clone()]);
        let inbox = worker.inbox();
        self.workers.push(Some(Box::new(Stepped { worker, inbox })));
    }

    /// Gives the worker with that provider a turn. Does nothing for a worker that has ended, and for the number of a
    /// provider that is none of this service's.
    pub fn turn(&mut self, provider: usize) {
        let Some(index) = provider.checked_sub(self.first_provider) else { return };
        let Some(place) = self.workers.get_mut(index) else { return };
        let port = &self.hub.ports[index];
        let Some(worker) = place else { return };
        match worker.turn(port) {
            Next::Turn => return port.mailbox.rest(),
            Next::TurnAfter(pause) => return self.network.pause(provider, pause),
            Next::End => {}
        }
        self.aborted += place.take().map_or(0, |worker| worker.end(port));
    }

    /// True if that provider is one of this service's workers.
    pub fn owns(&self, provider: usize) -> bool {
        (self.first_provider..self.first_provider + self.workers.len()).contains(&provider)
    }

    /// True until all workers have ended.
    pub fn is_running(&self) -> bool {
        self.workers.iter().any(Option::is_some)
    }

    /// Where it listens, in the order in which the addresses were given.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.hub.local_addresses
    }

    /// A handle.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.hub))
    }

    /// The counts of all workers together.
    pub fn stats(&self) -> ServiceStats {
        self.hub.stats()
    }

    /// The pools of all workers, for each that of what is received and that of what is sent. After the service has ended
    /// no slot of them is held.
    pub fn pools(&self) -> &[BufferPool] {
        &self.pools
    }

    /// Ends the workers that have not ended, without draining, and tells how the service ended. The time is that of the
    /// network, from the set-up on.
    pub fn finish(mut self) -> StopReport {
        for (index, worker) in self.workers.drain(..).enumerate() {
            self.aborted += worker.map_or(0, |worker| worker.end(&self.hub.ports[index]));
        }
        StopReport {
            aborted: self.aborted,
            elapsed: self.network.elapsed().saturating_sub(self.began),
            failure: self.hub.failure(),
            stats: self.hub.stats(),
        }
    }
}

impl std::fmt::Debug for SimService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimService").field("hub", &self.hub).finish_non_exhaustive()
    }
}

/// A worker of any handler.
trait Turns {
    fn turn(&mut self, port: &Port) -> Next;
    fn end(self: Box<Self>, port: &Port) -> u64;
}

struct Stepped<F, D> {
    worker: Worker<Sim, F, D>,
    inbox: Inbox,
}

impl<F: Framer, D: Delivery<F>> Turns for Stepped<F, D> {
    fn turn(&mut self, port: &Port) -> Next {
        self.worker.turn(&mut self.inbox, port)
    }

    fn end(self: Box<Self>, port: &Port) -> u64 {
        self.worker.end(port)
    }
}
