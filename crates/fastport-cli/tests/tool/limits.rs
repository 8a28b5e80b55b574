//! `fastport server` with limits for its clients.

use rustix::process::Signal;

use crate::process::{Server, run};
use crate::wire::RawClient;

/// Starts a server, lets a client go beyond its limit, and returns the last line of the log.
fn exceed(arguments: &[&str], excess: impl FnOnce(&Server)) -> String {
    let server = Server::start(arguments);
    excess(&server);
    server.running.signal(Signal::TERM);
    let ended = server.running.wait().expect_code(0);
    ended.errors.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn clients_beyond_the_limits_of_coming_are_turned_away_and_counted() {
    for limit in ["--max-sessions-per-address", "--max-accepts-per-second"] {
        let line = exceed(&[limit, "1"], |server| {
            let mut first = RawClient::connect(server.address);
            RawClient::connect(server.address).expect_end();
            first.expect_echo(1);
        });
        assert!(line.contains("accepted=1") && line.contains("refused=1"), "{limit}: {line}");
    }
}

#[test]
fn a_packet_above_the_maximum_ends_the_session() {
    exceed(&["--max-packet", "64"], |server| {
        let mut client = RawClient::connect(server.address);
        client.expect_echo(1);
        client.send_bytes(&[0, 65, 0, 1]);
        client.expect_end();
    });
}

#[test]
fn a_client_that_sends_too_much_is_closed() {
    for limit in [["--max-packets-per-second", "5"], ["--max-bytes-per-second", "64K"]] {
        exceed(&limit, |server| {
            let mut client = RawClient::connect(server.address);
            client.expect_echo(1);
            // An id that is not served, so that nothing comes back. Both fit into the system's buffers.
            for _ in 0..6 {
                client.send(0x7ABC, &[0; 16_000]);
            }
            client.expect_end();
        });
    }
}

#[test]
fn a_client_that_takes_too_long_for_a_packet_is_closed() {
    for limit in ["--first-packet-timeout", "--packet-timeout"] {
        exceed(&[limit, "0.05"], |server| {
            let mut client = RawClient::connect(server.address);
            client.send_bytes(&[0, 9, 0]);
            client.expect_end();
        });
    }
}

#[test]
fn limits_that_make_no_sense_are_refused_with_a_remedy() {
    run(&["server", "--max-sessions-per-address", "0"]).expect_code(2);
    run(&["server", "--max-packets-per-second", "lots"]).expect_code(2);
    run(&["server", "--packet-timeout", "0"]).expect_code(2);
    let base = ["server", "--bind", "127.0.0.1:0"];
    for (limit, code, words) in [
        (["--max-packet", "3"], 2, "choose 4 to 65535"),
        (["--max-bytes-per-second", "4G"], 2, "leave it out"),
        (["--max-bytes-per-second", "1K"], 1, "allow at least that"),
        (["--send-memory", "1M"], 1, "lower session.limit_bytes"),
        (["--packet-timeout", "0.001"], 1, "10ms"),
        (["--read-timeout", "0.001"], 1, "10ms"),
    ] {
        let ended = run(&[&base[..], &limit[..]].concat()).expect_code(code);
        assert!(ended.only_error().contains(words), "{ended:?}");
    }
}
