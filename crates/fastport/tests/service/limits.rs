//! Limits of sessions, and options that cannot be.

use std::time::Instant;

use fastport::{Error, Refusal, Service};
use fastport_io::{Backend, Choice};

use crate::common::{Client, PATIENCE, localhost};
use crate::probe::{Behaviour, Fixture, on_every_backend};

on_every_backend!(
    clients_beyond_the_maximum_are_closed_and_places_come_free,
    a_port_in_use_is_named_in_the_error,
    a_service_that_stops_accepting_keeps_its_sessions,
);

fn clients_beyond_the_maximum_are_closed_and_places_come_free(backend: Choice) {
    let service = Fixture::start(backend, Behaviour::default(), |builder| builder.max_sessions(2).workers(2));
    let mut first = service.client();
    let mut second = service.client();
    first.ask(1, b"x");
    second.ask(1, b"x");
    service.client().await_end();
    assert_eq!(service.refused(), Refusal::Sessions);
    service.await_stats("one refusal", |stats| stats.refused == 1 && stats.refused_at_maximum == 1);
    drop(first);
    service.closed();
    // The place is free once the worker has let go of it, which is just after it told the handler.
    service.await_stats("a free place", |stats| stats.sessions == 1);
    assert_eq!(service.client().ask(2, b"y"), (2, b"y".to_vec()));
    drop(second);
    service.stop();
}

fn a_port_in_use_is_named_in_the_error(backend: Choice) {
    let service = Fixture::echo(backend);
    let address = service.address();
    let error = Service::builder(|_| Nobody).backend(backend).listen(address).start().unwrap_err();
    assert!(matches!(error, Error::Io(_)));
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.lines().count() == 1, "{text}");
    service.stop();
}

fn a_service_that_stops_accepting_keeps_its_sessions(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut client = service.client();
    client.ask(1, b"x");
    service.handle().stop_accepting();
    // The listener goes when its worker gets to it; until then connections are made by the system.
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(service.address()).is_ok() {
        assert!(Instant::now() < deadline, "the listener is still there");
        std::thread::yield_now();
    }
    assert_eq!(client.ask(1, b"still served"), (1, b"still served".to_vec()));
    drop(client);
    service.stop();
}

struct Nobody;

impl fastport::Handler for Nobody {
    fn packet(&mut self, _: &mut fastport::Context<'_>, _: fastport::PacketView<'_>) {}
}

#[test]
fn a_foreign_backend_is_refused_with_one_line() {
    let foreign = if cfg!(windows) { Backend::Epoll } else { Backend::Rio };
    let error = Service::builder(|_| Nobody).backend(Choice::Only(foreign)).listen(localhost()).start().unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1);
}

#[test]
fn a_service_that_is_dropped_stops() {
    let service = Service::builder(|_| Nobody).workers(2).listen(localhost()).start().unwrap();
    let mut client = Client::connect(service.local_addresses()[0]);
    let handle = service.handle();
    drop(service);
    client.await_end();
    assert_eq!(handle.sessions(), 0);
}
