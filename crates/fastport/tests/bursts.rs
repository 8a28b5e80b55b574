//! A thousand clients that come at once and go at once, over and over: nothing of them is left.
//!
//! A file of its own, because it counts the descriptors of the process.
#![cfg(target_os = "linux")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use common::{Client, PATIENCE, localhost};
use fastport::{CloseReason, Context, Handler, PacketView, Service, SessionId, SessionStats};
use fastport_io::Choice;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CLIENTS: u64 = 1000;
const BURSTS: u64 = 4;

struct Echo(Arc<AtomicU64>);

impl Handler for Echo {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        session.send(packet.id, packet.payload).unwrap();
    }

    fn closed(&mut self, _: SessionId, _: CloseReason, _: &SessionStats) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn bursts_of_a_thousand_sessions_leave_no_descriptor_session_or_buffer() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    for backend in fastport_io::supported() {
        let closed = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&closed);
        let service = Service::builder(move |_| Echo(Arc::clone(&counter)))
            .backend(Choice::Only(backend))
            .workers(2)
            .listen(localhost())
            .start()
            .unwrap();
        let before = descriptors();
        for burst in 1..=BURSTS {
            let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(service.local_addresses()[0])).collect();
            for client in &mut clients {
                client.send(1, b"all at once");
            }
            for client in &mut clients {
                assert_eq!(client.receive(), (1, b"all at once".to_vec()));
            }
            for (number, client) in clients.into_iter().enumerate() {
                if number % 2 == 0 { client.reset() } else { drop(client) }
            }
            let deadline = Instant::now() + PATIENCE;
            while closed.load(Ordering::Relaxed) < burst * CLIENTS || service.stats().sessions > 0 {
                assert!(Instant::now() < deadline, "{backend}: {:?}", service.stats());
                std::thread::yield_now();
            }
            assert_eq!(descriptors(), before, "{backend}");
        }
        let report = service.stop(PATIENCE);
        assert_eq!((report.failure, report.aborted), (None, 0));
        let stats = report.stats;
        assert_eq!((stats.accepted, stats.refused), (BURSTS * CLIENTS, 0), "{backend}");
        let held = stats.receive_slots_held + stats.send_slots_held + stats.queued_bytes;
        assert_eq!(held, 0, "{backend}: {stats:?}");
        let ended = stats.closed(CloseReason::PeerClosed) + stats.closed(CloseReason::Reset);
        assert_eq!((ended, closed.load(Ordering::Relaxed)), (BURSTS * CLIENTS, BURSTS * CLIENTS), "{backend}");
    }
}
