//! Peers that do not read, and handlers that never stop sending.

use std::time::Duration;

use fastport::{CloseReason, Context, Handler, Overflow, PacketView, SendError, Service, SessionId, SessionOptions};
use fastport_io::{Choice, SocketOptions};

use crate::common::{Client, localhost, pattern};
use crate::probe::{Behaviour, Event, Fixture, on_every_backend};

on_every_backend!(
    a_client_that_does_not_read_is_closed_as_backpressure,
    a_refused_sender_goes_on_when_it_is_writable,
    a_congested_session_refuses_handles_and_recovers,
    a_session_that_always_has_more_to_send_does_not_hold_the_worker,
);

/// Small buffers in the system, so that the service's own queue is what fills up.
fn small_socket_buffers() -> SocketOptions {
    SocketOptions { send_buffer_bytes: Some(16 * 1024), ..SocketOptions::default() }
}

fn limits(overflow: Overflow) -> SessionOptions {
    SessionOptions {
        high_water_bytes: 200 << 10,
        low_water_bytes: 50 << 10,
        limit_bytes: 400 << 10,
        overflow,
        ..SessionOptions::default()
    }
}

/// A handler that does not look at the outcome.
fn send_regardless(session: &mut Context<'_>, packet: PacketView<'_>) {
    let _ = session.send(packet.id, packet.payload);
}

fn a_client_that_does_not_read_is_closed_as_backpressure(backend: Choice) {
    let service = Fixture::start(backend, Behaviour { act: send_regardless, ..Behaviour::default() }, |builder| {
        builder.session_options(limits(Overflow::Close)).socket_options(small_socket_buffers())
    });
    let mut client = service.client();
    let mut writer = crate::common::Client { stream: client.stream.try_clone().unwrap() };
    let bytes = crate::common::frame(1, &pattern(10_000));
    // Until the service resets the connection; without a limit this would go on for ever.
    let written = std::thread::spawn(move || {
        use std::io::Write;
        let mut written = 0_usize;
        while writer.stream.write_all(&bytes).is_ok() {
            written += bytes.len();
            assert!(written < 1 << 30, "a gigabyte was taken in");
        }
    });
    let (_, reason, stats) = service.closed();
    assert_eq!(reason, CloseReason::Backpressure);
    assert!(stats.packets_received * 10_004 <= stats.bytes_received);
    let held = stats.packets_sent * 10_004 - stats.bytes_sent;
    assert!(held <= 400 << 10, "{held} bytes were queued");
    written.join().unwrap();
    client.await_end();
    service.stop();
}

/// Sends packets until the session is full, or all of them are sent.
fn produce(session: &mut Context<'_>) {
    loop {
        let sent = session.stats().packets_sent;
        if sent == PACKETS {
            return session.close();
        }
        match session.send(sent as u16, &pattern(1000)) {
            Ok(()) => {}
            Err(SendError::Full) => return,
            Err(other) => panic!("{other}"),
        }
    }
}

const PACKETS: u64 = 3000;

fn a_refused_sender_goes_on_when_it_is_writable(backend: Choice) {
    let behaviour =
        Behaviour { act: |session, _: PacketView<'_>| produce(session), writable: produce, ..Behaviour::default() };
    let service = Fixture::start(backend, behaviour, |builder| {
        builder.session_options(limits(Overflow::Refuse)).socket_options(small_socket_buffers())
    });
    let mut client = service.client();
    // Answered until the session is full, all within one call.
    client.send(1, b"go");
    for number in 0..PACKETS {
        let (id, payload) = client.receive();
        assert_eq!(id, number as u16);
        assert!(payload == pattern(1000));
    }
    assert!(client.read_to_end().is_empty());
    drop(client);
    service.wait_for("sent bytes", |event| matches!(event, Event::Sent).then_some(()));
    service.wait_for("writable session", |event| matches!(event, Event::Writable).then_some(()));
    let (_, reason, stats) = service.closed();
    assert_eq!(reason, CloseReason::Requested);
    assert_eq!(stats.bytes_sent, PACKETS * 1004);
    service.stop();
}

fn a_congested_session_refuses_handles_and_recovers(backend: Choice) {
    let service = Fixture::start(backend, Behaviour::default(), |builder| {
        builder.session_options(limits(Overflow::Refuse)).socket_options(small_socket_buffers())
    });
    let mut client = service.client();
    let session = service.accepted();
    let handle = service.handle();
    let mut sent = 0_u64;
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    loop {
        match handle.send(session, sent as u16, &pattern(1000)) {
            Ok(()) => sent += 1,
            Err(SendError::Full) => break,
            Err(other) => panic!("{other} after {sent} packets"),
        }
        // Give the worker time to see the congestion before its hard limit is reached.
        if sent.is_multiple_of(50) {
            service.await_stats("the worker has taken the packets", |stats| stats.packets_sent == sent);
        }
        assert!(std::time::Instant::now() < deadline, "never congested");
    }
    assert!(handle.is_open(session));
    for number in 0..sent {
        assert_eq!(client.receive().0, number as u16);
    }
    service.wait_for("writable session", |event| matches!(event, Event::Writable).then_some(()));
    while handle.send(session, 7, b"again") == Err(SendError::Full) {
        assert!(std::time::Instant::now() < deadline, "never recovered");
        std::thread::yield_now();
    }
    assert_eq!(client.receive(), (7, b"again".to_vec()));
    drop(client);
    service.stop();
}

/// Sends on to whoever has said 1, for as long as the system takes it; answers the others.
#[derive(Default)]
struct Pour {
    onto: Option<SessionId>,
}

impl Handler for Pour {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        if packet.id.0 == 1 {
            self.onto = Some(session.id());
        }
        let _ = session.send(packet.id, packet.payload);
    }

    fn sent(&mut self, session: &mut Context<'_>, _bytes: usize) {
        if self.onto == Some(session.id()) {
            let _ = session.send(1, &[7; 100]);
        }
    }
}

fn a_session_that_always_has_more_to_send_does_not_hold_the_worker(backend: Choice) {
    let service =
        Service::builder(|_| Pour::default()).backend(backend).workers(1).listen(localhost()).start().unwrap();
    let mut flooded = Client::connect(service.local_addresses()[0]);
    let mut polite = Client::connect(service.local_addresses()[0]);
    flooded.send(1, b"more");
    flooded.receive();
    // It reads all the time, so that the system never refuses a byte for long.
    let reader = std::thread::spawn(move || while flooded.try_receive().is_ok() {});
    for number in 0..100 {
        assert_eq!(polite.ask(2, &[number]), (2, vec![number]));
    }
    drop(polite);
    service.stop(Duration::from_secs(1));
    reader.join().unwrap();
}
