//! A handler that tells the test what happens, and a service around it.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use fastport::{
    CloseReason, Context, Handle, Handler, PacketView, Refusal, Service, ServiceBuilder, SessionId, SessionStats,
    StopReport,
};
use fastport_io::{Backend, Choice, ErrorCode};

use crate::common::{Client, PATIENCE, localhost};

/// Instantiates tests, functions of the backend, for every backend of this system.
macro_rules! on_every_backend {
    ($($test:ident),* $(,)?) => {
        #[cfg(target_os = "linux")]
        mod io_uring {
            $(#[test] fn $test() { crate::probe::run(fastport_io::Backend::IoUring, super::$test); })*
        }
        #[cfg(target_os = "linux")]
        mod epoll {
            $(#[test] fn $test() { crate::probe::run(fastport_io::Backend::Epoll, super::$test); })*
        }
        #[cfg(all(unix, any(not(target_os = "linux"), fastport_libkqueue)))]
        mod kqueue {
            $(#[test] fn $test() { crate::probe::run(fastport_io::Backend::Kqueue, super::$test); })*
        }
        #[cfg(windows)]
        mod iocp {
            $(#[test] fn $test() { crate::probe::run(fastport_io::Backend::Iocp, super::$test); })*
        }
        #[cfg(windows)]
        mod rio {
            $(#[test] fn $test() { crate::probe::run_emulated(super::$test); })*
        }
    };
}
pub(crate) use on_every_backend;

/// Runs a test on a backend, unless the system forbids the backend: then its absence is what there is to see.
pub(crate) fn run(backend: Backend, test: fn(Choice)) {
    match fastport_io::is_supported(backend) {
        Ok(()) => test(Choice::Only(backend)),
        Err(error) => eprintln!("{backend} does not run here: {error}"),
    }
}

/// Runs a test on Registered I/O over the emulator, which ends the process when a rule of the interface is broken.
#[cfg(windows)]
pub(crate) fn run_emulated(test: fn(Choice)) {
    // SAFETY: the emulator keeps to the interface.
    unsafe { fastport_io::use_rio_table(fastport_rio_emulator::query) };
    fastport_io::is_supported(Backend::Rio).expect("the emulator runs everywhere");
    run(Backend::Rio, test);
}

/// What a handler was told.
#[derive(Debug)]
pub(crate) enum Event {
    Accepted(SessionId),
    Connected(SessionId, u64),
    ConnectFailed(u64, SocketAddr, ErrorCode),
    Refused(Refusal),
    Sent,
    Writable,
    Closed(SessionId, CloseReason, SessionStats),
    Tick,
}

/// What a test does with a packet.
pub(crate) type Act = fn(&mut Context<'_>, PacketView<'_>);

pub(crate) struct Probe {
    events: Sender<Event>,
    act: Act,
    writable: fn(&mut Context<'_>),
    accepted: fn(&mut Context<'_>),
}

impl Probe {
    fn tell(&self, event: Event) {
        // The test may have seen enough.
        let _ = self.events.send(event);
    }
}

impl Handler for Probe {
    fn accepted(&mut self, session: &mut Context<'_>) {
        self.tell(Event::Accepted(session.id()));
        (self.accepted)(session);
    }

    fn connected(&mut self, session: &mut Context<'_>, token: u64) {
        self.tell(Event::Connected(session.id(), token));
        (self.accepted)(session);
    }

    fn connect_failed(&mut self, token: u64, address: SocketAddr, error: &fastport_io::Error) {
        self.tell(Event::ConnectFailed(token, address, error.code()));
    }

    fn refused(&mut self, _: SocketAddr, reason: Refusal) {
        self.tell(Event::Refused(reason));
    }

    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        (self.act)(session, packet);
    }

    fn sent(&mut self, _: &mut Context<'_>, _: usize) {
        self.tell(Event::Sent);
    }

    fn writable(&mut self, session: &mut Context<'_>) {
        self.tell(Event::Writable);
        (self.writable)(session);
    }

    fn closed(&mut self, session: SessionId, reason: CloseReason, stats: &SessionStats) {
        self.tell(Event::Closed(session, reason, *stats));
    }

    fn tick(&mut self, _: Instant) {
        self.tell(Event::Tick);
    }
}

/// Answers with the same packet.
pub(crate) fn echo(session: &mut Context<'_>, packet: PacketView<'_>) {
    session.send(packet.id, packet.payload).unwrap();
}

/// A probe's behaviour; the default echoes.
#[derive(Clone, Copy)]
pub(crate) struct Behaviour {
    pub(crate) act: Act,
    pub(crate) writable: fn(&mut Context<'_>),
    pub(crate) accepted: fn(&mut Context<'_>),
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { act: echo, writable: |_| {}, accepted: |_| {} }
    }
}

/// A running service and what its handlers tell.
pub(crate) struct Fixture {
    service: Service,
    events: Receiver<Event>,
}

/// What makes probes; the builder has a type, so that tests can name it.
pub(crate) type Maker = Box<dyn Fn(usize) -> Probe + Send + Sync>;

impl Fixture {
    /// An echo service on one worker.
    pub(crate) fn echo(backend: Choice) -> Self {
        Self::start(backend, Behaviour::default(), |builder| builder)
    }

    /// A service with one worker and one listener.
    pub(crate) fn start(
        backend: Choice,
        behaviour: Behaviour,
        configure: impl FnOnce(ServiceBuilder<Maker>) -> ServiceBuilder<Maker>,
    ) -> Self {
        let (sender, events) = channel();
        let sender = Mutex::new(sender);
        let Behaviour { act, writable, accepted } = behaviour;
        let make = move |_| Probe { events: sender.lock().unwrap().clone(), act, writable, accepted };
        let builder = Service::builder(Box::new(make) as Maker).backend(backend).workers(1).listen(localhost());
        let service = configure(builder).start().expect("the service starts");
        Self { service, events }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.service.local_addresses()[0]
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        self.service.local_addresses()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    pub(crate) fn handle(&self) -> Handle {
        self.service.handle()
    }

    /// The next event, if it comes in time.
    pub(crate) fn event(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("the handler is called")
    }

    /// Waits for the event that `pick` knows; others are passed over.
    pub(crate) fn wait_for<T>(&self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    if let Some(found) = pick(&event) {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => panic!("no {what}"),
            }
        }
    }

    pub(crate) fn accepted(&self) -> SessionId {
        self.wait_for("accepted session", |event| match event {
            Event::Accepted(session) => Some(*session),
            _ => None,
        })
    }

    pub(crate) fn closed(&self) -> (SessionId, CloseReason, SessionStats) {
        self.wait_for("closed session", |event| match event {
            Event::Closed(session, reason, stats) => Some((*session, *reason, *stats)),
            _ => None,
        })
    }

    pub(crate) fn refused(&self) -> Refusal {
        self.wait_for("refused client", |event| match event {
            Event::Refused(reason) => Some(*reason),
            _ => None,
        })
    }

    /// Waits until the service's counts satisfy a condition.
    pub(crate) fn await_stats(&self, what: &str, condition: impl Fn(&fastport::ServiceStats) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(&self.service.stats()) {
            assert!(Instant::now() < deadline, "not in time: {what}: {:?}", self.service.stats());
            std::thread::yield_now();
        }
    }

    /// Stops the service and checks that it left nothing behind. Returns the report and the events that were not looked at.
    pub(crate) fn stop_with(self, drain_limit: Duration) -> (StopReport, Vec<Event>) {
        let report = self.service.stop(drain_limit);
        assert_eq!(report.failure, None);
        assert_eq!(report.stats.sessions, 0, "no session is left");
        assert_eq!(report.stats.receive_slots_held, 0, "no receive buffer is left");
        assert_eq!(report.stats.send_slots_held, 0, "no send buffer is left");
        (report, self.events.try_iter().collect())
    }

    /// The same for tests that end with their clients gone or going.
    pub(crate) fn stop(self) -> (StopReport, Vec<Event>) {
        self.stop_with(PATIENCE)
    }
}
