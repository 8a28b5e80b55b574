//! The end of a service.

use std::time::Duration;

use fastport::{CloseReason, Context, PacketView};
use fastport_io::Choice;

use crate::common::{Client, PATIENCE, pattern};
use crate::probe::{Behaviour, Event, Fixture, on_every_backend};

on_every_backend!(
    a_stop_delivers_what_is_queued,
    a_stop_ends_clients_that_do_not_go_by_themselves,
    a_stop_from_a_handle_ends_the_wait,
    a_service_without_sessions_stops_at_once,
);

fn a_stop_delivers_what_is_queued(backend: Choice) {
    let act = |session: &mut Context<'_>, _: PacketView<'_>| {
        for number in 0..60 {
            session.send(number, &pattern(60_000)).unwrap();
        }
    };
    let service = Fixture::start(backend, Behaviour { act, ..Behaviour::default() }, |builder| builder.workers(2));
    let mut clients: Vec<Client> = (0..4).map(|_| service.client()).collect();
    for client in &mut clients {
        client.send(1, b"go");
    }
    service.await_stats("all is queued", |stats| stats.packets_sent == 240);
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                let whole = (0..60).all(|number| client.receive() == (number, pattern(60_000)));
                whole && client.read_to_end().is_empty()
            })
        })
        .collect();
    let (report, events) = service.stop();
    assert_eq!(report.aborted, 0);
    let closed = events.iter().filter(|event| matches!(event, Event::Closed(_, CloseReason::Shutdown, _)));
    assert_eq!(closed.count(), 4);
    for reader in readers {
        assert!(reader.join().unwrap(), "everything arrives, then the end");
    }
}

fn a_stop_ends_clients_that_do_not_go_by_themselves(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut clients: Vec<Client> = (0..5).map(|_| service.client()).collect();
    for client in &mut clients {
        client.ask(1, b"x");
    }
    let (report, events) = service.stop_with(Duration::from_millis(50));
    assert_eq!(report.aborted, 5);
    let closed = events.iter().filter(|event| matches!(event, Event::Closed(_, CloseReason::Shutdown, _)));
    assert_eq!(closed.count(), 5);
    assert!(report.elapsed < PATIENCE);
    for client in &mut clients {
        client.await_end();
    }
}

fn a_stop_from_a_handle_ends_the_wait(backend: Choice) {
    let service = Fixture::start(backend, Behaviour::default(), |builder| builder.workers(2));
    let handle = service.handle();
    let stopper = std::thread::spawn(move || handle.stop(Duration::ZERO));
    let (report, _) = service.stop();
    stopper.join().unwrap();
    assert_eq!(report.failure, None);
}

fn a_service_without_sessions_stops_at_once(backend: Choice) {
    let service = Fixture::echo(backend);
    let (report, events) = service.stop_with(Duration::from_secs(3600));
    assert_eq!(report.aborted, 0);
    assert!(events.is_empty());
}
