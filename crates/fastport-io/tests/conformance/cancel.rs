//! Cancelling each kind of operation: before it reaches the system, in flight, and after its end.
//!
//! The races with a success that comes at the same moment are in [`crate::races`].

use std::time::Duration;

use fastport_io::{AsyncIoProvider, CloseMode, ErrorCode, OpId, Payload, ProviderConfig, Region, SendBuffers};

use crate::receive_stream::next_lease;
use crate::rig::{Outcome, Rig, pattern, refusal};

/// When an operation is cancelled.
#[derive(Clone, Copy)]
enum Moment {
    /// Before anything was handed to the system.
    AtOnce,
    /// When the system has it.
    InFlight,
}

const MOMENTS: [Moment; 2] = [Moment::AtOnce, Moment::InFlight];

/// Cancels an operation that cannot complete by itself, and once more when it is gone.
#[track_caller]
fn cancel<P: AsyncIoProvider>(rig: &mut Rig<P>, op: OpId, moment: Moment) {
    if matches!(moment, Moment::InFlight) {
        rig.turn();
        assert!(!rig.is_finished(op), "nothing has happened yet that could complete it");
    }
    rig.provider.cancel(op).unwrap();
    assert!(!rig.is_finished(op), "it completes through `process_completions` only");
    let last = rig.final_of(op);
    assert_eq!(last.code(), ErrorCode::Cancelled);
    assert_eq!(refusal(rig.provider.cancel(op)), ErrorCode::OperationFailed, "it is gone");
}

pub(crate) fn an_accept_can_be_cancelled<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    for moment in MOMENTS {
        let accept = rig.accept(listener.id);
        cancel(&mut rig, accept, moment);
    }
}

pub(crate) fn an_accept_stream_can_be_cancelled<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    for moment in MOMENTS {
        let accepting = rig.accept_stream(listener.id);
        cancel(&mut rig, accepting, moment);
    }
}

pub(crate) fn a_connect_can_be_cancelled<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (socket, connect) = rig.stuck_connect();
    cancel(&mut rig, connect, Moment::InFlight);
    rig.close_now(socket);
}

/// It may still succeed, as nothing is in its way; then it succeeded altogether.
pub(crate) fn a_connect_that_is_cancelled_at_once_is_made_or_not<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let client = rig.socket_for(&listener.address);
    let connect = rig.connect(client, &listener.address);
    rig.provider.cancel(connect).unwrap();
    let last = rig.final_of(connect);
    if last.result.is_ok() {
        let accept = rig.accept(listener.id);
        let server = rig.final_of(accept).into_socket();
        let server = rig.attach(server);
        rig.assert_connected(client, server);
    } else {
        assert_eq!(last.code(), ErrorCode::Cancelled);
        rig.close_now(client);
    }
}

pub(crate) fn a_receive_can_be_cancelled_and_gives_its_buffer_back<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    for moment in MOMENTS {
        let receive = rig.receive(server, 16);
        cancel(&mut rig, receive, moment);
    }
    let receive = rig.receive(server, 123);
    rig.provider.cancel(receive).unwrap();
    let last = rig.final_of(receive);
    let Payload::Buffer(buffer) = last.payload else { panic!("the buffer comes back") };
    assert_eq!(buffer.capacity(), 123);
    assert!(buffer.filled().is_empty());
    rig.assert_connected(client, server);
}

pub(crate) fn a_receive_stream_can_be_cancelled<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    for moment in MOMENTS {
        let stream = rig.receive_stream(server);
        cancel(&mut rig, stream, moment);
    }
    assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
    rig.assert_connected(client, server);
}

pub(crate) fn a_receive_into_a_region_can_be_cancelled<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let region = rig.provider.register_region(Region::new(4096).unwrap()).unwrap();
    let (client, server) = rig.pair();
    for moment in MOMENTS {
        let receive = rig.receive_registered(server, region, 0, 4096);
        cancel(&mut rig, receive, moment);
    }
    rig.provider.unregister_region(region).expect("no operation uses it any more");
    rig.assert_connected(client, server);
}

pub(crate) fn a_blocked_send_can_be_cancelled<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let bytes = 32 << 20;
    let region = rig.provider.register_region(Region::new(bytes).unwrap()).unwrap();
    for registered in [false, true] {
        let (client, _server) = rig.pair();
        let send =
            if registered { rig.send_registered(client, region, 0, bytes) } else { rig.send(client, vec![3; bytes]) };
        cancel(&mut rig, send, Moment::InFlight);
        rig.close_now(client);
    }
    rig.provider.unregister_region(region).expect("no operation uses it any more");
}

/// When the cancellation reaches the system, a part of the bytes is out, and the rest may just be on its way back to the socket,
/// where nobody finds it.
pub(crate) fn a_send_that_is_cancelled_at_once_ends_though_its_peer_reads_nothing<P: AsyncIoProvider>(
    config: &ProviderConfig,
) {
    let mut rig = Rig::<P>::open(config);
    for parts in [1, 2] {
        let (client, _server) = rig.pair();
        rig.provider.socket(client).unwrap().set_send_buffer_size(16 * 1024).unwrap();
        let part = || vec![5; (32 << 20) / parts].into();
        let send = rig.send(client, SendBuffers::new(part(), (parts == 2).then(part)));
        cancel(&mut rig, send, Moment::AtOnce);
        rig.close_now(client);
    }
}

