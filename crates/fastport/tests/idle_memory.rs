//! Ten thousand sessions that have exchanged a packet and now are silent cost at most 1 KiB each.
//!
//! The service runs in a child process, so that the clients' memory and descriptors do not count.
#![cfg(target_os = "linux")]

mod common;

use std::fs::read_to_string;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Client, localhost};
use fastport::{Context, Handler, PacketView, Service};
use fastport_io::{Backend, Choice};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Names the backend to the child.
const CHILD: &str = "FASTPORT_TEST_IDLE_MEMORY";
const SESSIONS: u64 = 10_000;
/// Descriptors for other purposes.
const SPARE: u64 = 100;

struct Echo;

impl Handler for Echo {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        session.send(packet.id, packet.payload).unwrap();
    }
}

/// Allows as many descriptors as the sessions need, or as the system grants. Returns the number of sessions.
fn allow_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let granted = limit.maximum.unwrap_or(u64::MAX).min(SESSIONS + SPARE);
    if limit.current.is_some_and(|current| current < granted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(granted), maximum: limit.maximum }).unwrap();
    }
    (granted - SPARE).min(SESSIONS)
}

fn serve(backend: &str) {
    allow_descriptors();
    let service = Service::builder(|_| Echo)
        .backend(backend.parse::<Choice>().unwrap())
        .workers(1)
        .backlog(4096)
        .idle_limit(Duration::from_secs(600))
        .listen(localhost())
        .start()
        .unwrap();
    println!("listening {}", service.local_addresses()[0]);
    // The parent kills this process.
    service.wait();
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn start(backend: Backend) -> Server {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ten_thousand_idle_sessions_cost_at_most_a_kilobyte_each", "--nocapture"])
        .env(CHILD, backend.name())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("listening ")?.1.parse().ok())
        .expect("the child tells its address");
    Server { child, address }
}

/// Resident memory of a process, in bytes.
fn resident_bytes(process: u32) -> u64 {
    let status = read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn ten_thousand_idle_sessions_cost_at_most_a_kilobyte_each() {
    if let Ok(backend) = std::env::var(CHILD) {
        return serve(&backend);
    }
    let sessions = allow_descriptors();
    for backend in fastport_io::supported() {
        let server = start(backend);
        // Buffers and code that are there for any number of sessions.
        let warm: Vec<Client> = (0..16).map(|_| Client::connect(server.address)).collect();
        for mut client in warm {
            client.ask(1, &[0; 1000]);
        }
        let before = resident_bytes(server.child.id());
        let mut clients: Vec<Client> = (0..sessions).map(|_| Client::connect(server.address)).collect();
        for client in &mut clients {
            assert_eq!(client.ask(1, &[7; 64]), (1, vec![7; 64]));
        }
        let each = (resident_bytes(server.child.id()).saturating_sub(before)) / sessions;
        println!("{backend}: {each} bytes for each of {sessions} idle sessions");
        assert!(each <= 1024, "{backend}: {each} bytes for each of {sessions} idle sessions");
    }
}
