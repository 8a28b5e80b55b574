//! Other threads, through handles.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastport::{CloseReason, Context, Packet, PacketId, PacketView, SendError};
use fastport_io::Choice;

use crate::common::{Client, PATIENCE, pattern};
use crate::probe::{Behaviour, Event, Fixture, on_every_backend};

on_every_backend!(
    a_handle_sends_from_another_thread_in_order,
    a_thread_that_sends_faster_than_its_worker_takes_is_refused_and_loses_nothing,
    a_handle_to_a_dead_session_says_closed,
    a_handle_closes_and_aborts_sessions,
    a_broadcast_reaches_every_session_and_skips_the_dead,
    a_payload_beyond_the_maximum_is_refused,
    ticks_come_at_their_period,
);

fn a_handle_sends_from_another_thread_in_order(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut client = service.client();
    let session = service.handle().session(service.accepted());
    let sender = std::thread::spawn(move || {
        for number in 0..1000 {
            session.send(number, &pattern(usize::from(number))).unwrap();
        }
    });
    for number in 0..1000 {
        assert!(client.receive() == (number, pattern(usize::from(number))), "packet {number}");
    }
    sender.join().unwrap();
    drop(client);
    service.stop();
}

fn a_thread_that_sends_faster_than_its_worker_takes_is_refused_and_loses_nothing(backend: Choice) {
    // The handler of its first packet keeps the worker for as long as this is held.
    static BUSY: Mutex<()> = Mutex::new(());
    let wait = |_: &mut Context<'_>, _: PacketView<'_>| drop(BUSY.lock().unwrap());
    let service = Fixture::start(backend, Behaviour { act: wait, ..Behaviour::default() }, |builder| builder);
    let mut client = service.client();
    let session = service.handle().session(service.accepted());
    let busy = BUSY.lock().unwrap();
    client.send(1, b"");
    // Much more than may be queued for a session.
    let (mut accepted, mut refused) = (0, 0);
    for number in 0..100_000_u32 {
        match session.send(1, &number.to_be_bytes().repeat(16)) {
            Ok(()) => accepted += 1,
            Err(error) => {
                assert_eq!(error, SendError::Full);
                refused += 1;
            }
        }
    }
    drop(busy);
    assert!(refused > 0);
    let mut before = None;
    for _ in 0..accepted {
        let number = client.receive().1;
        assert!(Some(&number[..4]) > before.as_deref(), "packets are in order, and each comes once");
        before = Some(number[..4].to_vec());
    }
    // What was refused is not there, and the session lives.
    let deadline = Instant::now() + PATIENCE;
    while session.send(2, b"still here") == Err(SendError::Full) {
        assert!(Instant::now() < deadline, "the queue is empty");
        std::thread::yield_now();
    }
    assert_eq!(client.receive(), (2, b"still here".to_vec()));
    drop(client);
    service.stop();
}

fn a_handle_to_a_dead_session_says_closed(backend: Choice) {
    let service = Fixture::echo(backend);
    let client = service.client();
    let session = service.handle().session(service.accepted());
    assert!(session.is_open());
    drop(client);
    service.closed();
    assert!(!session.is_open());
    assert_eq!(session.send(1, b"x"), Err(SendError::Closed));
    assert!(!session.close());
    // The slot is used again, the handle still means the old session.
    let mut client = service.client();
    let second = service.accepted();
    assert_ne!(second, session.id());
    assert_eq!(session.send(1, b"x"), Err(SendError::Closed));
    assert_eq!(client.ask(2, b"y"), (2, b"y".to_vec()));
    drop(client);
    service.stop();
    assert_eq!(session.send(1, b"x"), Err(SendError::Closed));
}

fn a_handle_closes_and_aborts_sessions(backend: Choice) {
    let service = Fixture::echo(backend);
    let handle = service.handle();
    let mut client = service.client();
    let session = service.accepted();
    handle.send(session, 1, b"last").unwrap();
    assert!(handle.close(session));
    assert_eq!(client.receive(), (1, b"last".to_vec()));
    assert!(client.read_to_end().is_empty());
    drop(client);
    assert_eq!(service.closed().1, CloseReason::Requested);

    let mut client = service.client();
    assert!(handle.abort(service.accepted()));
    assert!(client.try_receive().is_err());
    assert_eq!(service.closed().1, CloseReason::Requested);
    service.stop();
}

fn a_broadcast_reaches_every_session_and_skips_the_dead(backend: Choice) {
    let service = Fixture::start(backend, Behaviour::default(), |builder| builder.workers(2));
    let mut clients: Vec<Client> = (0..10).map(|_| service.client()).collect();
    let sessions: Vec<_> = (0..10).map(|_| service.accepted()).collect();
    // Large, so that it is shared, and small, so that it is copied.
    for size in [50_000, 10] {
        let frame = Packet::new(PacketId(5), &pattern(size)).unwrap().into_shared_frame();
        assert_eq!(service.handle().broadcast(&sessions, &frame), sessions.len());
        for client in &mut clients {
            assert!(client.receive() == (5, pattern(size)));
        }
    }
    drop(clients.pop());
    service.closed();
    let frame = Packet::new(PacketId(6), b"to the living").unwrap().into_shared_frame();
    assert_eq!(service.handle().broadcast(&sessions, &frame), sessions.len() - 1);
    for client in &mut clients {
        assert_eq!(client.receive(), (6, b"to the living".to_vec()));
    }
    drop(clients);
    service.stop();
    assert_eq!(Arc::strong_count(&frame), 1, "nobody holds the frame any more");
}

fn a_payload_beyond_the_maximum_is_refused(backend: Choice) {
    let act = |session: &mut fastport::Context<'_>, packet: fastport::PacketView<'_>| {
        assert_eq!(session.send(1, &vec![0; 65_532]), Err(SendError::TooLarge));
        session.send(packet.id, packet.payload).unwrap();
    };
    let service = Fixture::start(backend, Behaviour { act, ..Behaviour::default() }, |builder| builder);
    let mut client = service.client();
    let session = service.accepted();
    assert_eq!(client.ask(1, b"still here"), (1, b"still here".to_vec()));
    assert_eq!(service.handle().send(session, 1, &vec![0; 65_532]), Err(SendError::TooLarge));
    drop(client);
    service.stop();
}

fn ticks_come_at_their_period(backend: Choice) {
    let service = Fixture::start(backend, Behaviour::default(), |builder| builder.tick(Duration::from_millis(2)));
    for _ in 0..10 {
        service.wait_for("tick", |event| matches!(event, Event::Tick).then_some(()));
    }
    service.stop();
}
