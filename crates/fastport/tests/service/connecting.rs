//! Connections that the service makes.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use fastport::{CloseReason, ConnectOptions, Reconnect};
use fastport_io::socket::{listen, stream_socket};
use fastport_io::{Choice, ErrorCode, SocketOptions};

use crate::common::{PATIENCE, frame, localhost};
use crate::probe::{Behaviour, Event, Fixture, on_every_backend};

on_every_backend!(
    a_service_connects_to_another_and_talks,
    a_refused_connection_is_told_with_its_token,
    a_connection_that_is_not_made_in_time_is_told_as_a_timeout,
    a_lost_connection_is_made_again,
    failed_attempts_are_repeated_up_to_their_limit,
    a_requested_close_is_not_connected_again,
    connecting_to_nowhere_does_not_hold_up_the_stop,
    a_cancelled_connect_ends_its_attempt_or_its_wait_and_no_other,
    a_connection_that_stands_outlives_the_cancellation_but_is_not_made_again,
);

fn quick_reconnect(attempts: Option<u32>) -> ConnectOptions {
    let wait = Duration::from_millis(5);
    let reconnect = Reconnect { first_wait: wait, longest_wait: 4 * wait, attempts };
    ConnectOptions { reconnect: Some(reconnect), ..ConnectOptions::default() }
}

/// Waits until no more places among the sessions are taken than these.
fn await_places(service: &Fixture, taken: usize) {
    let deadline = Instant::now() + PATIENCE;
    while service.handle().sessions() > taken {
        assert!(Instant::now() < deadline, "a connector holds its place");
        std::thread::yield_now();
    }
}

fn a_service_connects_to_another_and_talks(backend: Choice) {
    let server = Fixture::echo(backend);
    let behaviour = Behaviour {
        accepted: |session| session.send(1, b"hello").unwrap(),
        act: |session, packet| {
            assert_eq!(packet.payload, b"hello");
            session.close();
        },
        ..Behaviour::default()
    };
    let client = Fixture::start(backend, behaviour, |builder| builder);
    client.handle().connect(server.address(), 42, ConnectOptions::default()).unwrap();
    let session = client.wait_for("connected session", |event| match event {
        Event::Connected(session, 42) => Some(*session),
        _ => None,
    });
    let (closed, reason, stats) = client.closed();
    assert_eq!((closed, reason), (session, CloseReason::Requested));
    assert_eq!((stats.packets_sent, stats.packets_received), (1, 1));
    assert_eq!(server.closed().1, CloseReason::PeerClosed);
    client.stop();
    server.stop();
}

fn a_refused_connection_is_told_with_its_token(backend: Choice) {
    let service = Fixture::echo(backend);
    // A port that nobody listens on: bound, but not listening.
    let unused = stream_socket(&localhost()).unwrap();
    unused.bind(&localhost()).unwrap();
    let address = unused.local_addr().unwrap();
    service.handle().connect(address, 7, ConnectOptions::default()).unwrap();
    match service.event() {
        Event::ConnectFailed(7, told, ErrorCode::ConnectionRefused) => assert_eq!(told, address),
        other => panic!("{other:?}"),
    }
    let (report, events) = service.stop();
    assert!(events.is_empty(), "a session that never was is not closed: {events:?}");
    assert_eq!(report.stats.connect_failures, 1);
}

/// A listener whose queue is full, so that connecting to it hangs.
struct Nowhere {
    _listener: fastport_io::Socket,
    _queued: Vec<fastport_io::Socket>,
    address: std::net::SocketAddr,
}

fn nowhere() -> Nowhere {
    let listener = stream_socket(&localhost()).unwrap();
    listen(&listener, &localhost(), 0, &SocketOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let queued = (0..4)
        .map(|_| {
            let socket = stream_socket(&address).unwrap();
            socket.set_nonblocking(true).unwrap();
            // In progress, or for ever so.
            let _ = socket.as_system().unwrap().connect(&address.into());
            socket
        })
        .collect();
    Nowhere { _listener: listener, _queued: queued, address }
}

fn a_connection_that_is_not_made_in_time_is_told_as_a_timeout(backend: Choice) {
    let service = Fixture::echo(backend);
    let nowhere = nowhere();
    let options = ConnectOptions { time_limit: Duration::from_millis(50), ..ConnectOptions::default() };
    service.handle().connect(nowhere.address, 1, options).unwrap();
    let code = service.wait_for("failure", |event| match event {
        Event::ConnectFailed(1, _, code) => Some(*code),
        _ => None,
    });
    assert_eq!(code, ErrorCode::Timeout);
    service.stop();
}

fn a_lost_connection_is_made_again(backend: Choice) {
    let service = Fixture::echo(backend);
    let listener = TcpListener::bind(localhost()).unwrap();
    service.handle().connect(listener.local_addr().unwrap(), 3, quick_reconnect(None)).unwrap();
    for _ in 0..3 {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&frame(1, b"x")).unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        service.wait_for("connected session", |event| matches!(event, Event::Connected(_, 3)).then_some(()));
        drop(stream);
        assert_eq!(service.closed().1, CloseReason::PeerClosed);
    }
    service.stop();
}

