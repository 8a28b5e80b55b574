//! Handlers on threads of their own.

use std::time::Duration;

use fastport::{CloseReason, Context, Handler, HandlerThreads, PacketId, PacketView, Service};
use fastport_io::Choice;

use crate::common::{Client, frame, localhost, pattern};
use crate::probe::{Behaviour, Event, Fixture, echo, on_every_backend};

on_every_backend!(
    a_pool_keeps_the_order_of_each_session,
    a_half_closed_client_still_gets_its_answers_from_the_pool,
    a_panic_on_a_handler_thread_ends_its_session_and_no_other,
    a_close_on_a_handler_thread_sends_what_came_before_and_handles_nothing_after,
    the_threads_of_a_pool_tick,
    a_pool_sends_packets_larger_than_its_buffers,
    a_handler_that_cannot_be_made_ends_the_service_with_its_reason,
);

fn pooled(backend: Choice, behaviour: Behaviour) -> Fixture {
    Fixture::start(backend, behaviour, |builder| builder.handlers(HandlerThreads::Pool(3)).workers(2))
}

fn a_pool_keeps_the_order_of_each_session(backend: Choice) {
    let service = pooled(backend, Behaviour::default());
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = service.client();
            std::thread::spawn(move || {
                let stream: Vec<u8> = (0..2000).flat_map(|number| frame(number, &number.to_be_bytes())).collect();
                client.send_bytes(&stream);
                (0..2000_u16).all(|number| client.receive() == (number, number.to_be_bytes().to_vec()))
            })
        })
        .collect();
    for client in clients {
        assert!(client.join().unwrap());
    }
    let (report, _) = service.stop();
    assert_eq!(report.stats.packets_received, 16_000);
    assert_eq!(report.stats.packets_sent, 16_000);
}

fn a_half_closed_client_still_gets_its_answers_from_the_pool(backend: Choice) {
    let service = pooled(backend, Behaviour::default());
    let mut client = service.client();
    let stream: Vec<u8> = (0..50).flat_map(|number| frame(number, &pattern(3000))).collect();
    let mut reader = Client { stream: client.stream.try_clone().unwrap() };
    let answers = std::thread::spawn(move || reader.read_to_end());
    client.send_bytes(&stream);
    client.finish();
    assert!(answers.join().unwrap() == stream);
    drop(client);
    assert_eq!(service.closed().1, CloseReason::PeerClosed);
    service.stop();
}

fn a_panic_on_a_handler_thread_ends_its_session_and_no_other(backend: Choice) {
    let act = |session: &mut Context<'_>, packet: PacketView<'_>| {
        assert!(packet.id != PacketId(0xDEAD), "the client wants a panic");
        echo(session, packet);
    };
    let service = pooled(backend, Behaviour { act, ..Behaviour::default() });
    let mut bystanders: Vec<Client> = (0..6).map(|_| service.client()).collect();
    let mut client = service.client();
    client.send(0xDEAD, &[]);
    client.await_end();
    assert_eq!(service.closed().1, CloseReason::HandlerPanic);
    for bystander in &mut bystanders {
        assert_eq!(bystander.ask(1, b"after"), (1, b"after".to_vec()));
    }
    drop(bystanders);
    let (report, _) = service.stop();
    assert_eq!(report.stats.handler_panics, 1);
}

fn a_close_on_a_handler_thread_sends_what_came_before_and_handles_nothing_after(backend: Choice) {
    let act = |session: &mut Context<'_>, packet: PacketView<'_>| {
        session.send(packet.id, packet.payload).unwrap();
        session.close();
        assert!(session.send(packet.id, &[]).is_err());
    };
    let service = pooled(backend, Behaviour { act, ..Behaviour::default() });
    let mut client = service.client();
    client.send_bytes(&[frame(1, b"one"), frame(2, b"two")].concat());
    assert_eq!(client.receive(), (1, b"one".to_vec()));
    assert!(client.read_to_end().is_empty());
    drop(client);
    assert_eq!(service.closed().1, CloseReason::Requested);
    service.stop();
}

fn the_threads_of_a_pool_tick(backend: Choice) {
    let service = Fixture::start(backend, Behaviour::default(), |builder| {
        builder.handlers(HandlerThreads::Pool(1)).tick(Duration::from_millis(2))
    });
    for _ in 0..5 {
        service.wait_for("tick", |event| matches!(event, Event::Tick).then_some(()));
    }
    service.stop();
}

fn a_pool_sends_packets_larger_than_its_buffers(backend: Choice) {
    let service = pooled(backend, Behaviour::default());
    let mut client = service.client();
    for size in [0, 1, 5000, 65_531, 10] {
        assert!(client.ask(3, &pattern(size)) == (3, pattern(size)), "{size} bytes");
    }
    drop(client);
    service.stop();
}

fn a_handler_that_cannot_be_made_ends_the_service_with_its_reason(backend: Choice) {
    let make = |_: usize| -> Nobody { panic!("no handler today") };
    let service = Service::builder(make)
        .backend(backend)
        .workers(1)
        .handlers(HandlerThreads::Pool(2))
        .listen(localhost())
        .start()
        .unwrap();
    let failure = service.wait().failure.expect("the service cannot go on");
    assert!(failure.to_string().contains("no handler today"), "{failure}");

    let inline = Service::builder(make).backend(backend).workers(1).listen(localhost()).start();
    assert!(inline.unwrap_err().to_string().contains("no handler today"));
}

struct Nobody;

impl Handler for Nobody {
    fn packet(&mut self, _: &mut Context<'_>, _: PacketView<'_>) {}
}
