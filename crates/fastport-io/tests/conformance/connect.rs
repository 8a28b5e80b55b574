//! Connecting: success, refusal, and what is queued behind.

use std::net::{Ipv6Addr, SocketAddr};

use fastport_io::{AsyncIoProvider, CloseMode, ErrorCode, OpKind, Payload, ProviderConfig};

use crate::rig::{LOOPBACK, Outcome, Rig, local_address, pattern, peer_address};

pub(crate) fn both_ends_know_each_other_s_address<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let accept = rig.accept(listener.id);
    let client = rig.socket_for(&listener.address);
    let connect = rig.connect(client, &listener.address);
    let connected = rig.final_of(connect);
    assert_eq!(connected.kind, OpKind::Connect);
    assert_eq!(connected.bytes_moved(), 0);
    assert!(matches!(connected.payload, Payload::None));

    let server = rig.final_of(accept).into_socket();
    let client = rig.provider.socket(client).unwrap();
    assert_eq!(peer_address(client), listener.address);
    assert_eq!(local_address(&server), listener.address);
    assert_eq!(peer_address(&server), local_address(client));
}

pub(crate) fn a_connection_over_ipv6_carries_data_both_ways<P: AsyncIoProvider>(config: &ProviderConfig) {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    if let Err(error) = std::net::TcpListener::bind(address) {
        eprintln!("passed over: this system has no IPv6 loopback: {error}");
        return;
    }
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair_on(&address);
    assert!(peer_address(rig.provider.socket(server).unwrap()).is_ipv6());
    rig.assert_connected(client, server);
}

/// The port belongs to a socket that does not listen, so nobody else can listen on it meanwhile.
pub(crate) fn a_refused_connection_is_reported_as_refused<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let silent = rig.provider.create_socket(&LOOPBACK).unwrap();
    silent.bind(&LOOPBACK).unwrap();
    let client = rig.socket_for(&LOOPBACK);
    let connect = rig.connect(client, &local_address(&silent));
    let refused = rig.final_of(connect);
    assert_eq!(refused.code(), ErrorCode::ConnectionRefused);
    assert_ne!(refused.error().unwrap().os_code(), 0, "the system's own number is kept");
    rig.close_now(client);
}

pub(crate) fn sends_behind_a_refused_connect_fail_each_for_itself<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let silent = rig.provider.create_socket(&LOOPBACK).unwrap();
    silent.bind(&LOOPBACK).unwrap();
    let client = rig.socket_for(&LOOPBACK);
    let connect = rig.connect(client, &local_address(&silent));
    let sends: Vec<_> = (0..3).map(|_| rig.send(client, b"to nobody".to_vec())).collect();
    assert_eq!(rig.final_of(connect).code(), ErrorCode::ConnectionRefused);
    for send in sends {
        assert!(rig.final_of(send).result.is_err());
    }
}

pub(crate) fn sends_queued_behind_a_connect_go_out_in_order<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let accept = rig.accept(listener.id);
    let client = rig.socket_for(&listener.address);
    let connect = rig.connect(client, &listener.address);
    let expected = pattern(7, 50_000);
    let sends: Vec<_> = expected.chunks(999).map(|chunk| rig.send(client, chunk.to_vec())).collect();

    let server = rig.final_of(accept).into_socket();
    let server = rig.attach(server);
    assert_eq!(rig.receive_exactly(server, expected.len()), expected);
    assert!(rig.final_of(connect).result.is_ok());
    for send in sends {
        assert!(rig.final_of(send).result.is_ok());
    }
}

pub(crate) fn a_receive_can_wait_before_the_connect_is_made<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let accept = rig.accept(listener.id);
    let client = rig.socket_for(&listener.address);
    let connect = rig.connect(client, &listener.address);
    assert!(rig.final_of(connect).result.is_ok());
    let receive = rig.receive(client, 16);
    let server = rig.final_of(accept).into_socket();
    let server = rig.attach(server);
    rig.send_now(server, b"welcome");
    assert_eq!(rig.final_of(receive).bytes(), b"welcome");
}

/// Linux may tell the second connect of the success of the first.
pub(crate) fn a_second_connect_changes_nothing<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let (client, server) = rig.pair();
    let again = rig.connect(client, &listener.address);
    rig.final_of(again);
    rig.assert_connected(client, server);
}

pub(crate) fn an_address_of_another_family_is_an_error_of_the_connect<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let client = rig.socket_for(&LOOPBACK);
    let connect = rig.connect(client, &SocketAddr::from((Ipv6Addr::LOCALHOST, 9)));
    assert!(rig.final_of(connect).result.is_err());
}

pub(crate) fn transfers_on_an_unconnected_socket_fail<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let socket = rig.socket_for(&LOOPBACK);
    let send = rig.send(socket, b"to nobody".to_vec());
    assert!(rig.final_of(send).result.is_err());
    let receive = rig.receive(socket, 16);
    assert!(rig.final_of(receive).result.is_err());
    let stream = rig.receive_stream(socket);
    assert!(rig.final_of(stream).result.is_err());
    assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
}

pub(crate) fn a_connecting_socket_can_be_closed<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (socket, connect) = rig.stuck_connect();
    let send = rig.send(socket, b"queued".to_vec());
    let close = rig.close(socket, CloseMode::Graceful);
    assert!(rig.final_of(close).result.is_ok());
    assert_eq!(rig.final_of(connect).code(), ErrorCode::Cancelled);
    assert_eq!(rig.final_of(send).code(), ErrorCode::Cancelled);
}
