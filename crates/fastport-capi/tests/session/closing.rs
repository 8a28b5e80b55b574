//! How sessions end, and what happens to packets for those that have, or that read too slowly.

use std::io::ErrorKind;

use fastport_capi::error::FP_OK;
use fastport_capi::session::options::fp_server_options;
use fastport_capi::session::reason::{
    FP_CLOSED_BACKPRESSURE, FP_CLOSED_CALLBACK_FAILED, FP_CLOSED_IDLE, FP_CLOSED_PACKET_RATE, FP_CLOSED_PEER_CLOSED,
    FP_CLOSED_PROTOCOL, FP_CLOSED_REQUESTED,
};
use fastport_capi::session::send::{
    FP_QUEUE_FULL, FP_SESSION_CLOSED, fp_callback_failed, fp_session_abort, fp_session_close, fp_session_is_open,
};

use super::probe::{Event, OnPacket, Server, done, last_message, options, send};

fn nothing() -> OnPacket {
    Box::new(|_, _, _, _| ())
}

#[test]
fn a_graceful_close_sends_what_is_queued() {
    let server = Server::start(&options(), nothing());
    let (mut client, session) = server.client();
    done(send(server.handle, session, 1, b"good bye"));
    done(fp_session_close(server.handle, session));
    assert_eq!(client.receive(), (1, b"good bye".to_vec()));
    assert!(client.rest().unwrap().is_empty());
    drop(client);
    assert_eq!(server.closed(), (session, FP_CLOSED_REQUESTED));
    assert!(!fp_session_is_open(server.handle, session));
    assert_eq!(send(server.handle, session, 1, b""), FP_SESSION_CLOSED);
    assert_eq!(fp_session_close(server.handle, session), FP_SESSION_CLOSED);
    assert_eq!(fp_session_abort(server.handle, session), FP_SESSION_CLOSED);
}

#[test]
fn a_callback_can_close_its_own_session_after_a_reply() {
    let on_packet: OnPacket = Box::new(|server, session, id, _| {
        done(send(server, session, id, b"last words"));
        done(fp_session_close(server, session));
        assert_eq!(send(server, session, id, b"too late"), FP_SESSION_CLOSED);
    });
    let server = Server::start(&options(), on_packet);
    let (mut client, session) = server.client();
    client.send(4, b"end it");
    assert_eq!(client.receive(), (4, b"last words".to_vec()));
    assert!(client.rest().unwrap().is_empty());
    drop(client);
    assert_eq!(server.closed(), (session, FP_CLOSED_REQUESTED));
}

#[test]
fn an_abort_resets_the_connection() {
    let server = Server::start(&options(), nothing());
    let (mut client, session) = server.client();
    done(fp_session_abort(server.handle, session));
    assert_eq!(client.rest().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.closed(), (session, FP_CLOSED_REQUESTED));
}

#[test]
fn a_callback_that_fails_ends_its_session_and_no_other() {
    for handler_threads in [0, 2] {
        let on_packet: OnPacket = Box::new(|server, session, id, _| {
            if id == 13 {
                // SAFETY: the text is a constant.
                done(unsafe { fp_callback_failed(c"an exception was thrown".as_ptr()) });
            } else {
                done(send(server, session, id, b"fine"));
            }
        });
        let server = Server::start(&fp_server_options { handler_threads, ..options() }, on_packet);
        let (mut other, _) = server.client();
        let (mut client, session) = server.client();
        client.send(13, b"");
        assert_eq!(client.rest().unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(server.closed(), (session, FP_CLOSED_CALLBACK_FAILED));
        other.send(1, b"");
        assert_eq!(other.receive(), (1, b"fine".to_vec()));
    }
}

#[test]
fn the_end_tells_why_and_what_was_counted() {
    let server = Server::start(&options(), nothing());
    let (mut client, session) = server.client();
    client.send(1, b"one");
    client.send(2, b"two");
    assert!(matches!(server.event(), Event::Packet { id: 1, .. }));
    assert!(matches!(server.event(), Event::Packet { id: 2, .. }));
    drop(client);
    assert_eq!(server.event(), Event::Closed { session, reason: FP_CLOSED_PEER_CLOSED, packets_received: 2 });
}

#[test]
fn limits_end_sessions_with_their_reasons() {
    let server = Server::start(&fp_server_options { idle_limit_ms: 50, ..options() }, nothing());
    let (_silent, session) = server.client();
    assert_eq!(server.closed(), (session, FP_CLOSED_IDLE));
    let server = Server::start(&fp_server_options { max_packets_per_second: 1, ..options() }, nothing());
    let (mut hasty, session) = server.client();
    for id in 0..3 {
        hasty.send(id, b"");
    }
    assert_eq!(server.closed(), (session, FP_CLOSED_PACKET_RATE));
    let (mut wrong, session) = server.client();
    std::io::Write::write_all(&mut wrong.0, &[0, 3, 0, 0]).unwrap();
    assert_eq!(server.closed(), (session, FP_CLOSED_PROTOCOL));
}

#[test]
fn clients_beyond_the_maximum_are_refused() {
    let server = Server::start(&fp_server_options { max_sessions: 1, ..options() }, nothing());
    let (_first, _) = server.client();
    let mut second = super::probe::Client::connect(server.address());
    assert_eq!(server.event(), Event::Refused { reason: "sessions".to_owned() });
    // The end of the stream or a reset, as the system likes.
    assert!(second.rest().unwrap_or_default().is_empty());
}

/// What fits into the buffers of both systems, several times over.
const MOST_PACKETS: usize = 20_000;

#[test]
fn a_session_whose_peer_does_not_read_is_full_and_tells_when_it_is_writable() {
    // This thread may be far ahead of the session's, so the limit is far beyond the mark.
    let marks = fp_server_options { high_water_bytes: 65_536, queue_limit_bytes: 1 << 30, ..options() };
    let server = Server::start(&fp_server_options { send_buffer_bytes: 16_384, ..marks }, nothing());
    let (mut client, session) = server.client();
    let payload = [5; 4092];
    let mut sent = 0;
    loop {
        match send(server.handle, session, 1, &payload) {
            FP_OK => sent += 1,
            FP_QUEUE_FULL => break,
            other => panic!("{other}: {}", last_message()),
        }
        assert!(sent < MOST_PACKETS, "the queue has a limit");
    }
    // Everything that was taken arrives.
    for _ in 0..sent {
        assert_eq!(client.receive().1.len(), payload.len());
    }
    assert_eq!(server.event(), Event::Writable { session });
    done(send(server.handle, session, 2, b"again"));
    assert_eq!(client.receive(), (2, b"again".to_vec()));
}

#[test]
fn a_callback_that_sends_more_than_its_peer_reads_loses_the_session() {
    let small = fp_server_options { high_water_bytes: 65_536, send_buffer_bytes: 16_384, ..options() };
    let on_packet: OnPacket = Box::new(|server, session, id, _| {
        let refused = (0..MOST_PACKETS).any(|_| send(server, session, id, &[5; 4092]) != FP_OK);
        assert!(refused, "the queue has a limit");
    });
    let server = Server::start(&small, on_packet);
    let (mut client, session) = server.client();
    client.send(1, b"flood me");
    assert_eq!(server.closed(), (session, FP_CLOSED_BACKPRESSURE));
}
