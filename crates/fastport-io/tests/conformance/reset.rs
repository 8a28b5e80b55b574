//! Connections that the peer tears down.

use fastport_io::{AsyncIoProvider, CloseMode, ErrorCode, ProviderConfig, SocketId};

use crate::rig::{Outcome, Rig};

/// More than the system holds between two sockets.
const TOO_MUCH: usize = 32 << 20;

fn reset_by<P: AsyncIoProvider>(rig: &mut Rig<P>, peer: SocketId) {
    let close = rig.close(peer, CloseMode::Abortive);
    rig.final_of(close).result.expect("closing succeeds");
}

pub(crate) fn a_reset_by_the_peer_is_reported_as_reset<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let receive = rig.receive(server, 64);
    rig.turn();
    reset_by(&mut rig, client);
    assert_eq!(rig.final_of(receive).code(), ErrorCode::ConnectionReset);
}

pub(crate) fn a_reset_before_the_receive_is_reported_as_reset<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    reset_by(&mut rig, client);
    rig.turn();
    let receive = rig.receive(server, 64);
    assert_eq!(rig.final_of(receive).code(), ErrorCode::ConnectionReset);
}

pub(crate) fn a_reset_ends_a_receive_stream_with_an_error<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let stream = rig.receive_stream(server);
    rig.send_now(client, b"before");
    assert_eq!(rig.step_of(stream).bytes(), b"before");
    reset_by(&mut rig, client);
    let last = rig.step_of(stream);
    assert!(!last.more);
    assert_eq!(last.code(), ErrorCode::ConnectionReset);
    drop(last);
    assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
}

pub(crate) fn a_reset_before_a_receive_stream_ends_it_with_an_error<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    reset_by(&mut rig, client);
    let stream = rig.receive_stream(server);
    assert_eq!(rig.final_of(stream).code(), ErrorCode::ConnectionReset);
}

pub(crate) fn a_reset_during_a_send_is_reported_as_reset<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let send = rig.send(client, vec![1; TOO_MUCH]);
    let behind = rig.send(client, b"never sent".to_vec());
    rig.turn();
    assert!(!rig.is_finished(send));
    reset_by(&mut rig, server);
    assert_eq!(rig.final_of(send).code(), ErrorCode::ConnectionReset);
    assert_eq!(rig.final_of(behind).code(), ErrorCode::ConnectionReset);
}

/// A peer that closes without having read everything resets the connection, too.
pub(crate) fn a_close_with_unread_data_is_a_reset_for_the_sender<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let send = rig.send(client, vec![1; TOO_MUCH]);
    rig.turn();
    rig.close_now(server);
    assert_eq!(rig.final_of(send).code(), ErrorCode::ConnectionReset);
}

/// The system tells a reset once, to whoever asks first; the other direction must not take silence for the end of file.
pub(crate) fn a_reset_with_both_directions_busy_is_no_end_of_file<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    for one_shot in [true, false] {
        let (client, server) = rig.pair();
        let send = rig.send(server, vec![1; TOO_MUCH]);
        let receive = if one_shot { rig.receive(server, 64) } else { rig.receive_stream(server) };
        rig.turn();
        reset_by(&mut rig, client);
        assert_eq!(rig.final_of(send).code(), ErrorCode::ConnectionReset);
        assert_eq!(rig.final_of(receive).code(), ErrorCode::ConnectionReset);
    }
}

/// The send learns of the reset; the receive comes afterwards.
pub(crate) fn a_receive_after_a_send_that_was_reset_is_no_end_of_file<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let send = rig.send(server, vec![1; TOO_MUCH]);
    rig.turn();
    reset_by(&mut rig, client);
    assert_eq!(rig.final_of(send).code(), ErrorCode::ConnectionReset);
    let receive = rig.receive(server, 64);
    assert_eq!(rig.final_of(receive).code(), ErrorCode::ConnectionReset);
    let stream = rig.receive_stream(server);
    assert_eq!(rig.final_of(stream).code(), ErrorCode::ConnectionReset);
}

pub(crate) fn every_queued_operation_of_a_reset_socket_completes_once<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let first = rig.send(server, vec![1; TOO_MUCH]);
    let mut behind: Vec<_> = (0..20).map(|_| rig.send(server, vec![2; 100])).collect();
    behind.extend((0..20).map(|_| rig.receive(server, 64)));
    rig.turn();
    reset_by(&mut rig, client);
    assert_eq!(rig.final_of(first).code(), ErrorCode::ConnectionReset);
    for op in behind {
        assert_eq!(rig.final_of(op).code(), ErrorCode::ConnectionReset);
    }
    assert_eq!(rig.in_flight(), 0);
}

pub(crate) fn the_reset_of_one_connection_leaves_the_others_alone<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let pairs = rig.pairs(10);
    let streams: Vec<_> = pairs.iter().map(|&(_, server)| rig.receive_stream(server)).collect();
    for position in [0, 4, 9] {
        reset_by(&mut rig, pairs[position].0);
    }
    for (position, (&(client, _), &stream)) in pairs.iter().zip(&streams).enumerate() {
        if [0, 4, 9].contains(&position) {
            assert_eq!(rig.final_of(stream).code(), ErrorCode::ConnectionReset);
        } else {
            rig.send_now(client, b"alive");
            assert_eq!(rig.step_of(stream).bytes(), b"alive");
        }
    }
}
