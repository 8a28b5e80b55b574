//! Receive streams: order, end, leases, and what may not be queued behind them.

use fastport_io::{
    AsyncIoProvider, CloseMode, Direction, ErrorCode, Lease, OpId, Payload, ProviderConfig, ReceiveBuffer, SendBuffer,
};

use crate::rig::{Outcome, Rig, assert_same, pattern, refusal};

/// The stream's next lease.
#[track_caller]
pub(crate) fn next_lease<P: AsyncIoProvider>(rig: &mut Rig<P>, stream: OpId) -> Lease {
    let step = rig.step_of(stream);
    assert!(step.more, "the stream goes on: {step:?}");
    assert!(!step.bytes().is_empty(), "a step of a stream has at least one byte");
    match step.payload {
        Payload::Lease(lease) => lease,
        other => panic!("a receive stream delivers leases, not {other:?}"),
    }
}

/// Collects `count` bytes of a stream, giving each buffer back at once.
#[track_caller]
pub(crate) fn stream_exactly<P: AsyncIoProvider>(rig: &mut Rig<P>, stream: OpId, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        bytes.extend_from_slice(&next_lease(rig, stream));
    }
    assert_eq!(bytes.len(), count);
    bytes
}

pub(crate) fn a_stream_delivers_all_bytes_in_order<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let stream = rig.receive_stream(server);
    let sent = pattern(4, 3 << 20);
    let send = rig.send(client, sent.clone());
    let received = stream_exactly(&mut rig, stream, sent.len());
    assert_same(&received, &sent);
    assert_eq!(rig.final_of(send).bytes_moved(), sent.len());
    assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
}

pub(crate) fn a_stream_takes_data_that_was_there_before<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.send_now(client, b"early");
    rig.turn();
    let stream = rig.receive_stream(server);
    assert_eq!(stream_exactly(&mut rig, stream, 5), b"early");
}

pub(crate) fn a_stream_ends_by_0_bytes_after_the_data<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let stream = rig.receive_stream(server);
    let sent = pattern(5, 10_000);
    rig.send_now(client, &sent);
    rig.provider.shut_down_socket(client, Direction::Write).unwrap();
    assert_eq!(stream_exactly(&mut rig, stream, sent.len()), sent);
    let last = rig.step_of(stream);
    assert!(!last.more);
    assert_eq!(last.bytes_moved(), 0);
    drop(last);
    assert_eq!(rig.provider.receive_pool().stats().allocated, 0);

    let again = rig.receive_stream(server);
    let last = rig.step_of(again);
    assert!(!last.more);
    assert_eq!(last.bytes_moved(), 0);
}

pub(crate) fn a_cancelled_stream_leaves_later_data_for_the_next_one<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    for round in 0..10 {
        let sent = pattern(round, 2000);
        let stream = rig.receive_stream(server);
        rig.send_now(client, &sent[..1000]);
        let mut received = stream_exactly(&mut rig, stream, 1000);
        rig.provider.cancel(stream).unwrap();
        rig.send_now(client, &sent[1000..]);
        loop {
            let step = rig.step_of(stream);
            if !step.more {
                assert_eq!(step.code(), ErrorCode::Cancelled);
                break;
            }
            received.extend_from_slice(step.bytes());
        }
        if received.len() < sent.len() {
            received.extend(rig.receive_exactly(server, sent.len() - received.len()));
        }
        assert_eq!(received, sent);
    }
}

pub(crate) fn one_shot_receives_and_streams_may_follow_each_other<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let receive = rig.receive(server, 3);
    rig.send_now(client, b"abcdef");
    assert_eq!(rig.final_of(receive).bytes(), b"abc");
    let stream = rig.receive_stream(server);
    assert_eq!(stream_exactly(&mut rig, stream, 3), b"def");
    rig.provider.cancel(stream).unwrap();
    rig.final_of(stream);
    rig.send_now(client, b"ghi");
    assert_eq!(rig.receive_exactly(server, 3), b"ghi");
}

