//! `fastport server`.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::process::{Server, backends, run, start};
use crate::wire::RawClient;

#[test]
fn the_first_line_tells_the_address_and_the_backend_and_the_address_answers() {
    for backend in backends() {
        let server = Server::start(&["--backend", backend]);
        assert_eq!(server.first_line, format!("listening on {} ({backend}, 1 worker)", server.address));
        assert_ne!(server.address.port(), 0);
        RawClient::connect(server.address).expect_echo(41);
    }
}

#[test]
fn several_addresses_are_served_at_once() {
    let server = start(&["server", "--bind", "127.0.0.1:0", "--bind", "127.0.0.1:0", "--workers", "2"]);
    let line = server.next_line();
    let addresses = line.strip_prefix("listening on ").and_then(|rest| rest.split_once(" (")).unwrap().0;
    let addresses: Vec<std::net::SocketAddr> = addresses.split(", ").map(|text| text.parse().unwrap()).collect();
    assert_eq!(addresses.len(), 2);
    assert_ne!(addresses[0], addresses[1]);
    for address in addresses {
        RawClient::connect(address).expect_echo(1);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_worker_waits_for_its_turn_when_it_is_asked_to() {
    const SCHED_BATCH: &str = "3";
    let server = Server::start(&["--batch-scheduling"]);
    RawClient::connect(server.address).expect_echo(1);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.running.id())).unwrap();
    let stats = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap());
    // proc_pid_stat(5): the policy is the 39th field behind the name.
    let policy = |stat: &str| stat.rsplit(')').next().unwrap().split_whitespace().nth(38).unwrap().to_owned();
    let workers: Vec<String> = stats.filter(|stat| stat.contains("(fastport-")).map(|stat| policy(&stat)).collect();
    assert_eq!(workers, [SCHED_BATCH]);
}

#[test]
fn a_signal_ends_the_server_in_order_with_sessions_open() {
    for backend in backends() {
        for signal in [Signal::TERM, Signal::INT] {
            let server = Server::start(&["--backend", backend, "--drain-timeout", "30"]);
            let mut client = RawClient::connect(server.address);
            client.expect_echo(1);
            server.running.signal(signal);
            client.expect_end();
            drop(client);
            server.running.wait().expect_code(0);
        }
    }
}

#[test]
fn a_client_that_stays_is_given_up_when_the_drain_timeout_is_over() {
    for backend in backends() {
        let server = Server::start(&["--backend", backend, "--drain-timeout", "0.3"]);
        let mut client = RawClient::connect(server.address);
        client.expect_echo(1);
        server.running.signal(Signal::TERM);
        client.expect_end();
        server.running.wait().expect_code(0);
    }
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let server = Server::start(&["--drain-timeout", "3600"]);
    let mut client = RawClient::connect(server.address);
    client.expect_echo(1);
    server.running.signal(Signal::TERM);
    // The end of the stream shows that the first signal has arrived.
    client.expect_end();
    server.running.signal(Signal::TERM);
    server.running.wait().expect_code(130);
}

#[test]
fn a_port_in_use_is_one_line_that_names_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&["server", "--bind", &address]).expect_code(1);
    assert!(ended.only_error().contains(&address) && ended.only_error().contains("--bind"), "{ended:?}");
    assert_eq!(ended.output, "");
}

#[test]
fn a_backend_that_does_not_exist_is_one_line_with_those_that_do() {
    let ended = run(&["server", "--bind", "127.0.0.1:0", "--backend", "select"]).expect_code(1);
    assert!(ended.only_error().contains("'select'") && ended.only_error().contains("epoll"), "{ended:?}");
}

#[test]
fn a_backend_of_another_system_is_one_line_with_those_that_run_here() {
    let ended = run(&["server", "--bind", "127.0.0.1:0", "--backend", "iocp"]).expect_code(1);
    assert!(ended.only_error().contains("iocp") && ended.only_error().contains(backends()[0]), "{ended:?}");
}

#[test]
fn the_switch_for_registered_io_says_what_its_name_says() {
    for tool in [&["server", "--bind", "127.0.0.1:0"][..], &["client"], &["bench"]] {
        let by_name = run(&[tool, &["--backend", "rio"]].concat()).expect_code(1);
        let by_switch = run(&[tool, &["--rio"]].concat()).expect_code(1);
        assert_eq!(by_switch.only_error(), by_name.only_error());
        assert!(by_switch.only_error().contains("rio does not exist on"), "{by_switch:?}");
        run(&[tool, &["--rio-slot-size", "1"]].concat()).expect_code(2);
        run(&[tool, &["--rio-slot-size", "64K", "--rio-pool-size", "32K"]].concat()).expect_code(2);
    }
}

#[test]
fn with_fallback_the_next_backend_is_taken_with_a_warning() {
    let server = Server::start(&["--backend", "iocp", "--fallback"]);
    assert!(server.first_line.contains(backends()[0]), "{}", server.first_line);
    RawClient::connect(server.address).expect_echo(1);
    server.running.signal(Signal::TERM);
    let ended = server.running.wait().expect_code(0);
    assert!(ended.errors.contains("falling back"), "{ended:?}");
}

#[test]
fn a_wrong_command_line_has_an_exit_code_of_its_own() {
    run(&["server", "--no-such-option"]).expect_code(2);
    run(&["server", "--workers", "0"]).expect_code(2);
    run(&["server", "--bind", "nowhere"]).expect_code(2);
    run(&["server", "--slot-size", "1"]).expect_code(2);
    run(&["server", "--slot-size", "64K", "--pool-size", "32K"]).expect_code(2);
    run(&["server", "--bind", "127.0.0.1:0", "--log", "fastport=loudly"]).expect_code(2);
    run(&["serve"]).expect_code(2);
}

#[test]
fn packets_that_cannot_be_understood_are_answered_by_nothing_and_the_session_lives() {
    for backend in backends() {
        let server = Server::start(&["--backend", backend]);
        let mut client = RawClient::connect(server.address);
        client.send(0x0001, b"\xFF\xFF\xFF no protobuf");
        client.send(0x1001, b"\x0A\x7F");
        client.send(0x7ABC, b"unknown id");
        client.send(0x8001, b"");
        client.send(0x1002, b"a response where requests belong");
        client.expect_echo(1);
        server.running.signal(Signal::TERM);
        client.expect_end();
        drop(client);
        let ended = server.running.wait().expect_code(0);
        let counts = ended.errors.lines().last().unwrap_or_default();
        assert!(counts.contains("unknown_ids=3") && counts.contains("unparsable=2"), "{ended:?}");
    }
}

#[test]
fn a_frame_smaller_than_its_header_ends_the_session_but_no_other() {
    for backend in backends() {
        let server = Server::start(&["--backend", backend]);
        let mut polite = RawClient::connect(server.address);
        polite.expect_echo(1);
        let mut broken = RawClient::connect(server.address);
        broken.send_bytes(&[0, 3, 0, 1]);
        broken.expect_end();
        polite.expect_echo(3);
    }
}

#[test]
fn a_silent_session_is_closed_when_an_idle_time_is_set() {
    let server = Server::start(&["--idle", "0.1"]);
    let mut client = RawClient::connect(server.address);
    client.expect_end();
}

#[test]
fn more_sessions_than_allowed_are_turned_away() {
    let server = Server::start(&["--max-sessions", "1"]);
    let mut first = RawClient::connect(server.address);
    first.expect_echo(1);
    RawClient::connect(server.address).expect_end();
    first.expect_echo(3);
}
