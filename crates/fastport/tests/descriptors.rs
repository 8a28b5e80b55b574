//! A process that runs out of descriptors serves whom it can, refuses the rest at once, and does not spin.
//!
//! The service runs in a child process with a limit of its own.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Client, PATIENCE, localhost};
use fastport::{Context, Handler, PacketView, Service};
use fastport_io::{Backend, Choice};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Names the backend to the child.
const CHILD: &str = "FASTPORT_TEST_DESCRIPTORS";
const DESCRIPTORS: u64 = 64;
const CLIENTS: usize = 200;

struct Echo;

impl Handler for Echo {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        session.send(packet.id, packet.payload).unwrap();
    }
}

/// Answers each line with the counts of the moment.
fn serve(backend: &str) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum }).unwrap();
    let service = Service::builder(|_| Echo)
        .backend(backend.parse::<Choice>().unwrap())
        .workers(1)
        .listen(localhost())
        .start()
        .unwrap();
    println!("listening {}", service.local_addresses()[0]);
    for _ in std::io::stdin().lines().map_while(Result::ok) {
        let stats = service.stats();
        println!("counts {} {} {} {}", stats.sessions, stats.accepted, stats.refused, stats.batches);
    }
    assert_eq!(service.stop(Duration::ZERO).failure, None);
}

struct Server {
    child: Child,
    address: SocketAddr,
    orders: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Counts {
    sessions: usize,
    accepted: usize,
    refused: usize,
    batches: usize,
}

impl Server {
    fn start(backend: Backend) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_service_without_descriptors_refuses_and_recovers", "--nocapture"])
            .env(CHILD, backend.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("listening ")?.1.parse().ok())
            .expect("the child tells its address");
        Self { orders: child.stdin.take(), child, address, lines }
    }

    fn counts(&mut self) -> Counts {
        writeln!(self.orders.as_mut().unwrap()).unwrap();
        let line = self.lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("counts ")).unwrap();
        let numbers: Vec<usize> = line.split_whitespace().skip(1).map(|word| word.parse().unwrap()).collect();
        Counts { sessions: numbers[0], accepted: numbers[1], refused: numbers[2], batches: numbers[3] }
    }

    fn await_counts(&mut self, what: &str, condition: impl Fn(&Counts) -> bool) -> Counts {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counts = self.counts();
            if condition(&counts) {
                return counts;
            }
            assert!(Instant::now() < deadline, "not in time: {what}: {counts:?}");
            std::thread::yield_now();
        }
    }

    fn stop(mut self) {
        drop(self.orders.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// Splits the clients into those that are served and the number of those that were refused.
fn served(clients: Vec<Client>) -> (Vec<Client>, usize) {
    let all = clients.len();
    let served: Vec<Client> = clients
        .into_iter()
        .filter_map(|mut client| {
            // A refused client may be reset before it has written.
            let _ = client.stream.write_all(&common::frame(1, b"anyone?"));
            client.try_receive().is_ok().then_some(client)
        })
        .collect();
    let refused = all - served.len();
    (served, refused)
}

#[test]
fn a_service_without_descriptors_refuses_and_recovers() {
    if let Ok(backend) = std::env::var(CHILD) {
        return serve(&backend);
    }
    for backend in fastport_io::supported() {
        let mut server = Server::start(backend);
        let clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(server.address)).collect();
        let (mut served_clients, refused) = served(clients);
        assert!(served_clients.len() >= 32, "{backend}: only {} of {CLIENTS} were served", served_clients.len());
        assert!(served_clients.len() < DESCRIPTORS as usize);
        let counts = server.await_counts("all refusals", |counts| counts.refused == refused);
        assert_eq!(counts.sessions, served_clients.len(), "{backend}");

        // Nothing happens while nobody comes: a listener that spun would count batches by the thousand.
        let quiet = server.counts();
        for client in &mut served_clients {
            client.ask(1, b"x");
        }
        let turns = server.counts().batches - quiet.batches;
        assert!(turns <= 20 * served_clients.len(), "{backend}: {turns} turns for {} packets", served_clients.len());

        // Descriptors come free, and clients are welcome again.
        let free = served_clients.len() / 2;
        drop(served_clients.drain(..free).collect::<Vec<_>>());
        let left = served_clients.len();
        server.await_counts("free places", |counts| counts.sessions == left);
        let (new, _) = served((0..free).map(|_| Client::connect(server.address)).collect());
        assert_eq!(new.len(), free, "{backend}: clients are refused although descriptors are free");
        drop((new, served_clients));
        server.stop();
    }
}
