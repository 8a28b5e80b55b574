//! Closing sockets.

use std::time::Duration;

use fastport_io::{AsyncIoProvider, CloseMode, ErrorCode, OpKind, ProviderConfig, ReceiveBuffer};

use crate::rig::{LOOPBACK, Outcome, Rig, assert_same, pattern, refusal};

pub(crate) fn a_graceful_close_delivers_what_was_sent<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let sent = pattern(50, 200_000);
    rig.send_now(client, &sent);
    rig.close_now(client);
    assert_same(&rig.receive_to_end(server), &sent);
}

pub(crate) fn an_abortive_close_resets_the_peer<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let close = rig.close(client, CloseMode::Abortive);
    assert!(rig.final_of(close).result.is_ok());
    assert_eq!(rig.receive_until_error(server), ErrorCode::ConnectionReset);
}

pub(crate) fn a_fresh_socket_can_be_closed<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    for mode in [CloseMode::Graceful, CloseMode::Abortive] {
        let socket = rig.socket_for(&LOOPBACK);
        let close = rig.close(socket, mode);
        let closed = rig.final_of(close);
        assert_eq!(closed.kind, OpKind::Close);
        assert_eq!(closed.bytes_moved(), 0);
    }
    assert_eq!(rig.provider.stats().active_sockets, 0);
}

/// That the close comes last is checked by the rig, here and everywhere.
pub(crate) fn a_close_ends_all_operations_of_its_socket_first<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    for mode in [CloseMode::Graceful, CloseMode::Abortive] {
        for flushed in [false, true] {
            let (client, _server) = rig.pair();
            let mut ops = vec![rig.send(client, vec![5; 32 << 20])];
            ops.extend((0..10).map(|_| rig.send(client, b"queued".to_vec())));
            ops.extend((0..10).map(|_| rig.receive(client, 16)));
            if flushed {
                rig.turn();
            }
            let close = rig.close(client, mode);
            assert!(rig.final_of(close).result.is_ok());
            for op in ops {
                assert!(rig.is_finished(op));
                assert_eq!(rig.final_of(op).code(), ErrorCode::Cancelled);
            }
        }
    }
}

pub(crate) fn a_closing_socket_takes_no_operation_and_a_closed_one_is_unknown<P: AsyncIoProvider>(
    config: &ProviderConfig,
) {
    let mut rig = Rig::<P>::open(config);
    let (client, _server) = rig.pair();
    rig.receive_stream(client);
    let close = rig.close(client, CloseMode::Graceful);
    for expected in [ErrorCode::InvalidSocket, ErrorCode::SocketNotRegistered] {
        let rejected = rig.provider.send(client, b"kept".to_vec().into(), 1).unwrap_err();
        assert_eq!(rejected.error.code(), expected);
        assert_eq!(rejected.returned.len(), 4, "the bytes come back");
        assert_eq!(refusal(rig.provider.receive(client, ReceiveBuffer::with_capacity(1), 1)), expected);
        assert_eq!(refusal(rig.provider.receive_stream(client, 1)), expected);
        assert_eq!(refusal(rig.provider.accept(client, 1)), expected);
        assert_eq!(refusal(rig.provider.accept_stream(client, 1)), expected);
        assert_eq!(refusal(rig.provider.connect(client, &LOOPBACK, 1)), expected);
        assert_eq!(refusal(rig.provider.close(client, CloseMode::Abortive, 1)), expected);
        assert_eq!(refusal(rig.provider.detach(client)), expected);
        if expected == ErrorCode::InvalidSocket {
            assert!(rig.final_of(close).result.is_ok());
        }
    }
    assert_eq!(refusal(rig.provider.socket(client)), ErrorCode::SocketNotRegistered);
}

pub(crate) fn both_sides_may_close_at_once<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let mut closes = Vec::new();
    for (client, server) in rig.pairs(20) {
        rig.receive_stream(client);
        rig.receive_stream(server);
        closes.push(rig.close(client, CloseMode::Graceful));
        closes.push(rig.close(server, CloseMode::Graceful));
    }
    for close in closes {
        assert!(rig.final_of(close).result.is_ok());
    }
    assert_eq!(rig.in_flight(), 0);
    assert_eq!(rig.provider.stats().active_sockets, 0);
}

pub(crate) fn a_close_beside_a_waiting_timeout_leaves_the_timeout_alone<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, _server) = rig.pair();
    let timeout = rig.timeout(Duration::from_millis(2));
    rig.close_now(client);
    assert!(rig.final_of(timeout).result.is_ok());
}
