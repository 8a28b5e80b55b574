//! Limits, in virtual time.

use fastport::{CloseReason, Limits, Refusal, ServiceOptions, SessionOptions};
use fastport_io::sim::FaultPlan;

use crate::stage::{Stage, assert_at, ms, packet};

fn limited(limits: Limits) -> ServiceOptions {
    ServiceOptions { limits, ..ServiceOptions::default() }
}

#[test]
fn a_client_that_sends_no_first_packet_is_closed_when_its_time_is_over() {
    let mut stage = Stage::set(limited(Limits { first_packet: Some(ms(3000)), ..Limits::default() }));
    let silent = stage.client();
    let polite = stage.client();
    stage.pass(ms(2900));
    stage.send(polite, &packet(b"hello"));
    // Bytes that are no packet yet do not count.
    stage.send(silent, &packet(b"hello")[..3]);
    stage.pass(ms(60_000));
    assert!(stage.has_ended(silent) && !stage.has_ended(polite));
    let [(at, reason)] = stage.closed()[..] else { panic!("{:?}", stage.closed()) };
    assert_eq!(reason, CloseReason::NoFirstPacket);
    assert_at(at, ms(3000));
    assert_eq!(stage.service.stats().closed(CloseReason::NoFirstPacket), 1);
}

#[test]
fn a_client_that_sends_a_packet_byte_by_byte_is_closed_although_it_is_never_idle() {
    let limits = Limits { first_packet: Some(ms(60_000)), unfinished_packet: Some(ms(2000)), ..Limits::default() };
    let session = SessionOptions { idle_limit: Some(ms(1000)), ..SessionOptions::default() };
    let mut stage = Stage::set(ServiceOptions { session, ..limited(limits) });
    let slow = stage.client();
    let steady = stage.client();
    let bytes = packet(&[7; 100]);
    stage.send(slow, &bytes);
    // Each receive of the steady client ends within a packet, which the next one completes.
    stage.send(steady, &bytes[..50]);
    for byte in &bytes[..60] {
        stage.send(slow, &[*byte]);
        stage.send(steady, &bytes[50..]);
        stage.send(steady, &bytes[..50]);
        stage.pass(ms(500));
    }
    assert!(stage.has_ended(slow) && !stage.has_ended(steady), "{:?}", stage.closed());
    let [(at, reason)] = stage.closed()[..] else { panic!("{:?}", stage.closed()) };
    assert_eq!(reason, CloseReason::SlowPacket);
    assert_at(at, ms(2000));
    assert_eq!(stage.received(steady), 60 * bytes.len());
}

#[test]
fn the_time_of_a_packet_begins_with_its_first_byte_and_not_with_the_session() {
    let mut stage = Stage::set(limited(Limits { unfinished_packet: Some(ms(1000)), ..Limits::default() }));
    let client = stage.client();
    stage.pass(ms(10_000));
    stage.send(client, &packet(b"late")[..5]);
    stage.pass(ms(900));
    assert!(!stage.has_ended(client));
    stage.send(client, &packet(b"late")[5..]);
    stage.pass(ms(10_000));
    assert!(!stage.has_ended(client), "a session between two packets has all the time there is");
    stage.send(client, &packet(b"never")[..5]);
    stage.pass(ms(1200));
    let [(at, CloseReason::SlowPacket)] = stage.closed()[..] else { panic!("{:?}", stage.closed()) };
    assert!((ms(21_900)..ms(22_030)).contains(&at), "{at:?}");
}

#[test]
fn clients_beyond_the_rate_are_refused_and_come_in_later() {
    let mut stage = Stage::set(limited(Limits { accepts_per_second: Some(4), ..Limits::default() }));
    let first: Vec<_> = (0..10).map(|_| stage.client()).collect();
    stage.pass(ms(100));
    assert_eq!(first.iter().filter(|&&client| stage.has_ended(client)).count(), 6);
    assert_eq!(stage.refused(), [Refusal::Rate; 6]);
    let stats = stage.service.stats();
    assert_eq!((stats.accepted, stats.refused, stats.refused_by_rate), (4, 6, 6));
    // A fourth of a second for each.
    stage.pass(ms(500));
    let later: Vec<_> = (0..3).map(|_| stage.client()).collect();
    stage.pass(ms(10));
    assert_eq!(later.iter().filter(|&&client| stage.has_ended(client)).count(), 1);
}

