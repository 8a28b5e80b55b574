//! Setting a service up and starting its threads.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fastport_io::{
    AsyncIoProvider, Backend, Choice, PoolConfig, ProviderConfig, Socket, SocketOptions, Visitor, with_backend,
};

use super::Service;
use super::delivery::{Delivery, InlineDelivery, panic_text};
use super::handle::Handle;
use super::handler_pool::{HandlerPool, PoolDelivery, PoolSender};
use super::hub::Hub;
#[cfg(feature = "sim")]
use super::simulate::SimService;
use super::stats::ServiceStats;
use super::worker::Worker;
use crate::context::{Desk, MAX_HEADER_BYTES};
use crate::error::Error;
use crate::framer::{Framer, PacketFramer};
use crate::handler::Handler;
use crate::limits::Limits;
use crate::options::{Balance, HandlerThreads, ServiceOptions, SessionOptions};

/// Sets a service up; made by [`Service::builder`].
#[derive(Clone, Debug)]
pub struct ServiceBuilder<M, F = PacketFramer> {
    make_handler: M,
    framer: F,
    options: ServiceOptions,
}

impl<M> ServiceBuilder<M> {
    pub(super) fn new(make_handler: M) -> Self {
        Self { make_handler, framer: PacketFramer::default(), options: ServiceOptions::default() }
    }
}

impl<M, F> ServiceBuilder<M, F> {
    /// Cuts streams by another framer. The handler must be one for it.
    #[must_use]
    pub fn framer<G: Framer>(self, framer: G) -> ServiceBuilder<M, G> {
        ServiceBuilder { make_handler: self.make_handler, framer, options: self.options }
    }

    /// Replaces all options.
    #[must_use]
    pub fn options(mut self, options: ServiceOptions) -> Self {
        self.options = options;
        self
    }

    /// See [`ServiceOptions::backend`].
    #[must_use]
    pub fn backend(mut self, backend: Choice) -> Self {
        self.options.backend = backend;
        self
    }

    /// See [`ServiceOptions::workers`].
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.options.workers = workers;
        self
    }

    /// Adds an address to listen on; see [`ServiceOptions::listen`].
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.options.listen.push(address);
        self
    }

    /// See [`ServiceOptions::backlog`].
    #[must_use]
    pub fn backlog(mut self, connections: i32) -> Self {
        self.options.backlog = connections;
        self
    }

    /// See [`ServiceOptions::socket`].
    #[must_use]
    pub fn socket_options(mut self, options: SocketOptions) -> Self {
        self.options.socket = options;
        self
    }

    /// See [`ServiceOptions::session`].
    #[must_use]
    pub fn session_options(mut self, options: SessionOptions) -> Self {
        self.options.session = options;
        self
    }

    /// See [`SessionOptions::idle_limit`].
    #[must_use]
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.options.session.idle_limit = Some(limit);
        self
    }

    /// See [`ServiceOptions::provider`].
    #[must_use]
    pub fn provider(mut self, config: ProviderConfig) -> Self {
        self.options.provider = config;
        self
    }

    /// See [`ServiceOptions::send_pool`].
    #[must_use]
    pub fn send_pool(mut self, config: PoolConfig) -> Self {
        self.options.send_pool = config;
        self
    }

    /// See [`ServiceOptions::batch`].
    #[must_use]
    pub fn batch(mut self, completions: usize) -> Self {
        self.options.batch = Some(completions);
        self
    }

    /// See [`ServiceOptions::max_sessions`].
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.options.max_sessions = sessions;
        self
    }

    /// See [`ServiceOptions::limits`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// See [`ServiceOptions::balance`].
    #[must_use]
    pub fn balance(mut self, balance: Balance) -> Self {
        self.options.balance = balance;
        self
    }

    /// See [`ServiceOptions::handlers`].
    #[must_use]
    pub fn handlers(mut self, threads: HandlerThreads) -> Self {
        self.options.handlers = threads;
        self
    }

    /// See [`ServiceOptions::tick`].
    #[must_use]
    pub fn tick(mut self, period: Duration) -> Self {
        self.options.tick = Some(period);
        self
    }

    /// See [`ServiceOptions::log_period`].
    #[must_use]
    pub fn log_period(mut self, period: Option<Duration>) -> Self {
        self.options.log_period = period;
        self
    }
}

impl<M, F: Framer> ServiceBuilder<M, F> {
    fn check(&self) -> Result<(), Error> {
        self.options.check()?;
        let (workers, session_bytes) = (self.options.workers, self.options.session.limit_bytes);
        self.options.limits.check(workers, session_bytes, self.framer.max_frame_bytes())?;
        let given = self.framer.header_bytes();
        if given > MAX_HEADER_BYTES {
            return Err(Error::Options(format!("a frame header of {given} bytes; the limit is {MAX_HEADER_BYTES}")));
        }
        Ok(())
    }

