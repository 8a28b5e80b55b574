//! Starting a service: its listeners, its threads, and what each worker is made from.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use fastport_io::{AsyncIoProvider, Backend, Socket, Visitor, with_backend};

use super::builder::ServiceBuilder;
use super::delivery::{Delivery, InlineDelivery, panic_text};
use super::handle::Handle;
use super::handler_pool::{HandlerPool, PoolDelivery, PoolSender};
use super::hub::Hub;
#[cfg(feature = "sim")]
use super::simulate::SimService;
use super::stats::ServiceStats;
use super::worker::Worker;
use super::{Service, StopReport};
use crate::context::Desk;
use crate::error::Error;
use crate::framer::Framer;
use crate::handler::Handler;
use crate::options::{HandlerThreads, ServiceOptions};

impl<M, F: Framer> ServiceBuilder<M, F> {
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
        let SetUp { mut service, plan, listeners } = self.set_up()?;
        let (ready, told) = channel();
        // A service that is dropped stops: so no thread is left behind when one of them cannot start.
        for (index, listeners) in shares(listeners, service.hub.ports.len()).into_iter().enumerate() {
            let launch = service.launch(&plan, index, listeners, &ready, || true);
            service.workers.push(spawn_worker(launch, service.selection.backend)?);
        }
        service.await_workers(&told)?;
        Ok(service)
    }

    /// Does what [`ServiceBuilder::start`] does, with the calling thread as the first worker, until the service has stopped.
    /// `started` is called when clients can connect; it may keep a [`Handle`], by which others stop the service.
    ///
    /// A service of one worker then has no thread of its own: for programs that do nothing else, and for those that need the
    /// worker on a thread that they have set up, with a core or a priority of its choice.
    ///
    /// # Errors
    /// As [`ServiceBuilder::start`]. What happens later is in the report.
    pub fn run<H>(self, started: impl FnOnce(&Service)) -> Result<StopReport, Error>
    where
        M: Fn(usize) -> H + Send + Sync + 'static,
        H: Handler<F>,
    {
        let SetUp { mut service, plan, listeners } = self.set_up()?;
        let (ready, told) = channel();
        let mut shares = shares(listeners, service.hub.ports.len()).into_iter().enumerate();
        let (first, first_listeners) = shares.next().expect("a service has a worker");
        for (index, listeners) in shares {
            let launch = service.launch(&plan, index, listeners, &ready, || true);
            service.workers.push(spawn_worker(launch, service.selection.backend)?);
        }
        let mut start = None;
        let begin = || {
            let all_started = service.await_workers(&told);
            let is_well = all_started.is_ok();
            start = Some(all_started);
            if is_well {
                started(&service);
            }
            is_well
        };
        let launch = service.launch(&plan, first, first_listeners, &ready, begin);
        let aborted = work(launch, service.selection.backend);
        start.unwrap_or_else(|| service.await_workers(&told))?;
        let mut report = service.wait();
        report.aborted += aborted;
        Ok(report)
    }

    /// Does all that comes before the workers.
    fn set_up<H>(self) -> Result<SetUp<M, F>, Error>
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
        let plan = WorkerPlan { options: Arc::new(options), framer, make_handler, hub: Arc::clone(&hub) };
        let service = Service { hub, selection, workers: Vec::new(), pool };
        Ok(SetUp { service, plan, listeners })
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

/// A service that has no workers yet, and what they are made from.
struct SetUp<M, F> {
    service: Service,
    plan: WorkerPlan<M, F>,
    listeners: Vec<Listening>,
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
    fn launch<M, F: Framer, B>(
        &self,
        plan: &WorkerPlan<M, F>,
        index: usize,
        listeners: Vec<Listening>,
        ready: &Sender<Started>,
        begin: B,
    ) -> Launch<M, F, B> {
        let pool = self.pool.as_ref().map(HandlerPool::sender);
        Launch { index, listeners, plan: plan.clone(), pool, ready: ready.clone(), begin }
    }

    /// Waits until each worker has said how its start went.
    fn await_workers(&self, told: &Receiver<Started>) -> Result<(), Error> {
        for _ in &self.hub.ports {
            told.recv().expect("each worker tells, even if it panics")?;
        }
        tracing::info!(
            backend = %self.selection,
            workers = self.hub.ports.len(),
            addresses = ?self.local_addresses(),
            "service started"
        );
        Ok(())
    }
}

fn spawn_worker<M, F, H, B>(launch: Launch<M, F, B>, backend: Backend) -> Result<JoinHandle<u64>, Error>
where
    M: Fn(usize) -> H + Send + Sync + 'static,
    F: Framer,
    H: Handler<F>,
    B: FnOnce() -> bool + Send + 'static,
{
    let name = format!("fastport-{}", launch.index);
    let work = move || work(launch, backend);
    std::thread::Builder::new().name(name.clone()).spawn(work).map_err(|source| Error::Thread { name, source })
}

/// The whole life of a worker. Returns the number of sessions that were cut off.
fn work<M, F, H, B>(launch: Launch<M, F, B>, backend: Backend) -> u64
where
    M: Fn(usize) -> H + Send + Sync + 'static,
    F: Framer,
    H: Handler<F>,
    B: FnOnce() -> bool,
{
    let index = launch.index;
    let hub = Arc::clone(&launch.plan.hub);
    let ready = launch.ready.clone();
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
}

/// How the start of a worker went.
type Started = Result<(), fastport_io::Error>;

/// One worker, before it knows its provider's type.
struct Launch<M, F, B> {
    index: usize,
    listeners: Vec<Listening>,
    plan: WorkerPlan<M, F>,
    pool: Option<PoolSender>,
    ready: Sender<Started>,
    /// Called when it is ready; says whether it is to work.
    begin: B,
}

impl<M, F, H, B> Visitor for Launch<M, F, B>
where
    M: Fn(usize) -> H + Send + Sync + 'static,
    F: Framer,
    H: Handler<F>,
    B: FnOnce() -> bool,
{
    type Output = u64;

    fn visit<P: AsyncIoProvider + 'static>(mut self) -> u64 {
        let _scheduled = match self.plan.options.scheduling.enter() {
            Ok(scheduled) => scheduled,
            Err(error) => return self.give_up(error),
        };
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

impl<M, F: Framer, B: FnOnce() -> bool> Launch<M, F, B> {
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
        if (self.begin)() { worker.run() } else { 0 }
    }

    fn give_up(self, error: fastport_io::Error) -> u64 {
        // If nobody listens any more, another worker has failed before.
        let _ = self.ready.send(Err(error.during(format_args!("worker {}", self.index))));
        0
    }
}