pub(crate) fn a_timeout_can_be_cancelled<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    for moment in MOMENTS {
        let timeout = rig.timeout(Duration::from_secs(3600));
        cancel(&mut rig, timeout, moment);
    }
}

pub(crate) fn a_close_cannot_be_cancelled<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let close = rig.close(client, CloseMode::Graceful);
    assert_eq!(refusal(rig.provider.cancel(close)), ErrorCode::OperationFailed);
    assert!(rig.final_of(close).result.is_ok());
    assert!(rig.receive_to_end(server).is_empty());
}

pub(crate) fn cancelling_twice_is_harmless<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (_client, server) = rig.pair();
    let receive = rig.receive(server, 16);
    rig.turn();
    rig.provider.cancel(receive).unwrap();
    // The first request may or may not have ended it by now.
    let _ = rig.provider.cancel(receive);
    assert_eq!(rig.final_of(receive).code(), ErrorCode::Cancelled);
    rig.turn();
    assert!(rig.take_arrived().is_empty());
}

pub(crate) fn cancelling_a_finished_operation_is_a_harmless_error<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let send = rig.send(client, b"done".to_vec());
    let receive = rig.receive(server, 16);
    let timeout = rig.timeout(Duration::ZERO);
    for op in [send, receive, timeout] {
        assert!(rig.final_of(op).result.is_ok());
        assert_eq!(refusal(rig.provider.cancel(op)), ErrorCode::OperationFailed);
    }
    rig.assert_connected(client, server);
}

pub(crate) fn a_waiting_operation_is_cancelled_out_of_its_queue<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let receives: Vec<_> = (0..5).map(|_| rig.receive(server, 4)).collect();
    // The last, the first behind the head, and then all others in their order.
    for position in [4, 1] {
        rig.provider.cancel(receives[position]).unwrap();
        assert_eq!(rig.final_of(receives[position]).code(), ErrorCode::Cancelled);
    }
    let behind = rig.receive(server, 4);
    rig.send_now(client, b"aaaabbbbccccdddd");
    for (receive, expected) in
        [receives[0], receives[2], receives[3], behind].into_iter().zip([b"aaaa", b"bbbb", b"cccc", b"dddd"])
    {
        assert_eq!(rig.final_of(receive).bytes(), expected);
    }
}

pub(crate) fn a_cancelled_send_that_has_not_begun_leaves_no_gap<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.narrow(client, server);
    let first = pattern(30, 4 << 20);
    let blocked = rig.send(client, first.clone());
    let cancelled = rig.send(client, b"never".to_vec());
    let last = rig.send(client, b"last".to_vec());
    rig.turn();
    rig.provider.cancel(cancelled).unwrap();
    assert_eq!(rig.final_of(cancelled).code(), ErrorCode::Cancelled);
    let received = rig.receive_exactly(server, first.len() + 4);
    crate::rig::assert_same(&received[..first.len()], &first);
    assert_eq!(&received[first.len()..], b"last");
    assert!(rig.final_of(blocked).result.is_ok());
    assert!(rig.final_of(last).result.is_ok());
}

pub(crate) fn cancelling_the_head_starts_the_next<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let head = rig.receive(server, 4);
    let next = rig.receive(server, 4);
    rig.turn();
    rig.provider.cancel(head).unwrap();
    assert_eq!(rig.final_of(head).code(), ErrorCode::Cancelled);
    rig.send_now(client, b"next");
    assert_eq!(rig.final_of(next).bytes(), b"next");
}

pub(crate) fn both_directions_are_cancelled_apart_from_each_other<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let stream = rig.receive_stream(client);
    let send = rig.send(client, vec![4; 32 << 20]);
    rig.turn();
    rig.provider.cancel(send).unwrap();
    assert_eq!(rig.final_of(send).code(), ErrorCode::Cancelled);
    rig.send_now(server, b"heard");
    assert_eq!(&next_lease(&mut rig, stream)[..], b"heard");
    rig.provider.cancel(stream).unwrap();
    assert_eq!(rig.final_of(stream).code(), ErrorCode::Cancelled);
}

pub(crate) fn a_thousand_operations_are_cancelled_in_one_go<P: AsyncIoProvider>(config: &ProviderConfig) {
    let config = ProviderConfig { queue_depth: 32, ..config.clone() };
    let mut rig = Rig::<P>::open(&config);
    let pairs = rig.pairs(250);
    let mut ops = Vec::new();
    for &(client, server) in &pairs {
        ops.extend([rig.receive(client, 16), rig.receive(client, 16), rig.receive_stream(server)]);
        ops.push(rig.timeout(Duration::from_secs(3600)));
    }
    rig.turn();
    for &op in &ops {
        rig.provider.cancel(op).unwrap();
    }
    for op in ops {
        assert_eq!(rig.final_of(op).code(), ErrorCode::Cancelled);
    }
    assert_eq!(rig.in_flight(), 0);
}
