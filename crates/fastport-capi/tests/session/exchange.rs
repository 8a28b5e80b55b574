//! Packets to and from sessions.

use std::io::{Read, Write};

use fastport_capi::session::framing::FP_FRAMING_LENGTH;
use fastport_capi::session::options::fp_server_options;
use fastport_capi::session::send::{FP_PACKET_TOO_LARGE, FP_SESSION_CLOSED, fp_server_broadcast, fp_session_forward};
use fastport_capi::session::{fp_server, fp_session};

use super::probe::{Client, Event, OnPacket, Server, backends, done, options, send};

/// Answers with the payload twice and the next id.
fn answer() -> OnPacket {
    Box::new(|server, session, id, payload| done(send(server, session, id + 1, &[payload, payload].concat())))
}

/// Inline, and on handler threads, on every backend.
fn for_each_way(body: impl Fn(&fp_server_options)) {
    for backend in backends() {
        for handler_threads in [0, 2] {
            body(&fp_server_options { backend: backend.as_ptr(), handler_threads, ..options() });
        }
    }
}

#[test]
fn a_packet_is_answered_from_its_callback() {
    for_each_way(|options| {
        let server = Server::start(options, answer());
        let mut client = Client::connect(server.address());
        for number in 0..100 {
            client.send(number, b"hey");
            assert_eq!(client.receive(), (number + 1, b"heyhey".to_vec()));
        }
        let Event::Accepted { session, peer } = server.event() else { panic!("not accepted first") };
        assert_eq!(peer, client.0.local_addr().unwrap().to_string());
        assert_eq!(server.event(), Event::Packet { session, id: 0, payload: b"hey".to_vec() });
    });
}

#[test]
fn a_packet_is_forwarded_as_it_came_small_or_large() {
    for_each_way(|options| {
        let server =
            Server::start(options, Box::new(|server, session, _, _| done(fp_session_forward(server, session))));
        let mut client = Client::connect(server.address());
        for bytes in [0, 10, 4000, 65_531] {
            let payload: Vec<u8> = (0..bytes).map(|position| position as u8).collect();
            client.send(7, &payload);
            assert_eq!(client.receive(), (7, payload));
        }
    });
}

#[test]
fn a_packet_is_forwarded_to_another_session() {
    let server = Server::start(
        &options(),
        Box::new(|server, _, _, payload| {
            let target = fp_session::from_ne_bytes(payload.try_into().unwrap());
            done(fp_session_forward(server, target));
        }),
    );
    let (mut from, _) = server.client();
    let (mut to, session) = server.client();
    from.send(9, &session.to_ne_bytes());
    assert_eq!(to.receive(), (9, session.to_ne_bytes().to_vec()));
}

#[test]
fn packets_of_another_thread_arrive_in_their_order() {
    for_each_way(|options| {
        let server = Server::start(options, answer());
        let (mut client, session) = server.client();
        let handle = server.handle;
        let sender = std::thread::spawn(move || (0..1000).for_each(|id| done(send(handle, session, id, b"x"))));
        for id in 0..1000 {
            assert_eq!(client.receive(), (id, b"x".to_vec()));
        }
        sender.join().unwrap();
    });
}

fn broadcast(server: fp_server, sessions: &[fp_session], id: u16, payload: &[u8]) -> usize {
    let mut reached = 0;
    // SAFETY: the arrays are as long as said.
    done(unsafe {
        fp_server_broadcast(
            server,
            sessions.as_ptr(),
            sessions.len(),
            id,
            payload.as_ptr().cast(),
            payload.len(),
            &raw mut reached,
        )
    });
    reached
}

#[test]
fn a_broadcast_reaches_every_session_that_lives() {
    let server = Server::start(&options(), answer());
    let (mut clients, mut sessions): (Vec<_>, Vec<_>) = (0..20).map(|_| server.client()).unzip();
    // The last one leaves; the number 5 was never a session.
    drop(clients.pop());
    assert_eq!(server.closed().0, sessions[19]);
    sessions.push(5);
    for payload in [b"small".to_vec(), vec![7; 50_000]] {
        assert_eq!(broadcast(server.handle, &sessions, 3, &payload), 19);
        for client in &mut clients {
            assert_eq!(client.receive(), (3, payload.clone()));
        }
    }
    assert_eq!(broadcast(server.handle, &[], 3, b"nobody"), 0);
}

#[test]
fn a_callback_that_broadcasts_reaches_its_own_session_in_the_order_of_its_calls() {
    for_each_way(|options| {
        let on_packet: OnPacket = Box::new(|server, session, id, _| {
            assert_eq!(broadcast(server, &[session], id, b"to all"), 1);
            done(send(server, session, id, b"to you"));
        });
        let server = Server::start(options, on_packet);
        let mut client = Client::connect(server.address());
        for id in 0..50 {
            client.send(id, b"");
            assert_eq!(client.receive(), (id, b"to all".to_vec()));
            assert_eq!(client.receive(), (id, b"to you".to_vec()));
        }
    });
}

#[test]
fn streams_can_be_cut_by_a_length_of_32_bits() {
    let options = fp_server_options { framing: FP_FRAMING_LENGTH, max_frame_bytes: 1 << 20, ..options() };
    let server = Server::start(&options, answer());
    let mut client = Client::connect(server.address());
    let payload = vec![9; 300_000];
    client.0.write_all(&(payload.len() as u32).to_be_bytes()).unwrap();
    client.0.write_all(&payload).unwrap();
    let mut reply = vec![0; 4 + 600_000];
    client.0.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..4], 600_000_u32.to_be_bytes());
    assert!(reply[4..].iter().all(|byte| *byte == 9));
}

#[test]
fn a_packet_that_does_not_fit_is_refused_and_the_session_lives() {
    let server = Server::start(&options(), answer());
    let (mut client, session) = server.client();
    assert_eq!(send(server.handle, session, 1, &vec![0; 65_532]), FP_PACKET_TOO_LARGE);
    done(send(server.handle, session, 1, b"fits"));
    assert_eq!(client.receive(), (1, b"fits".to_vec()));
}

#[test]
fn numbers_that_are_no_session_are_closed_ones() {
    let server = Server::start(&options(), answer());
    let (_client, session) = server.client();
    for wrong in [0, u64::MAX, session ^ 1 << 32, session ^ 1 << 60, session + 1] {
        assert_eq!(send(server.handle, wrong, 1, b""), FP_SESSION_CLOSED, "{wrong:#x}");
    }
}