pub(crate) fn nothing_can_be_queued_behind_a_stream<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let stream = rig.receive_stream(server);
    let rejected = rig.provider.receive(server, ReceiveBuffer::with_capacity(77), 1).unwrap_err();
    assert_eq!(rejected.error.code(), ErrorCode::OperationPending);
    assert_eq!(rejected.returned.capacity(), 77, "the buffer comes back");
    assert_eq!(refusal(rig.provider.receive_stream(server, 2)), ErrorCode::OperationPending);
    assert_eq!(refusal(rig.provider.accept(server, 3)), ErrorCode::OperationPending);
    rig.send_now(client, b"undisturbed");
    assert_eq!(stream_exactly(&mut rig, stream, 11), b"undisturbed");

    let listener = rig.listen();
    rig.accept_stream(listener.id);
    assert_eq!(refusal(rig.provider.accept(listener.id, 4)), ErrorCode::OperationPending);
    assert_eq!(refusal(rig.provider.accept_stream(listener.id, 5)), ErrorCode::OperationPending);
}

pub(crate) fn a_stream_cannot_be_started_behind_one_shot_operations<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let receive = rig.receive(server, 16);
    assert_eq!(refusal(rig.provider.receive_stream(server, 1)), ErrorCode::OperationPending);
    rig.send_now(client, b"x");
    assert_eq!(rig.final_of(receive).bytes(), b"x");
    let stream = rig.receive_stream(server);
    rig.send_now(client, b"y");
    assert_eq!(stream_exactly(&mut rig, stream, 1), b"y");
}

pub(crate) fn a_silent_stream_holds_no_buffer<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    for (_, server) in rig.pairs(50) {
        rig.receive_stream(server);
    }
    rig.turn();
    let stats = rig.provider.receive_pool().stats();
    assert_eq!(stats.allocated, 0);
    assert_eq!(stats.high_water, 0);
}

pub(crate) fn a_lease_keeps_its_bytes_while_more_arrives<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let stream = rig.receive_stream(server);
    let mut kept = Vec::new();
    for round in 0..100u32 {
        let sent = pattern(round, 500);
        rig.send_now(client, &sent);
        let mut received = 0;
        while received < sent.len() {
            let lease = next_lease(&mut rig, stream);
            let expected = sent[received..received + lease.len()].to_vec();
            received += lease.len();
            kept.push((lease, expected));
        }
    }
    for (lease, expected) in &kept {
        assert_eq!(&lease[..], &expected[..]);
    }
    assert_eq!(rig.provider.receive_pool().stats().allocated as usize, kept.len());
    drop(kept);
    assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
}

/// The echo of the fast path: what was received goes out again without a copy, and its buffer comes back afterwards.
pub(crate) fn leases_can_be_sent_back_in_place<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let there = rig.receive_stream(server);
    let back = rig.receive_stream(client);
    let sent = pattern(6, 600_000);
    let send = rig.send(client, sent.clone());
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let completion = rig.next();
        if completion.op == back {
            received.extend_from_slice(completion.bytes());
        } else if completion.op == there {
            let Payload::Lease(lease) = completion.payload else { panic!("a stream delivers leases") };
            rig.send(server, SendBuffer::from(lease));
        } else {
            completion.result.expect("sends succeed");
        }
    }
    assert_same(&received, &sent);
    rig.until("the sends are complete", |rig| rig.in_flight() == 2);
    assert!(rig.is_finished(send));
    rig.take_arrived();
    assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
}

pub(crate) fn closing_a_socket_ends_its_stream_and_frees_its_buffers<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let stream = rig.receive_stream(server);
    rig.send_now(client, b"unread");
    let lease = next_lease(&mut rig, stream);
    let close = rig.close(server, CloseMode::Graceful);
    assert_eq!(rig.final_of(stream).code(), ErrorCode::Cancelled);
    assert!(rig.final_of(close).result.is_ok());
    assert_eq!(&lease[..], b"unread", "a lease outlives its socket");
    drop(lease);
    assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
}
