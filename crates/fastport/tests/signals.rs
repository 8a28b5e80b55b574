//! A storm of signals: system calls of the workers are interrupted all the time, and nothing of it shows.
#![cfg(target_os = "linux")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{Client, PATIENCE, localhost, pattern};
use fastport::{Context, Handler, PacketView, Service};
use fastport_io::Choice;

struct Echo;

impl Handler for Echo {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        session.send(packet.id, packet.payload).unwrap();
    }
}

/// Signals that were handled, on whatever thread.
static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Threads of this process whose name begins so.
fn threads(name: &str) -> Vec<libc::pid_t> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap());
    let named = tasks.filter(|task| {
        // A thread may be gone by now.
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.starts_with(name))
    });
    named.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// Sends signals to the workers of a service until it is dropped.
struct Storm {
    is_over: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Storm {
    fn begin(workers: Vec<libc::pid_t>) -> Self {
        // SAFETY: the action is whole, its handler only counts, and without SA_RESTART system calls are interrupted.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as extern "C" fn(libc::c_int) as libc::sighandler_t;
            assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&is_over);
        let sender = std::thread::spawn(move || {
            while !watched.load(Ordering::Relaxed) {
                for &worker in &workers {
                    // SAFETY: a signal with a handler is sent to a thread of this process.
                    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), worker, libc::SIGUSR1) };
                }
                // Not to synchronise: a storm without a pause would leave the workers no time of the processor.
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        Self { is_over, sender: Some(sender) }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            sender.join().unwrap();
        }
    }
}

/// Connects, asks and ends, ten times over.
fn visit(address: std::net::SocketAddr) {
    for round in 0..10 {
        let mut client = Client::connect(address);
        for size in [0, 1, 1000, 60_000] {
            let (id, payload) = client.ask(round, &pattern(size));
            assert!(id == round && payload == pattern(size), "a reply differs from its request");
        }
        client.finish();
        assert!(client.read_to_end().is_empty());
    }
}

#[test]
fn a_storm_of_signals_disturbs_no_session() {
    for backend in fastport_io::supported() {
        let builder = Service::builder(|_| Echo).backend(Choice::Only(backend)).workers(2).listen(localhost());
        let service = builder.start().unwrap();
        let workers = threads("fastport-");
        assert_eq!(workers.len(), 2, "{backend}");
        let before = SIGNALS.load(Ordering::Relaxed);
        let storm = Storm::begin(workers);
        let address = service.local_addresses()[0];
        let clients: Vec<_> = (0..8).map(|_| std::thread::spawn(move || visit(address))).collect();
        for client in clients {
            client.join().unwrap();
        }
        // Workers that wait for nothing in particular are disturbed too.
        let deadline = Instant::now() + PATIENCE;
        while SIGNALS.load(Ordering::Relaxed) < before + 2000 {
            assert!(Instant::now() < deadline, "{backend}: the storm does not come");
            std::thread::yield_now();
        }
        drop(storm);
        visit(address);
        let report = service.stop(PATIENCE);
        assert_eq!((report.failure, report.aborted), (None, 0), "{backend}");
        let stats = report.stats;
        assert_eq!((stats.accepted, stats.packets_received, stats.errors), (90, 360, 0), "{backend}");
        assert_eq!((stats.provider_retries, stats.accept_pauses), (0, 0), "{backend}");
    }
}
