//! One direction ended, the other alive.

use fastport_io::{AsyncIoProvider, Direction, ErrorCode, ProviderConfig, SocketId};

use crate::receive_stream::stream_exactly;
use crate::rig::{LOOPBACK, Outcome, Rig, pattern, refusal};

/// `quiet` ends its data; `talker` sees that, goes on sending, then ends too.
fn one_side_ends_first<P: AsyncIoProvider>(rig: &mut Rig<P>, quiet: SocketId, talker: SocketId) {
    rig.send_now(quiet, b"my last words");
    rig.provider.shut_down_socket(quiet, Direction::Write).unwrap();
    assert_eq!(rig.receive_to_end(talker), b"my last words");

    let answer = pattern(20, 500_000);
    let stream = rig.receive_stream(quiet);
    let send = rig.send(talker, answer.clone());
    assert_eq!(stream_exactly(rig, stream, answer.len()), answer);
    assert!(rig.final_of(send).result.is_ok());
    rig.provider.shut_down_socket(talker, Direction::Write).unwrap();
    let last = rig.final_of(stream);
    assert_eq!(last.bytes_moved(), 0);
}

pub(crate) fn the_side_that_connected_may_end_first<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    one_side_ends_first(&mut rig, client, server);
}

pub(crate) fn the_side_that_accepted_may_end_first<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    one_side_ends_first(&mut rig, server, client);
}

pub(crate) fn a_stream_that_waits_sees_the_half_close<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let stream = rig.receive_stream(server);
    rig.turn();
    rig.provider.shut_down_socket(client, Direction::Write).unwrap();
    assert_eq!(rig.final_of(stream).bytes_moved(), 0);
    rig.send_now(server, b"still open");
    assert_eq!(rig.receive_exactly(client, 10), b"still open");
}

pub(crate) fn after_ending_the_own_data_a_send_fails<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.provider.shut_down_socket(client, Direction::Write).unwrap();
    let send = rig.send(client, b"too late".to_vec());
    assert_eq!(rig.final_of(send).code(), ErrorCode::ConnectionReset);
    // That was no reset by the peer: its data and the end of its data still arrive as such.
    rig.send_now(server, b"fine");
    rig.close_now(server);
    assert_eq!(rig.receive_to_end(client), b"fine");
}

/// Only a reset by the peer may end what waits in the other direction.
pub(crate) fn a_send_after_the_own_end_leaves_a_waiting_receive_alone<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    for one_shot in [true, false] {
        let (client, server) = rig.pair();
        let receive = if one_shot { rig.receive(client, 16) } else { rig.receive_stream(client) };
        rig.turn();
        rig.provider.shut_down_socket(client, Direction::Write).unwrap();
        let send = rig.send(client, b"too late".to_vec());
        assert_eq!(rig.final_of(send).code(), ErrorCode::ConnectionReset);
        rig.turn();
        rig.send_now(server, b"fine");
        assert_eq!(rig.step_of(receive).bytes(), b"fine");
    }
}

pub(crate) fn ending_both_directions_ends_both_sides<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let receive = rig.receive(server, 16);
    rig.provider.shut_down_socket(client, Direction::Both).unwrap();
    assert_eq!(rig.final_of(receive).bytes(), b"");
    let send = rig.send(client, b"too late".to_vec());
    assert!(rig.final_of(send).result.is_err());
}

pub(crate) fn only_a_connection_can_be_shut_down<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let fresh = rig.socket_for(&LOOPBACK);
    assert!(rig.provider.shut_down_socket(fresh, Direction::Write).is_err());
    rig.close_now(fresh);
    assert_eq!(refusal(rig.provider.shut_down_socket(fresh, Direction::Write)), ErrorCode::SocketNotRegistered);
}
