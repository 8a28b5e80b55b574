//! The network is a TCP.

use std::time::Duration;

use fastport_io::sim::{Fault, FaultPlan};
use fastport_io::{AsyncIoProvider, CloseMode, Direction, ErrorCode};

use crate::party::{Party, SERVER, pattern};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_connect_to_nobody_is_refused() {
    let mut party = Party::calm();
    let (_, connect) = party.connect();
    assert_eq!(party.error(connect), ErrorCode::ConnectionRefused);
}

#[test]
fn a_connect_waits_for_a_place_in_the_backlog() {
    let mut party = Party::calm();
    let listener = party.listener(0);
    let (_, first) = party.connect();
    party.outcome(first).result.unwrap();
    let (_, second) = party.connect();
    let (_, later) = (party.accept(listener), party.network.elapsed());
    party.outcome(second).result.unwrap();
    // The request was dropped, and is repeated after a second.
    assert!(party.network.elapsed() >= later + SECOND / 2);
    party.accept(listener);
}

#[test]
fn a_connect_that_finds_no_place_fails_by_the_system_s_limit() {
    let mut party = Party::calm();
    party.listener(0);
    let (_, first) = party.connect();
    party.outcome(first).result.unwrap();
    let (_, second) = party.connect();
    assert_eq!(party.error(second), ErrorCode::ConnectionTimeout);
    assert!(party.network.elapsed() > 60 * SECOND);
}

