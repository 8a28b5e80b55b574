//! Messages to a session from a thread that is not its worker's: through the mailbox, into the send queue, to the peer.
//!
//! `cargo bench -p fastport --bench mailbox`. The peer reads on a third thread; with two cores that takes part of the rate.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use fastport::{Context, Handler, PacketView, SendError, Service, SessionHandle, SessionOptions, SharedFrame};

const MESSAGES: u64 = 200_000;
const PAYLOAD: [u8; 60] = [7; 60];
const FRAME_BYTES: u64 = 64;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let (found, accepted) = channel();
    let service = Service::builder(move |_worker| Introduce { found: found.clone() })
        .workers(1)
        // Room for a mailbox full of messages behind a full send queue: this thread is faster than the kernel.
        .session_options(SessionOptions { limit_bytes: 64 << 20, ..SessionOptions::default() })
        .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .start()
        .expect("a service");
    let peer = TcpStream::connect(service.local_addresses()[0]).expect("a connection");
    let session = accepted.recv().expect("an accepted session");
    let (report, arrived) = channel();
    std::thread::spawn(move || count_arrivals(peer, &report));

    let frame: SharedFrame = [[0, FRAME_BYTES as u8, 0, 1].as_slice(), &PAYLOAD].concat().into();
    let mut posted = 0;
    let mut group = criterion.benchmark_group("mailbox");
    group.sample_size(10).throughput(Throughput::Elements(MESSAGES));
    let mut measure = |name, send: &dyn Fn() -> Result<(), SendError>| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let begin = Instant::now();
                for _ in 0..iterations * MESSAGES {
                    post(send);
                }
                posted += iterations * MESSAGES;
                while arrived.recv().expect("the peer reads to the end") < posted * FRAME_BYTES {}
                begin.elapsed()
            });
        });
    };
    measure("send", &|| session.send(1, &PAYLOAD));
    measure("send_shared", &|| session.send_shared(SharedFrame::clone(&frame)));
    group.finish();
    // A wake for each message would be a turn for each.
    println!("{posted} messages in {} turns of the worker", service.stats().batches);
    service.stop(Duration::ZERO);
    criterion.final_summary();
}

/// Tells who was accepted.
struct Introduce {
    found: Sender<SessionHandle>,
}

impl Handler for Introduce {
    fn accepted(&mut self, session: &mut Context<'_>) {
        let id = session.id();
        let _ = self.found.send(session.handle().session(id));
    }

    fn packet(&mut self, _session: &mut Context<'_>, _packet: PacketView<'_>) {}
}

/// Sends one message, however long the worker or the peer takes to make room.
fn post(send: &dyn Fn() -> Result<(), SendError>) {
    loop {
        match send() {
            Ok(()) => return,
            Err(SendError::Full) => std::thread::yield_now(),
            Err(error) => panic!("the session lives: {error}"),
        }
    }
}

/// Tells the number of bytes that have come so far, after each read.
fn count_arrivals(mut peer: TcpStream, report: &Sender<u64>) {
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    while let Ok(count @ 1..) = peer.read(&mut buffer) {
        bytes += count as u64;
        if report.send(bytes).is_err() {
            return;
        }
    }
}