    /// Chooses the backend, opens the listeners and starts the threads. When this returns, clients can connect.
    ///
    /// # Errors
    /// One line that says what to do: an option out of range, a backend that does not run here, an address in use, a
    /// thread or a provider that the system refuses. Nothing is left running then.
    pub fn start<H>(self) -> Result<Service, Error>
    where
        M: Fn(usize) -> H + Send + Sync + 'static,
        H: Handler<F>,
    {
        self.check()?;
        let Self { make_handler, framer, options } = self;
        let selection = fastport_io::select(options.backend, &options.provider)?;
        for (backend, error) in &selection.passed_over {
            tracing::warn!(%backend, %error, chosen = %selection.backend, "a better backend does not run here");
        }
        let listeners = open_listeners(&options, fastport_io::socket::stream_socket)?;
        let addresses = listeners.iter().map(|listener| listener.address).collect();
        let hub = Arc::new(Hub::new(&options, framer.clone(), addresses));
        let make_handler = Arc::new(make_handler);
        let pool = match options.handlers {
            HandlerThreads::Inline => None,
            HandlerThreads::Pool(threads) => Some(HandlerPool::start(
                threads,
                &Arc::clone(&make_handler),
                &framer,
                &Handle::new(Arc::clone(&hub)),
                options.tick,
            )?),
        };
        let mut service = Service { hub, selection, workers: Vec::new(), pool };
        let plan = WorkerPlan { options: Arc::new(options), framer, make_handler, hub: Arc::clone(&service.hub) };
        // A service that is dropped stops: so no thread is left behind when one of them cannot start.
        service.start_workers(&plan, listeners)?;
        tracing::info!(
            backend = %service.selection,
            workers = service.workers.len(),
            addresses = ?service.local_addresses(),
            "service started"
        );
        Ok(service)
    }
}

#[cfg(feature = "sim")]
impl<M, F: Framer> ServiceBuilder<M, F> {
    /// Sets the service up on a simulated network, without threads: its workers work when they are given a turn.
    ///
    /// # Errors
    /// As [`ServiceBuilder::start`]; also if the handler is to run on threads of its own.
    pub fn simulate<H>(self, network: &fastport_io::sim::SimNetwork) -> Result<SimService, Error>
    where
        M: Fn(usize) -> H,
        H: Handler<F>,
    {
        self.check()?;
        let Self { make_handler, framer, options } = self;
        if options.handlers != HandlerThreads::Inline {
            return Err(Error::Options("a simulation has no threads; handle inline".to_owned()));
        }
        let listeners = open_listeners(&options, |address| network.socket(address))?;
        let addresses = listeners.iter().map(|listener| listener.address).collect();
        let hub = Arc::new(Hub::new(&options, framer.clone(), addresses));
        let plan = WorkerPlan {
            options: Arc::new(options),
            framer,
            make_handler: Arc::new(make_handler),
            hub: Arc::clone(&hub),
        };
        let mut service = SimService::new(network, hub);
        let _entered = network.enter();
        for (index, listeners) in shares(listeners, plan.hub.ports.len()).into_iter().enumerate() {
            let (provider, desk) = plan.prepare::<fastport_io::sim::Sim>(index)?;
            let delivery = InlineDelivery::new((plan.make_handler)(index), &desk);
            service.add(plan.build(index, listeners, provider, desk, delivery, true)?);
        }
        Ok(service)
    }
}

/// A bound listening socket on its way to its worker.
struct Listening {
    socket: Socket,
    address: SocketAddr,
}

fn open_listeners(
    options: &ServiceOptions,
    make_socket: impl Fn(&SocketAddr) -> Result<Socket, fastport_io::Error>,
) -> Result<Vec<Listening>, Error> {
    let open = |address: &SocketAddr| {
        let socket = make_socket(address)?;
        fastport_io::socket::listen(&socket, address, options.backlog, &options.socket)?;
        let address = socket.local_addr().map_err(fastport_io::Error::from)?;
        Ok(Listening { socket, address })
    };
    options.listen.iter().map(open).collect()
}

/// Deals the listeners out among the workers.
fn shares(listeners: Vec<Listening>, workers: usize) -> Vec<Vec<Listening>> {
    let mut shares: Vec<Vec<Listening>> = (0..workers).map(|_| Vec::new()).collect();
    for (number, listener) in listeners.into_iter().enumerate() {
        shares[number % workers].push(listener);
    }
    shares
}

/// What all workers of a service are made from.
struct WorkerPlan<M, F> {
    options: Arc<ServiceOptions>,
    framer: F,
    make_handler: Arc<M>,
    hub: Arc<Hub>,
}

impl<M, F: Clone> Clone for WorkerPlan<M, F> {
    fn clone(&self) -> Self {
        Self {
            options: Arc::clone(&self.options),
            framer: self.framer.clone(),
            make_handler: Arc::clone(&self.make_handler),
            hub: Arc::clone(&self.hub),
        }
    }
}

