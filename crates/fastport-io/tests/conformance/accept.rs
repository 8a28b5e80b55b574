//! Accepting, one connection at a time and as a stream.

use std::collections::HashSet;

use fastport_io::{AsyncIoProvider, CloseMode, ErrorCode, Payload, ProviderConfig};

use crate::rig::{LOOPBACK, Listener, Outcome, Rig, peer_address};

/// Connects and waits until the connection stands; nobody needs to have accepted it.
fn connect_to<P: AsyncIoProvider>(rig: &mut Rig<P>, listener: Listener) -> fastport_io::SocketId {
    let client = rig.socket_for(&listener.address);
    let connect = rig.connect(client, &listener.address);
    rig.final_of(connect).result.expect("the listener's queue takes it");
    client
}

pub(crate) fn a_connection_made_before_the_accept_is_delivered<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let client = connect_to(&mut rig, listener);
    let accept = rig.accept(listener.id);
    let server = rig.final_of(accept).into_socket();
    let server = rig.attach(server);
    rig.assert_connected(client, server);
}

pub(crate) fn queued_accepts_are_served_in_the_order_of_their_submission<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let accepts: Vec<_> = (0..5).map(|_| rig.accept(listener.id)).collect();
    for (position, accept) in accepts.iter().enumerate() {
        let client = rig.socket_for(&listener.address);
        rig.connect(client, &listener.address);
        let server = rig.final_of(*accept).into_socket();
        assert!(peer_address(&server).port() != 0);
        let waiting = accepts[position + 1..].iter();
        assert!(waiting.copied().all(|accept| !rig.is_finished(accept)), "one connection completes one accept");
    }
}

pub(crate) fn an_accept_stream_delivers_every_connection_once<P: AsyncIoProvider>(config: &ProviderConfig) {
    const CONNECTIONS: usize = 150;
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let accepting = rig.accept_stream(listener.id);
    let mut connecting = HashSet::new();
    for _ in 0..CONNECTIONS {
        let client = rig.socket_for(&listener.address);
        connecting.insert(rig.connect(client, &listener.address));
    }
    let mut ports = HashSet::new();
    while ports.len() < CONNECTIONS {
        let completion = rig.step_of(accepting);
        assert!(completion.more, "the stream goes on");
        assert!(ports.insert(peer_address(&completion.into_socket()).port()), "a connection came twice");
    }
    for connect in connecting {
        assert!(rig.final_of(connect).result.is_ok());
    }
    rig.turn();
    assert!(!rig.is_finished(accepting));
    assert!(rig.take_arrived().is_empty(), "there were no other connections");
}

pub(crate) fn an_accept_stream_can_be_cancelled_and_started_again<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    for _ in 0..3 {
        let accepting = rig.accept_stream(listener.id);
        let client = connect_to(&mut rig, listener);
        let step = rig.step_of(accepting);
        assert!(step.more);
        let server = rig.attach(step.into_socket());
        rig.provider.cancel(accepting).unwrap();
        let last = rig.final_of(accepting);
        assert_eq!(last.code(), ErrorCode::Cancelled);
        assert!(matches!(last.payload, Payload::None));
        rig.assert_connected(client, server);
    }
}

pub(crate) fn an_accepted_socket_that_nobody_takes_is_closed<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let accept = rig.accept(listener.id);
    let client = connect_to(&mut rig, listener);
    drop(rig.final_of(accept));
    assert!(rig.receive_to_end(client).is_empty());
}

/// Some systems report such a connection by an error of the accept, some deliver it; none may end the stream.
pub(crate) fn a_connection_that_is_reset_in_the_queue_does_not_end_the_stream<P: AsyncIoProvider>(
    config: &ProviderConfig,
) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let early = connect_to(&mut rig, listener);
    let close = rig.close(early, CloseMode::Abortive);
    rig.final_of(close);

    let accepting = rig.accept_stream(listener.id);
    let client = connect_to(&mut rig, listener);
    let port = crate::rig::local_address(rig.provider.socket(client).unwrap()).port();
    loop {
        let step = rig.step_of(accepting);
        assert!(step.more, "the stream goes on: {step:?}");
        let server = step.into_socket();
        // The one that was reset has no peer any more.
        let peer = server.peer_addr().ok();
        if peer.is_some_and(|peer| peer.port() == port) {
            let server = rig.attach(server);
            rig.assert_connected(client, server);
            return;
        }
    }
}

pub(crate) fn only_a_listener_accepts<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let unbound = rig.socket_for(&LOOPBACK);
    let (connected, _) = rig.pair();
    for socket in [unbound, connected] {
        let accept = rig.accept(socket);
        assert!(rig.final_of(accept).result.is_err());
        let accepting = rig.accept_stream(socket);
        assert!(rig.final_of(accepting).result.is_err());
    }
}

pub(crate) fn a_closed_listener_refuses<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let accepting = rig.accept_stream(listener.id);
    let client = connect_to(&mut rig, listener);
    let server = rig.step_of(accepting).into_socket();
    let server = rig.attach(server);
    rig.close_now(listener.id);
    assert_eq!(rig.final_of(accepting).code(), ErrorCode::Cancelled);

    let late = rig.socket_for(&listener.address);
    let connect = rig.connect(late, &listener.address);
    assert_eq!(rig.final_of(connect).code(), ErrorCode::ConnectionRefused);
    rig.assert_connected(client, server);
}

pub(crate) fn two_listeners_are_served_side_by_side<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listeners = [rig.listen(), rig.listen()];
    let streams = listeners.map(|listener| rig.accept_stream(listener.id));
    for round in 0..6 {
        connect_to(&mut rig, listeners[round % 2]);
        assert!(rig.step_of(streams[round % 2]).more);
    }
}
