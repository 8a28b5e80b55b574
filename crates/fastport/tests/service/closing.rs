//! Every way in which a session ends, and that it ends once.

use std::time::Duration;

use fastport::{CloseReason, Context, PacketView, SessionOptions};
use fastport_io::Choice;

use crate::common::{frame, pattern};
use crate::probe::{Behaviour, Event, Fixture, on_every_backend};

on_every_backend!(
    a_client_that_closes_ends_its_session_as_peer_closed,
    a_client_that_resets_ends_its_session_as_reset,
    a_half_closed_client_still_gets_its_answers,
    a_malformed_frame_ends_the_session_as_protocol,
    a_silent_client_is_closed_as_idle,
    a_client_that_speaks_is_not_idle,
    a_graceful_close_delivers_everything_first,
    an_abort_resets_the_client,
    nothing_is_handled_after_a_close,
    a_client_that_never_closes_its_end_is_reset_after_the_limit,
    a_partial_frame_holds_no_buffer_after_the_end,
);

/// Checks that the session ended for this reason, and that nothing more is told of it.
fn expect_end(service: Fixture, reason: CloseReason) {
    let (session, found, _) = service.closed();
    assert_eq!(found, reason);
    let (report, events) = service.stop();
    assert_eq!(report.stats.closed(reason), 1);
    let again = events.iter().any(|event| matches!(event, Event::Closed(id, ..) if *id == session));
    assert!(!again, "closed was told twice");
}

fn a_client_that_closes_ends_its_session_as_peer_closed(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut client = service.client();
    client.ask(1, b"x");
    drop(client);
    expect_end(service, CloseReason::PeerClosed);
}

fn a_client_that_resets_ends_its_session_as_reset(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut client = service.client();
    client.ask(1, b"x");
    client.reset();
    expect_end(service, CloseReason::Reset);
}

fn a_half_closed_client_still_gets_its_answers(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut client = service.client();
    let stream: Vec<u8> = (0..100).flat_map(|number| frame(number, &pattern(5000))).collect();
    let mut reader = service_reader(&client);
    std::thread::scope(|scope| {
        let answers = scope.spawn(move || reader.read_to_end());
        client.send_bytes(&stream);
        client.finish();
        assert!(answers.join().unwrap() == stream, "all answers, then the end");
    });
    drop(client);
    expect_end(service, CloseReason::PeerClosed);
}

fn service_reader(client: &crate::common::Client) -> crate::common::Client {
    crate::common::Client { stream: client.stream.try_clone().unwrap() }
}

fn a_malformed_frame_ends_the_session_as_protocol(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut client = service.client();
    client.ask(1, b"well-formed");
    client.send_bytes(&[0, 3, 0, 1]);
    client.await_end();
    expect_end(service, CloseReason::Protocol);
}

fn a_silent_client_is_closed_as_idle(backend: Choice) {
    let service =
        Fixture::start(backend, Behaviour::default(), |builder| builder.idle_limit(Duration::from_millis(50)));
    let mut client = service.client();
    client.await_end();
    expect_end(service, CloseReason::Idle);
}

fn a_client_that_speaks_is_not_idle(backend: Choice) {
    let service = Fixture::start(backend, Behaviour::default(), |builder| builder.idle_limit(Duration::from_secs(10)));
    let mut client = service.client();
    for _ in 0..100 {
        client.ask(1, b"x");
    }
    drop(client);
    expect_end(service, CloseReason::PeerClosed);
}

fn a_graceful_close_delivers_everything_first(backend: Choice) {
    let act = |session: &mut Context<'_>, _: PacketView<'_>| {
        for number in 0..64 {
            session.send(number, &pattern(60_000)).unwrap();
        }
        session.close();
        assert!(session.send(1, b"too late").is_err());
    };
    let service = Fixture::start(backend, Behaviour { act, ..Behaviour::default() }, |builder| builder);
    let mut client = service.client();
    client.send(1, b"go");
    for number in 0..64 {
        assert!(client.receive() == (number, pattern(60_000)), "packet {number}");
    }
    assert!(client.read_to_end().is_empty());
    drop(client);
    expect_end(service, CloseReason::Requested);
}

fn an_abort_resets_the_client(backend: Choice) {
    let act = |session: &mut Context<'_>, _: PacketView<'_>| session.abort();
    let service = Fixture::start(backend, Behaviour { act, ..Behaviour::default() }, |builder| builder);
    let mut client = service.client();
    client.send(1, b"go");
    let error = client.try_receive().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    expect_end(service, CloseReason::Requested);
}

fn nothing_is_handled_after_a_close(backend: Choice) {
    let act = |session: &mut Context<'_>, packet: PacketView<'_>| {
        session.send(packet.id, &[]).unwrap();
        session.close();
    };
    let service = Fixture::start(backend, Behaviour { act, ..Behaviour::default() }, |builder| builder);
    let mut client = service.client();
    client.send_bytes(&[frame(1, &[]), frame(2, &[]), frame(3, &[])].concat());
    assert_eq!(client.receive(), (1, Vec::new()));
    assert!(client.read_to_end().is_empty());
    drop(client);
    expect_end(service, CloseReason::Requested);
}

fn a_client_that_never_closes_its_end_is_reset_after_the_limit(backend: Choice) {
    let act = |session: &mut Context<'_>, _: PacketView<'_>| session.close();
    let session = SessionOptions { close_limit: Duration::from_millis(50), ..SessionOptions::default() };
    let service =
        Fixture::start(backend, Behaviour { act, ..Behaviour::default() }, |builder| builder.session_options(session));
    let mut client = service.client();
    client.send(1, b"go");
    assert!(client.read_to_end().is_empty());
    // The client still holds its end open.
    let (_, reason, _) = service.closed();
    assert_eq!(reason, CloseReason::Requested);
    drop(client);
    service.stop();
}

fn a_partial_frame_holds_no_buffer_after_the_end(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut client = service.client();
    client.ask(1, b"x");
    client.send_bytes(&frame(1, &pattern(30_000))[..20_000]);
    drop(client);
    expect_end(service, CloseReason::PeerClosed);
}