fn failed_attempts_are_repeated_up_to_their_limit(backend: Choice) {
    let service = Fixture::echo(backend);
    let unused = stream_socket(&localhost()).unwrap();
    unused.bind(&localhost()).unwrap();
    service.handle().connect(unused.local_addr().unwrap(), 9, quick_reconnect(Some(2))).unwrap();
    for _ in 0..3 {
        service.wait_for("failure", |event| matches!(event, Event::ConnectFailed(9, ..)).then_some(()));
    }
    // Given up: its place among the sessions is free.
    await_places(&service, 0);
    let (report, _) = service.stop();
    assert_eq!(report.stats.connect_failures, 3);
}

fn a_requested_close_is_not_connected_again(backend: Choice) {
    let server = Fixture::echo(backend);
    let client =
        Fixture::start(backend, Behaviour { accepted: |session| session.close(), ..Behaviour::default() }, |builder| {
            builder
        });
    client.handle().connect(server.address(), 1, quick_reconnect(None)).unwrap();
    assert_eq!(client.closed().1, CloseReason::Requested);
    let (report, _) = client.stop();
    assert_eq!(report.stats.connected, 1);
    server.stop();
}

fn connecting_to_nowhere_does_not_hold_up_the_stop(backend: Choice) {
    let service = Fixture::echo(backend);
    let nowhere = nowhere();
    let handle = service.handle();
    handle.connect(nowhere.address, 1, quick_reconnect(None)).unwrap();
    service.await_stats("an attempt", |stats| stats.sessions == 1);
    let (report, _) = service.stop();
    assert_eq!(report.aborted, 0);
    assert!(handle.connect(nowhere.address, 1, ConnectOptions::default()).is_err());
}

fn a_cancelled_connect_ends_its_attempt_or_its_wait_and_no_other(backend: Choice) {
    let service = Fixture::start(backend, Behaviour::default(), |builder| builder.workers(2));
    let (handle, nowhere) = (service.handle(), nowhere());
    let unused = stream_socket(&localhost()).unwrap();
    unused.bind(&localhost()).unwrap();
    let refusing = unused.local_addr().unwrap();
    let failure = |token| {
        service.wait_for("failure", |event| match event {
            Event::ConnectFailed(of, _, code) if *of == token => Some(*code),
            _ => None,
        })
    };
    // An attempt under way; a wait of an hour for the next one, which cannot begin before the first has failed; and one that
    // nobody cancels.
    handle.connect(nowhere.address, 1, quick_reconnect(None)).unwrap();
    let hour = Duration::from_secs(3600);
    let reconnect = Some(Reconnect { first_wait: hour, longest_wait: hour, attempts: None });
    handle.connect(refusing, 2, ConnectOptions { reconnect, ..ConnectOptions::default() }).unwrap();
    handle.connect(nowhere.address, 3, ConnectOptions::default()).unwrap();
    assert_eq!(failure(2), ErrorCode::ConnectionRefused);
    for token in [1, 2] {
        handle.cancel_connect(token);
        assert_eq!(failure(token), ErrorCode::Cancelled);
    }
    // Dead tokens are nobody's.
    handle.cancel_connect(2);
    handle.cancel_connect(99);
    service.await_stats("the other attempt", |stats| stats.sessions == 1);
    await_places(&service, 1);
    let (report, _) = service.stop();
    assert_eq!(report.stats.connect_failures, 4, "refused once, cancelled twice, and the stop of the service");
}

fn a_connection_that_stands_outlives_the_cancellation_but_is_not_made_again(backend: Choice) {
    let service = Fixture::echo(backend);
    let listener = TcpListener::bind(localhost()).unwrap();
    let handle = service.handle();
    handle.connect(listener.local_addr().unwrap(), 5, quick_reconnect(None)).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    service.wait_for("connected session", |event| matches!(event, Event::Connected(_, 5)).then_some(()));
    handle.cancel_connect(5);
    stream.write_all(&frame(1, b"x")).unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    drop(stream);
    assert_eq!(service.closed().1, CloseReason::PeerClosed);
    await_places(&service, 0);
    let (report, _) = service.stop();
    assert_eq!(report.stats.connected, 1);
}
