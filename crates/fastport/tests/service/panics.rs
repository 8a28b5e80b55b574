//! Handlers that panic.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::BufMut;
use fastport::{CloseReason, Context, Handler, HandlerThreads, PacketId, PacketView, Service};
use fastport_io::Choice;

use crate::common::{Client, PATIENCE, localhost};
use crate::probe::{Behaviour, Fixture, echo, on_every_backend};

on_every_backend!(
    a_panic_ends_its_session_and_no_other,
    a_panic_in_accepted_ends_the_session,
    a_writer_that_writes_too_much_ends_the_session_and_sends_nothing,
    a_panic_without_a_session_is_counted_and_harms_nobody,
);

const PANIC: PacketId = PacketId(0xDEAD);

fn panic_on_demand(session: &mut Context<'_>, packet: PacketView<'_>) {
    assert!(packet.id != PANIC, "the client wants a panic");
    echo(session, packet);
}

fn a_panic_ends_its_session_and_no_other(backend: Choice) {
    let service =
        Fixture::start(backend, Behaviour { act: panic_on_demand, ..Behaviour::default() }, |builder| builder);
    let mut bystander = service.client();
    bystander.ask(1, b"before");
    let mut client = service.client();
    client.send(PANIC.0, &[]);
    client.await_end();
    assert_eq!(service.closed().1, CloseReason::HandlerPanic);
    assert_eq!(bystander.ask(1, b"after"), (1, b"after".to_vec()));
    drop(bystander);
    let (report, _) = service.stop();
    assert_eq!(report.stats.handler_panics, 1);
}

fn a_panic_in_accepted_ends_the_session(backend: Choice) {
    let service = Fixture::start(
        backend,
        Behaviour { accepted: |_| panic!("no one is welcome"), ..Behaviour::default() },
        |builder| builder,
    );
    // The session may have ended before the client learns that it is connected.
    if let Ok(stream) = TcpStream::connect_timeout(&service.address(), PATIENCE) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream }.await_end();
    }
    assert_eq!(service.closed().1, CloseReason::HandlerPanic);
    service.stop();
}

fn a_writer_that_writes_too_much_ends_the_session_and_sends_nothing(backend: Choice) {
    let act = |session: &mut Context<'_>, packet: PacketView<'_>| {
        let _ = session.send_with(packet.id, 10, |target| target.put_slice(&[7; 11]));
    };
    let service = Fixture::start(backend, Behaviour { act, ..Behaviour::default() }, |builder| builder);
    let mut client = service.client();
    client.send(1, &[]);
    assert!(client.try_receive().is_err());
    assert_eq!(service.closed().1, CloseReason::HandlerPanic);
    service.stop();
}

/// Panics whenever it ticks, and echoes.
struct Clockless;

impl Handler for Clockless {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        echo(session, packet);
    }

    fn tick(&mut self, _: Instant) {
        panic!("there is no clock");
    }
}

fn a_panic_without_a_session_is_counted_and_harms_nobody(backend: Choice) {
    for threads in [HandlerThreads::Inline, HandlerThreads::Pool(2)] {
        let service = Service::builder(|_| Clockless).backend(backend).workers(1).listen(localhost());
        let service = service.handlers(threads).tick(Duration::from_millis(2)).start().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while service.stats().handler_panics < 3 {
            assert!(Instant::now() < deadline, "not in time: three panics of {threads:?}");
            std::thread::yield_now();
        }
        let mut client = Client::connect(service.local_addresses()[0]);
        assert_eq!(client.ask(1, b"alive"), (1, b"alive".to_vec()));
        drop(client);
        assert_eq!(service.stop(PATIENCE).failure, None);
    }
}