#[test]
fn places_of_an_address_are_counted_and_come_free() {
    let limits = Limits { sessions_per_address: Some(2), accepts_per_second: Some(3), ..Limits::default() };
    let mut stage = Stage::set(limited(limits));
    let [first, second, third] = [(); 3].map(|()| stage.client());
    stage.pass(ms(10));
    assert!(!stage.has_ended(first) && !stage.has_ended(second) && stage.has_ended(third));
    assert_eq!(stage.refused(), [Refusal::Address]);
    stage.leave(first);
    stage.pass(ms(10));
    // Whom the address keeps out costs nothing of the rate.
    let fourth = stage.client();
    stage.pass(ms(10));
    assert!(!stage.has_ended(fourth));
    assert_eq!(stage.service.stats().refused_by_address, 1);
}

#[test]
fn a_steady_stream_at_the_rate_passes_and_a_flood_is_closed() {
    for (limits, reason) in [
        (Limits { packets_per_second: Some(100), ..Limits::default() }, CloseReason::PacketRate),
        (Limits { bytes_per_second: Some(100_000), ..Limits::default() }, CloseReason::ByteRate),
    ] {
        let mut stage = Stage::set(limited(limits));
        let (steady, flooding) = (stage.client(), stage.client());
        let bytes = packet(&[1; 996]);
        for _ in 0..300 {
            stage.send(steady, &bytes);
            stage.pass(ms(10));
        }
        // A second's worth at once is allowed, and no more.
        stage.pass(ms(1000));
        stage.send(steady, &bytes.repeat(50));
        stage.send(flooding, &bytes.repeat(102));
        stage.pass(ms(10));
        assert_eq!(stage.reasons(), [reason]);
        assert!(stage.has_ended(flooding) && !stage.has_ended(steady));
        assert_eq!(stage.received(steady), 350 * bytes.len());
        assert_eq!(stage.service.stats().closed(reason), 1);
    }
}

#[test]
fn when_the_queues_are_beyond_their_memory_the_longest_goes_and_the_others_stay() {
    let session = SessionOptions { limit_bytes: 1 << 20, ..SessionOptions::default() };
    let limits = Limits { queued_bytes: Some(1 << 20), ..Limits::default() };
    let mut stage = Stage::answering(10, ServiceOptions { session, ..limited(limits) });
    let mut narrow = FaultPlan::default();
    (narrow.send_buffer_bytes, narrow.receive_buffer_bytes) = (1000, 1000);
    stage.network.set_plan(narrow);
    let clients: Vec<_> = (0..5).map(|_| stage.deaf_client()).collect();
    let reader = stage.client();
    stage.pass(ms(10));
    // Ten answers each: 90, 180, 270, 360 and 450 KB.
    for (number, &client) in clients.iter().enumerate() {
        stage.send(client, &packet(&vec![1; 9_000 * (number + 1)]));
    }
    stage.pass(ms(500));
    stage.send(reader, &packet(&[1; 1000]));
    stage.pass(ms(500));
    assert_eq!(stage.reasons(), [CloseReason::QueueMemory]);
    let stats = stage.service.stats();
    assert_eq!(stats.closed(CloseReason::QueueMemory), 1);
    assert!((880_000..=900_200).contains(&stats.queued_bytes), "the longest has gone: {}", stats.queued_bytes);
    assert_eq!(stage.received(reader), 10 * 1004);
    for client in clients {
        stage.leave(client);
    }
    stage.leave(reader);
    stage.service.handle().stop(ms(1000));
    stage.play_out();
    assert_eq!(stage.service.stats().queued_bytes, 0);
}