#[test]
fn an_address_is_taken_by_one_listener_and_port_0_finds_free_ones() {
    let mut party = Party::calm();
    party.listener(4);
    let second = party.provider.create_socket(&SERVER.into()).unwrap();
    let error = second.bind(&SERVER.into()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let ports: Vec<_> = (0..3)
        .map(|_| {
            let socket = party.provider.create_socket(&SERVER.into()).unwrap();
            socket.bind(&([127, 0, 0, 1], 0).into()).unwrap();
            (socket.local_addr().unwrap().port(), socket)
        })
        .collect();
    assert!(ports.iter().all(|(port, _)| *port > 0));
    assert!(ports[0].0 != ports[1].0 && ports[1].0 != ports[2].0);
}

#[test]
fn bytes_arrive_in_order_through_small_buffers_and_a_bad_line() {
    let mut plan = FaultPlan::default()
        .with(Fault::SplitSegment, 0.5)
        .with(Fault::ShortSend, 0.5)
        .with(Fault::ShortReceive, 0.5)
        .with(Fault::SlowCompletion, 0.3);
    plan.latency = Duration::ZERO..=SECOND / 20;
    plan.send_buffer_bytes = 100;
    plan.receive_buffer_bytes = 300;
    let mut party = Party::with(plan);
    let (client, server) = party.pair();
    let sent = pattern(20_000);
    party.send(client, &sent);
    party.provider.close(client, CloseMode::Graceful, 1).unwrap_or_else(|error| panic!("{error}"));
    // Closing cancels the send; what the system had taken still arrives, whole and in order.
    let received = party.receive_all(server);
    assert_eq!(received, sent[..received.len()]);

    let (client, server) = party.pair();
    let send = party.send(client, &sent);
    let mut received = Vec::new();
    while received.len() < sent.len() {
        received.extend(party.receive_now(server, 999));
    }
    assert_eq!(received, sent);
    party.outcome(send).result.unwrap();
}

#[test]
fn latency_and_bandwidth_take_their_time() {
    let mut plan = FaultPlan::default();
    plan.latency = SECOND..=SECOND;
    plan.bytes_per_second = Some(100);
    let mut party = Party::with(plan);
    let (client, server) = party.pair();
    let begin = party.network.elapsed();
    party.send_now(client, &pattern(500));
    while party.receive_now(server, 500).is_empty() {}
    let took = party.network.elapsed().saturating_sub(begin);
    assert!(took >= 6 * SECOND && took < 7 * SECOND, "500 bytes at 100 a second, and a second of latency: {took:?}");
}

#[test]
fn a_sender_waits_for_the_reader() {
    let mut plan = FaultPlan::default();
    plan.send_buffer_bytes = 1000;
    plan.receive_buffer_bytes = 1000;
    let mut party = Party::with(plan);
    let (client, server) = party.pair();
    party.send_now(client, &pattern(2000));
    let waiting = party.send(client, b"!");
    let timeout = party.provider.timeout(SECOND, 0).unwrap();
    assert_eq!(party.next().op, timeout, "both buffers are full");
    party.receive_now(server, 1);
    party.outcome(waiting).result.unwrap();
}

#[test]
fn what_was_sent_before_a_close_is_delivered_and_then_the_end() {
    let mut plan = FaultPlan::default();
    plan.latency = Duration::ZERO..=SECOND;
    let mut party = Party::with(plan);
    let (client, server) = party.pair();
    party.send_now(client, b"last words");
    party.close(client, CloseMode::Graceful);
    assert_eq!(party.receive_all(server), b"last words");
    assert_eq!(party.receive_now(server, 1), b"");
}

#[test]
fn a_half_closed_connection_carries_the_other_direction() {
    let mut party = Party::calm();
    let (client, server) = party.pair();
    party.provider.shut_down_socket(client, Direction::Write).unwrap();
    assert_eq!(party.receive_now(server, 9), b"");
    party.send_now(server, b"still here");
    assert_eq!(party.receive_now(client, 64), b"still here");
    let send = party.send(client, b"too late");
    assert_eq!(party.error(send), ErrorCode::ConnectionReset);
}

#[test]
fn a_close_with_unread_bytes_resets_the_peer() {
    let mut party = Party::calm();
    let (client, server) = party.pair();
    party.send_now(client, b"never read");
    let timeout = party.provider.timeout(SECOND, 0).unwrap();
    party.outcome(timeout);
    party.close(server, CloseMode::Graceful);
    assert_eq!(party.receive_error(client), ErrorCode::ConnectionReset);
}

#[test]
fn bytes_for_a_socket_that_was_closed_are_answered_by_a_reset() {
    let mut party = Party::calm();
    let (client, server) = party.pair();
    party.close(server, CloseMode::Graceful);
    assert_eq!(party.receive_now(client, 9), b"", "it has closed gracefully");
    party.send_now(client, b"anybody there?");
    assert_eq!(party.receive_error(client), ErrorCode::ConnectionReset);
    let send = party.send(client, b"no");
    assert_eq!(party.error(send), ErrorCode::ConnectionReset);
}

#[test]
fn a_reset_drops_what_was_not_read_and_stays() {
    let mut party = Party::calm();
    let (client, server) = party.pair();
    party.send_now(client, b"lost");
    let timeout = party.provider.timeout(SECOND, 0).unwrap();
    party.outcome(timeout);
    party.close(client, CloseMode::Abortive);
    for _ in 0..2 {
        assert_eq!(party.receive_error(server), ErrorCode::ConnectionReset);
    }
}

#[test]
fn a_closed_listener_resets_those_that_wait() {
    let mut party = Party::calm();
    let listener = party.listener(4);
    let (client, connect) = party.connect();
    party.outcome(connect).result.unwrap();
    party.close(listener, CloseMode::Graceful);
    assert_eq!(party.receive_error(client), ErrorCode::ConnectionReset);
}

#[test]
fn a_listener_with_two_handles_closes_with_the_second() {
    let mut party = Party::calm();
    let socket = party.provider.create_socket(&SERVER.into()).unwrap();
    socket.bind(&SERVER.into()).unwrap();
    socket.listen(4).unwrap();
    let second = socket.try_clone().unwrap();
    drop(socket);
    let (_, connect) = party.connect();
    party.outcome(connect).result.unwrap();
    drop(second);
    let (_, connect) = party.connect();
    assert_eq!(party.error(connect), ErrorCode::ConnectionRefused);
}

#[test]
fn connections_that_are_over_leave_nothing() {
    let mut plan = FaultPlan::default().with(Fault::Reset, 0.1).with(Fault::SplitSegment, 0.5);
    plan.latency = Duration::ZERO..=SECOND;
    let mut party = Party::with(plan);
    for round in 0..40 {
        let (client, server) = party.pair();
        party.send(client, &pattern(3000));
        party.receive(server, 100);
        let modes = [CloseMode::Graceful, CloseMode::Abortive];
        party.provider.close(client, modes[round % 2], 0).unwrap();
        party.provider.close(server, modes[round / 2 % 2], 0).unwrap();
    }
    let network = party.network.clone();
    drop(party);
    while network.advance() {}
    let stats = network.stats();
    assert_eq!((stats.sockets, stats.open_connections), (0, 0));
    assert_eq!(stats.connections, 40);
}
