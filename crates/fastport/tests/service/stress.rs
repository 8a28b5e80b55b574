//! Many threads at once, while sessions come and go.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastport::{CloseReason, Context, Handler, HandlerThreads, Packet, PacketId, PacketView, Service, SessionId};
use fastport::{SendError, SessionStats};
use fastport_io::Choice;

use crate::common::{Client, PATIENCE, localhost, pattern};
use crate::probe::on_every_backend;

on_every_backend!(
    senders_race_with_the_ends_of_their_sessions,
    senders_race_with_the_ends_of_their_sessions_and_a_pool_of_handlers,
    services_stop_in_the_middle_of_everything,
);

const SENDERS: usize = 4;
const SENDS_EACH: usize = 100_000;

/// What the handlers of a service see of its sessions.
#[derive(Default)]
struct Register {
    alive: Mutex<Vec<SessionId>>,
    opened: AtomicUsize,
    closed: Mutex<HashSet<SessionId>>,
}

impl Register {
    /// Some session that lived a moment ago.
    fn pick(&self, number: usize) -> Option<SessionId> {
        let alive = self.alive.lock().unwrap();
        alive.get(number % alive.len().max(1)).copied()
    }

    fn check_that_all_have_ended_once(&self) {
        assert!(self.alive.lock().unwrap().is_empty());
        assert_eq!(self.closed.lock().unwrap().len(), self.opened.load(Ordering::Relaxed));
    }
}

struct Registering(Arc<Register>);

impl Handler for Registering {
    fn accepted(&mut self, session: &mut Context<'_>) {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        self.0.alive.lock().unwrap().push(session.id());
    }

    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        // The other senders may have filled the queue.
        let _ = session.send(packet.id, packet.payload);
    }

    fn closed(&mut self, session: SessionId, _: CloseReason, _: &SessionStats) {
        self.0.alive.lock().unwrap().retain(|&alive| alive != session);
        assert!(self.0.closed.lock().unwrap().insert(session), "{session} was closed twice");
    }
}

fn start(backend: Choice, handlers: HandlerThreads) -> (Service, Arc<Register>) {
    let register = Arc::new(Register::default());
    let shared = Arc::clone(&register);
    let service = Service::builder(move |_| Registering(Arc::clone(&shared)))
        .backend(backend)
        .workers(2)
        .handlers(handlers)
        .listen(localhost())
        .start()
        .unwrap();
    (service, register)
}

/// Connects again and again, asks, and ends each time in another way.
fn come_and_go(address: std::net::SocketAddr, is_over: &AtomicBool) {
    for round in 0_usize.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        // Others send to this session too, and may end it, even before it is known here.
        let Ok(mut client) = Client::try_connect(address) else { continue };
        let _ = std::io::Write::write_all(&mut client.stream, &crate::common::frame(1, &pattern(round % 3000)));
        if round % 4 != 0 {
            let _ = client.try_receive();
        }
        if round % 3 == 0 {
            client.reset();
        }
    }
}

fn send(service: &Service, register: &Register, sender: usize) {
    let handle = service.handle();
    let large = Packet::new(PacketId(2), &pattern(5000)).unwrap().into_shared_frame();
    for number in 0..SENDS_EACH {
        let Some(session) = register.pick(number * SENDERS + sender) else {
            std::thread::yield_now();
            continue;
        };
        let sent = match number % 500 {
            0 => {
                handle.broadcast(&[session, session], &large);
                Ok(())
            }
            1 => {
                handle.close(session);
                Ok(())
            }
            2 => {
                handle.abort(session);
                Ok(())
            }
            _ => handle.send(session, 3, b"from another thread"),
        };
        assert!(matches!(sent, Ok(()) | Err(SendError::Full | SendError::Closed)), "{sent:?}");
    }
}

fn race(backend: Choice, handlers: HandlerThreads) {
    let (service, register) = start(backend, handlers);
    let address = service.local_addresses()[0];
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| come_and_go(address, &is_over));
        }
        let (service, register) = (&service, &register);
        let senders: Vec<_> = (0..SENDERS).map(|sender| scope.spawn(move || send(service, register, sender))).collect();
        for sender in senders {
            sender.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let report = service.stop(PATIENCE);
    assert_eq!(report.failure, None);
    assert_eq!((report.stats.sessions, report.stats.receive_slots_held, report.stats.send_slots_held), (0, 0, 0));
    register.check_that_all_have_ended_once();
}

fn senders_race_with_the_ends_of_their_sessions(backend: Choice) {
    race(backend, HandlerThreads::Inline);
}

fn senders_race_with_the_ends_of_their_sessions_and_a_pool_of_handlers(backend: Choice) {
    race(backend, HandlerThreads::Pool(2));
}

fn services_stop_in_the_middle_of_everything(backend: Choice) {
    for (round, drain_ms) in [0, 0, 1, 5, 20].into_iter().enumerate() {
        let handlers = if round % 2 == 0 { HandlerThreads::Inline } else { HandlerThreads::Pool(2) };
        let (service, register) = start(backend, handlers);
        let clients: Vec<Client> = (0..20).map(|_| Client::connect(service.local_addresses()[0])).collect();
        let stream: Vec<u8> = (0..50).flat_map(|id| crate::common::frame(id, &pattern(2000))).collect();
        for client in &clients {
            std::io::Write::write_all(&mut &client.stream, &stream).unwrap();
        }
        let report = service.stop(Duration::from_millis(drain_ms));
        assert_eq!(report.failure, None);
        assert_eq!((report.stats.sessions, report.stats.receive_slots_held, report.stats.send_slots_held), (0, 0, 0));
        register.check_that_all_have_ended_once();
    }
}
