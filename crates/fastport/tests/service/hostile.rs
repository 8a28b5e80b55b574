//! Clients that go beyond the limits that were set for them. What depends on time to the millisecond is tested on the
//! simulated network.

use std::io::Write;
use std::time::{Duration, Instant};

use fastport::{
    CloseReason, Context, Handler, HandlerThreads, Limits, PacketFramer, PacketView, Refusal, Service, SessionOptions,
};
use fastport_io::{Choice, SocketOptions};

use crate::common::{Client, PATIENCE, frame, localhost, pattern};
use crate::probe::{Behaviour, Fixture, on_every_backend};

on_every_backend!(
    an_address_has_only_so_many_sessions,
    a_refused_client_is_told_to_a_pool_of_handlers_too,
    clients_that_come_too_fast_are_refused,
    a_packet_above_the_maximum_ends_its_session,
    a_flood_of_packets_ends_its_session,
    a_flood_of_bytes_ends_its_session,
    a_client_without_a_first_packet_is_closed,
    a_client_that_does_not_finish_a_packet_is_closed,
    a_client_that_reads_nothing_is_closed,
    the_longest_queues_go_when_all_are_beyond_their_memory,
);

fn limited(backend: Choice, limits: Limits) -> Fixture {
    Fixture::start(backend, Behaviour::default(), |builder| builder.limits(limits))
}

fn an_address_has_only_so_many_sessions(backend: Choice) {
    let limits = Limits { sessions_per_address: Some(2), ..Limits::default() };
    let service = Fixture::start(backend, Behaviour::default(), |builder| builder.limits(limits).workers(2));
    let (mut first, mut second) = (service.client(), service.client());
    first.ask(1, b"x");
    second.ask(1, b"x");
    service.client().await_end();
    assert_eq!(service.refused(), Refusal::Address);
    service.await_stats("one refusal", |stats| stats.refused == 1 && stats.refused_by_address == 1);
    drop(first);
    service.closed();
    service.await_stats("a free place", |stats| stats.sessions == 1);
    assert_eq!(service.client().ask(2, b"y"), (2, b"y".to_vec()));
    drop(second);
    service.stop();
}

fn a_refused_client_is_told_to_a_pool_of_handlers_too(backend: Choice) {
    let limits = Limits { sessions_per_address: Some(1), ..Limits::default() };
    let service = Fixture::start(backend, Behaviour::default(), |builder| {
        builder.limits(limits).handlers(HandlerThreads::Pool(2))
    });
    let mut first = service.client();
    first.ask(1, b"x");
    service.client().await_end();
    assert_eq!(service.refused(), Refusal::Address);
    drop(first);
    service.stop();
}

fn clients_that_come_too_fast_are_refused(backend: Choice) {
    let service = limited(backend, Limits { accepts_per_second: Some(2), ..Limits::default() });
    let deadline = Instant::now() + PATIENCE;
    let mut come = 0;
    // On a slow machine a few are within the rate.
    while service.handle().stats().refused_by_rate == 0 {
        assert!(Instant::now() < deadline, "nobody is refused");
        let _ = Client::try_connect(service.address());
        come += 1;
    }
    assert_eq!(service.refused(), Refusal::Rate);
    service.await_stats("all clients", |stats| stats.accepted + stats.refused == come);
    service.await_stats("no session", |stats| stats.sessions == 0);
    service.stop();
}

struct Echo;

impl Handler for Echo {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        let _ = session.send(packet.id, packet.payload);
    }
}

fn a_packet_above_the_maximum_ends_its_session(backend: Choice) {
    let framer = PacketFramer::with_max_frame_bytes(104).unwrap();
    let builder = Service::builder(|_| Echo).framer(framer).backend(backend).workers(1).listen(localhost());
    let service = builder.start().unwrap();
    let mut client = Client::connect(service.local_addresses()[0]);
    assert_eq!(client.ask(1, &[7; 100]), (1, vec![7; 100]));
    client.send_bytes(&frame(1, &[7; 101])[..4]);
    client.await_end();
    let report = service.stop(PATIENCE);
    assert_eq!(report.stats.closed(CloseReason::PacketTooLarge), 1);
    assert_eq!(report.stats.closed(CloseReason::Protocol), 0);
}

/// Sends the same bytes until the service ends the session, and returns why it did.
fn flood(service: Fixture, bytes: &[u8]) -> CloseReason {
    let mut polite = service.client();
    polite.ask(1, b"x");
    let mut client = service.client();
    let deadline = Instant::now() + PATIENCE;
    // The client does not read, so the end may be seen when the way back is full only; that takes long enough.
    while client.stream.write_all(bytes).is_ok() {
        assert!(Instant::now() < deadline, "the flood is let in");
    }
    let (_, reason, _) = service.closed();
    assert_eq!(polite.ask(2, b"others are served"), (2, b"others are served".to_vec()));
    drop((polite, client));
    service.await_stats("the flood is counted", |stats| stats.closed(reason) == 1);
    service.stop();
    reason
}

