//! `fastport server` when its surroundings fail: clients that are killed, a log that cannot be written, a signal under load.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Server, backends, start};
use crate::wire::RawClient;

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something about a process is so.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// True if the process has a handler for a signal.
fn handles_signal(pid: u32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}

#[test]
fn five_hundred_connections_of_a_killed_client_leave_nothing_behind() {
    for backend in backends() {
        let server = Server::start(&["--backend", backend]);
        RawClient::connect(server.address).expect_echo(1);
        let pid = server.running.id();
        wait_until("the first client's end", || descriptors(pid) < 500);
        let before = descriptors(pid);
        for _ in 0..2 {
            let address = server.address_text();
            let load = ["bench", "--addr", &address, "--backend", backend, "--sessions", "500", "--secs", "60"];
            let client = start(&load);
            wait_until("500 sessions", || descriptors(pid) >= before - 1 + 500);
            client.signal(Signal::KILL);
            assert_eq!(client.wait().code, None);
            wait_until("all descriptors are back", || descriptors(pid) <= before);
            RawClient::connect(server.address).expect_echo(3);
        }
        server.running.signal(Signal::TERM);
        let ended = server.running.wait().expect_code(0);
        let line = ended.errors.lines().last().unwrap_or_default();
        assert!(line.contains("accepted=1003") && line.contains("aborted=0"), "{backend}: {ended:?}");
    }
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    for backend in backends() {
        let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        let address = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap()
        };
        // Neither the log nor the line on standard output arrive anywhere.
        let mut server = Command::new(env!("CARGO_BIN_EXE_fastport"))
            .args(["server", "--workers", "1", "--log", "trace", "--backend", backend, "--bind", &address.to_string()])
            .stdin(Stdio::null())
            .stdout(full())
            .stderr(full())
            .spawn()
            .unwrap();
        wait_until("the server listens", || std::net::TcpStream::connect(address).is_ok());
        let mut client = RawClient::connect(address);
        client.expect_echo(1);
        RawClient::connect(address).send_bytes(&[0, 0, 0, 0]);
        client.expect_echo(3);
        // The line that usually tells that it is ready could not be written.
        wait_until("signals are handled", || handles_signal(server.id(), Signal::TERM));
        kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
        client.expect_end();
        drop(client);
        let mut status = None;
        wait_until("the server ends", || {
            status = server.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{backend}");
    }
}

#[test]
fn a_signal_under_load_loses_nothing_that_was_accepted() {
    for backend in backends() {
        let server = Server::start(&["--backend", backend, "--drain-timeout", "30"]);
        let address = server.address;
        let (loaded, under_load) = std::sync::mpsc::channel();
        let clients: Vec<_> = (0..16)
            .map(|_| {
                let loaded = loaded.clone();
                std::thread::spawn(move || {
                    let mut client = RawClient::connect(address);
                    let mut replies = 0_u64;
                    loop {
                        if !client.try_send_echoes(8) {
                            return replies + client.count_to_end();
                        }
                        for _ in 0..8 {
                            if !client.try_receive() {
                                return replies;
                            }
                            replies += 1;
                        }
                        if replies == 80 {
                            loaded.send(()).unwrap();
                        }
                    }
                })
            })
            .collect();
        for _ in &clients {
            under_load.recv_timeout(PATIENCE).expect("all clients are served");
        }
        server.running.signal(Signal::TERM);
        let replies: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        let ended = server.running.wait().expect_code(0);
        let line = ended.errors.lines().last().unwrap_or_default();
        let expected = format!("aborted=0 packets_received={replies} packets_sent={replies} ");
        assert!(line.contains(&expected), "{backend}: {replies} replies; {line}");
    }
}

#[test]
fn a_failure_that_cannot_be_told_still_has_its_exit_code() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let failed = Command::new(env!("CARGO_BIN_EXE_fastport"))
        .args(["server", "--backend", "no such thing"])
        .stderr(Stdio::from(full))
        .status()
        .unwrap();
    assert_eq!(failed.code(), Some(1));
}