impl<M, F: Framer> WorkerPlan<M, F> {
    /// A provider and what its worker shares among its sessions.
    fn prepare<P: AsyncIoProvider>(&self, index: usize) -> Result<(P, Desk<F>), fastport_io::Error> {
        let mut provider = P::open(&self.options.provider)?;
        self.hub.ports[index].mailbox.set_waker(provider.waker());
        let desk = Desk {
            framer: self.framer.clone(),
            pool: provider.create_pool(&self.options.send_pool)?,
            receive_pool: provider.receive_pool().clone(),
            options: self.options.session.clone(),
            now: provider.now(),
            dirty: Vec::new(),
            queued_bytes: 0,
            stats: ServiceStats::default(),
            handle: Handle::new(Arc::clone(&self.hub)),
        };
        Ok((provider, desk))
    }

    /// A worker that accepts already.
    fn build<P: AsyncIoProvider, D: Delivery<F>>(
        &self,
        index: usize,
        listeners: Vec<Listening>,
        provider: P,
        desk: Desk<F>,
        delivery: D,
        ticks_itself: bool,
    ) -> Result<Worker<P, F, D>, fastport_io::Error> {
        let hub = Arc::clone(&self.hub);
        let mut worker = Worker::new(index, provider, desk, delivery, hub, &self.options, ticks_itself);
        for Listening { socket, address } in listeners {
            worker.listen(socket, address)?;
        }
        Ok(worker)
    }
}

impl Service {
    fn start_workers<M, F, H>(&mut self, plan: &WorkerPlan<M, F>, listeners: Vec<Listening>) -> Result<(), Error>
    where
        M: Fn(usize) -> H + Send + Sync + 'static,
        F: Framer,
        H: Handler<F>,
    {
        let count = self.hub.ports.len();
        let (ready, started) = channel();
        for (index, listeners) in shares(listeners, count).into_iter().enumerate() {
            let launch = Launch {
                index,
                listeners,
                plan: plan.clone(),
                pool: self.pool.as_ref().map(HandlerPool::sender),
                ready: ready.clone(),
            };
            self.workers.push(spawn_worker(launch, self.selection.backend)?);
        }
        await_all(&started, count)
    }
}

/// Waits until each worker has said how its start went.
fn await_all(started: &Receiver<Result<(), fastport_io::Error>>, count: usize) -> Result<(), Error> {
    for _ in 0..count {
        started.recv().expect("each worker tells, even if it panics")?;
    }
    Ok(())
}

fn spawn_worker<M, F, H>(launch: Launch<M, F>, backend: Backend) -> Result<JoinHandle<u64>, Error>
where
    M: Fn(usize) -> H + Send + Sync + 'static,
    F: Framer,
    H: Handler<F>,
{
    let index = launch.index;
    let hub = Arc::clone(&launch.plan.hub);
    let ready = launch.ready.clone();
    let name = format!("fastport-{index}");
    let work = move || {
        let worked = catch_unwind(AssertUnwindSafe(|| with_backend(backend, launch)));
        let ended = worked.unwrap_or_else(|panic| {
            let text = format!("worker {index} panicked: {}", panic_text(&*panic));
            Err(fastport_io::Error::new(fastport_io::ErrorCode::OperationFailed, text))
        });
        ended.unwrap_or_else(|error| {
            let _ = ready.send(Err(error.clone()));
            hub.ports[index].mailbox.close();
            Handle::new(hub).fail(error);
            0
        })
    };
    std::thread::Builder::new().name(name.clone()).spawn(work).map_err(|source| Error::Thread { name, source })
}

/// One worker, before it knows its provider's type.
struct Launch<M, F> {
    index: usize,
    listeners: Vec<Listening>,
    plan: WorkerPlan<M, F>,
    pool: Option<PoolSender>,
    ready: Sender<Result<(), fastport_io::Error>>,
}

impl<M, F, H> Visitor for Launch<M, F>
where
    M: Fn(usize) -> H + Send + Sync + 'static,
    F: Framer,
    H: Handler<F>,
{
    type Output = u64;

    fn visit<P: AsyncIoProvider + 'static>(mut self) -> u64 {
        let (provider, desk) = match self.plan.prepare::<P>(self.index) {
            Ok(prepared) => prepared,
            Err(error) => return self.give_up(error),
        };
        if let Some(sender) = self.pool.take() {
            let delivery = PoolDelivery::new(sender, &desk);
            return self.run(provider, desk, delivery, false);
        }
        let delivery = InlineDelivery::new((self.plan.make_handler)(self.index), &desk);
        self.run(provider, desk, delivery, true)
    }
}

impl<M, F: Framer> Launch<M, F> {
    fn run<P: AsyncIoProvider, D: Delivery<F>>(
        self,
        provider: P,
        desk: Desk<F>,
        delivery: D,
        ticks_itself: bool,
    ) -> u64 {
        let worker = match self.plan.build(self.index, self.listeners, provider, desk, delivery, ticks_itself) {
            Ok(worker) => worker,
            Err(error) => {
                let _ = self.ready.send(Err(error));
                return 0;
            }
        };
        let _ = self.ready.send(Ok(()));
        worker.run()
    }

    fn give_up(self, error: fastport_io::Error) -> u64 {
        // If nobody listens any more, another worker has failed before.
        let _ = self.ready.send(Err(error.during(format_args!("worker {}", self.index))));
        0
    }
}