fn a_flood_of_packets_ends_its_session(backend: Choice) {
    let service = limited(backend, Limits { packets_per_second: Some(500), ..Limits::default() });
    assert_eq!(flood(service, &frame(1, b"").repeat(100)), CloseReason::PacketRate);
}

fn a_flood_of_bytes_ends_its_session(backend: Choice) {
    let service = limited(backend, Limits { bytes_per_second: Some(100_000), ..Limits::default() });
    assert_eq!(flood(service, &frame(1, &pattern(10_000))), CloseReason::ByteRate);
}

fn a_client_without_a_first_packet_is_closed(backend: Choice) {
    let service = limited(backend, Limits { first_packet: Some(Duration::from_millis(30)), ..Limits::default() });
    let mut silent = service.client();
    silent.send_bytes(&frame(1, b"never")[..6]);
    silent.await_end();
    assert_eq!(service.closed().1, CloseReason::NoFirstPacket);
    service.stop();
}

fn a_client_that_does_not_finish_a_packet_is_closed(backend: Choice) {
    let limits = Limits { unfinished_packet: Some(Duration::from_millis(30)), ..Limits::default() };
    let service = limited(backend, limits);
    let mut slow = service.client();
    assert_eq!(slow.ask(1, b"whole"), (1, b"whole".to_vec()));
    slow.send_bytes(&frame(2, b"never")[..6]);
    slow.await_end();
    assert_eq!(service.closed().1, CloseReason::SlowPacket);
    service.stop();
}

/// Answers each packet with as many of 50 000 bytes as its id says: far more than the system takes by itself.
fn answer_much(session: &mut Context<'_>, packet: PacketView<'_>) {
    let much = pattern(50_000);
    for _ in 0..usize::from(packet.id.0) {
        let _ = session.send(packet.id, &much);
    }
}

/// The system's buffer for sending is small; by itself it grows to several MiB.
fn small_buffers() -> SocketOptions {
    SocketOptions { send_buffer_bytes: Some(16 * 1024), ..SocketOptions::default() }
}

fn a_client_that_reads_nothing_is_closed(backend: Choice) {
    let service = Fixture::start(backend, Behaviour { act: answer_much, ..Behaviour::default() }, |builder| {
        let session = SessionOptions { limit_bytes: 64 << 20, ..SessionOptions::default() };
        let limits = Limits { unread: Some(Duration::from_millis(40)), ..Limits::default() };
        builder.session_options(session).socket_options(small_buffers()).limits(limits)
    });
    let mut reading = service.client();
    let mut stalled = service.client();
    assert_eq!(stalled.ask(1, b"polite at first"), (1, pattern(50_000)));
    stalled.send(400, b"too much to be left unread");
    assert_eq!(service.closed().1, CloseReason::SlowReader);
    assert_eq!(reading.ask(1, b"still here"), (1, pattern(50_000)));
    service.await_stats("one client less", |stats| stats.closed(CloseReason::SlowReader) == 1 && stats.sessions == 1);
    drop((reading, stalled));
    let (report, _) = service.stop();
    assert_eq!(report.stats.queued_bytes, 0);
}

fn the_longest_queues_go_when_all_are_beyond_their_memory(backend: Choice) {
    const QUEUED: usize = 4 << 20;
    let service = Fixture::start(backend, Behaviour { act: answer_much, ..Behaviour::default() }, |builder| {
        let session = SessionOptions { limit_bytes: QUEUED, ..SessionOptions::default() };
        let limits = Limits { queued_bytes: Some(QUEUED), ..Limits::default() };
        builder.session_options(session).socket_options(small_buffers()).limits(limits)
    });
    let mut modest = service.client();
    modest.send(1, b"little");
    let mut greedy: Vec<Client> = (0..8).map(|_| service.client()).collect();
    for client in &mut greedy {
        let _ = client.stream.write_all(&frame(60, b"much"));
    }
    assert_eq!(service.closed().1, CloseReason::QueueMemory);
    assert_eq!(modest.receive(), (1, pattern(50_000)));
    service.await_stats("memory within its limit", |stats| {
        stats.packets_received == 9 && stats.queued_bytes <= QUEUED as u64
    });
    assert_eq!(modest.ask(1, b"more"), (1, pattern(50_000)));
    drop((greedy, modest));
    let (report, _) = service.stop();
    assert_eq!(report.stats.queued_bytes, 0);
}
