//! The receive pool under pressure: few buffers, many sockets.

use std::collections::HashMap;

use fastport_io::{AsyncIoProvider, CloseMode, ErrorCode, Lease, OpId, Payload, PoolConfig, ProviderConfig, SocketId};

use crate::receive_stream::next_lease;
use crate::rig::{Outcome, Rig, pattern};

fn with_pool(config: &ProviderConfig, slot_bytes: usize, initial_slots: u32, max_slots: u32) -> ProviderConfig {
    ProviderConfig { receive_pool: PoolConfig { slot_bytes, initial_slots, max_slots }, ..config.clone() }
}

/// Starts a stream on each server end.
fn streams<P: AsyncIoProvider>(rig: &mut Rig<P>, pairs: &[(SocketId, SocketId)]) -> Vec<OpId> {
    pairs.iter().map(|&(_, server)| rig.receive_stream(server)).collect()
}

fn waits<P: AsyncIoProvider>(rig: &Rig<P>) -> u64 {
    rig.provider.stats().buffer_waits
}

/// Every socket sends; the receiver always holds all buffers before it gives any back.
fn all_are_served_from_eight_buffers<P: AsyncIoProvider>(config: &ProviderConfig, sockets: usize) {
    const MESSAGE: usize = 48;
    const ROUNDS: usize = 2;
    let mut rig = Rig::<P>::open(config);
    let pairs = rig.pairs(sockets);
    let numbers: HashMap<OpId, usize> = streams(&mut rig, &pairs).into_iter().zip(0..).collect();
    for round in 0..ROUNDS {
        for (number, &(client, _)) in pairs.iter().enumerate() {
            rig.send(client, pattern((number + round) as u32, MESSAGE));
        }
    }
    let mut received = vec![Vec::new(); sockets];
    let mut held: Vec<Lease> = Vec::new();
    let mut missing = sockets * ROUNDS * MESSAGE;
    while missing > 0 {
        rig.until("more has arrived", |rig| rig.collect(None) > 0);
        for completion in rig.take_arrived() {
            let Some(&number) = numbers.get(&completion.op) else {
                completion.result.expect("sends succeed");
                continue;
            };
            assert!(completion.more, "the stream goes on: {completion:?}");
            missing -= completion.bytes().len();
            received[number].extend_from_slice(completion.bytes());
            let Payload::Lease(lease) = completion.payload else { panic!("a stream delivers leases") };
            held.push(lease);
        }
        // Where a buffer is filled before its completion is seen, more may be on their way.
        let allocated = rig.provider.receive_pool().stats().allocated as usize;
        assert!((held.len()..=8).contains(&allocated), "{allocated} buffers in use, {} of them held", held.len());
        if held.len() == 8 || missing < 8 * MESSAGE {
            held.clear();
        }
    }
    for (number, received) in received.iter().enumerate() {
        let expected: Vec<u8> = (0..ROUNDS).flat_map(|round| pattern((number + round) as u32, MESSAGE)).collect();
        assert!(*received == expected, "socket {number} got all its bytes in order");
    }
    drop(held);
    assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
    assert!(waits(&rig) > 0, "the streams had to wait for buffers");
}

pub(crate) fn thousands_of_streams_share_eight_buffers<P: AsyncIoProvider>(config: &ProviderConfig) {
    // Each pair has two descriptors, and another test of this kind may run beside.
    #[cfg(unix)]
    let most = usize::try_from(crate::harness::raise_descriptor_limit() / 6).unwrap_or(usize::MAX);
    // Under Wine each of them costs many times what it does elsewhere.
    #[cfg(not(unix))]
    let most = 500;
    all_are_served_from_eight_buffers::<P>(&with_pool(config, 4096, 8, 8), most.min(2000));
}

pub(crate) fn streams_that_wait_for_buffers_share_a_shallow_queue<P: AsyncIoProvider>(config: &ProviderConfig) {
    let config = ProviderConfig { queue_depth: 32, ..with_pool(config, 64, 8, 8) };
    all_are_served_from_eight_buffers::<P>(&config, 200);
}

pub(crate) fn streams_wait_in_line_and_the_oldest_goes_on_first<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(&with_pool(config, 256, 1, 1));
    let pairs = rig.pairs(5);
    let streams = streams(&mut rig, &pairs);
    rig.send_now(pairs[0].0, b"0");
    let mut lease = next_lease(&mut rig, streams[0]);
    for (number, &(client, _)) in (b'1'..).zip(&pairs[1..]) {
        let before = waits(&rig);
        rig.send_now(client, &[number]);
        rig.until("the next stream waits in line", |rig| waits(rig) > before);
    }
    for (number, &stream) in (b'1'..).zip(&streams[1..]) {
        assert_eq!(rig.provider.receive_pool().stats().allocated, 1);
        drop(lease);
        let step = rig.next_step();
        assert_eq!(step.op, stream, "the one that waits for {:?} comes next", char::from(number));
        let Payload::Lease(next) = step.payload else { panic!("a stream delivers leases") };
        assert_eq!(&next[..], &[number]);
        lease = next;
    }
}

pub(crate) fn a_busy_stream_does_not_take_all_buffers_from_a_quiet_one<P: AsyncIoProvider>(config: &ProviderConfig) {
    const FLOOD: usize = 8 << 20;
    let mut rig = Rig::<P>::open(&with_pool(config, 2048, 2, 2));
    let pairs = rig.pairs(2);
    let streams = streams(&mut rig, &pairs);
    rig.send(pairs[0].0, vec![7; FLOOD]);
    drop(next_lease(&mut rig, streams[0]));
    rig.send(pairs[1].0, b"me too".to_vec());
    let mut flooded = 0;
    loop {
        let step = rig.next_step();
        if step.op == streams[1] {
            assert_eq!(step.bytes(), b"me too");
            break;
        }
        flooded += step.bytes().len();
        assert!(flooded < FLOOD / 2, "the quiet stream starves");
    }
}

pub(crate) fn the_pool_grows_before_anyone_waits<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(&with_pool(config, 1024, 2, 12));
    let pairs = rig.pairs(12);
    let streams = streams(&mut rig, &pairs);
    for &(client, _) in &pairs {
        rig.send(client, b"held".to_vec());
    }
    let leases: Vec<Lease> = streams.iter().map(|&stream| next_lease(&mut rig, stream)).collect();
    let stats = rig.provider.receive_pool().stats();
    assert_eq!((stats.slots, stats.allocated, stats.high_water), (12, 12, 12));
    drop(leases);
    assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
}

pub(crate) fn a_waiting_stream_can_be_cancelled_and_leaves_the_line<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(&with_pool(config, 256, 1, 1));
    let pairs = rig.pairs(3);
    let streams = streams(&mut rig, &pairs);
    rig.send_now(pairs[0].0, b"holder");
    let lease = next_lease(&mut rig, streams[0]);
    for &(client, _) in &pairs[1..] {
        let before = waits(&rig);
        rig.send_now(client, b"waiter");
        rig.until("the next stream waits in line", |rig| waits(rig) > before);
    }
    rig.provider.cancel(streams[1]).unwrap();
    assert_eq!(rig.final_of(streams[1]).code(), ErrorCode::Cancelled);
    drop(lease);
    assert_eq!(&next_lease(&mut rig, streams[2])[..], b"waiter");
    // Its data is still there.
    assert_eq!(rig.receive_exactly(pairs[1].1, 6), b"waiter");
}

pub(crate) fn a_waiting_stream_can_be_closed<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(&with_pool(config, 256, 1, 1));
    let pairs = rig.pairs(2);
    let streams = streams(&mut rig, &pairs);
    rig.send_now(pairs[0].0, b"holder");
    let lease = next_lease(&mut rig, streams[0]);
    let before = waits(&rig);
    rig.send_now(pairs[1].0, b"waiter");
    rig.until("the stream waits in line", |rig| waits(rig) > before);
    let close = rig.close(pairs[1].1, CloseMode::Graceful);
    assert!(rig.final_of(close).result.is_ok());
    assert_eq!(rig.final_of(streams[1]).code(), ErrorCode::Cancelled);
    drop(lease);
    rig.send_now(pairs[0].0, b"goes on");
    assert_eq!(&next_lease(&mut rig, streams[0])[..], b"goes on");
}

/// Neither the end of file nor a reset needs a buffer; they may wait in line, but must come once there are buffers.
pub(crate) fn the_end_of_a_waiting_stream_is_not_lost<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(&with_pool(config, 256, 1, 1));
    let pairs = rig.pairs(3);
    let streams = streams(&mut rig, &pairs);
    rig.send_now(pairs[0].0, b"holder");
    let lease = next_lease(&mut rig, streams[0]);
    let before = waits(&rig);
    rig.send_now(pairs[1].0, b"last words");
    rig.until("the stream waits in line", |rig| waits(rig) > before);
    rig.close_now(pairs[1].0);
    let close = rig.close(pairs[2].0, CloseMode::Abortive);
    rig.final_of(close);
    rig.turn();
    drop(lease);
    assert_eq!(&next_lease(&mut rig, streams[1])[..], b"last words");
    assert_eq!(rig.final_of(streams[1]).bytes_moved(), 0);
    assert_eq!(rig.final_of(streams[2]).code(), ErrorCode::ConnectionReset);
}

/// The receive pool is the caller's too; what it holds itself counts like a lease.
pub(crate) fn buffers_taken_by_the_caller_come_back_to_the_streams<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(&with_pool(config, 256, 2, 2));
    let (client, server) = rig.pair();
    let stream = rig.receive_stream(server);
    let pool = rig.provider.receive_pool().clone();
    let held: Vec<_> = std::iter::from_fn(|| pool.acquire()).collect();
    rig.send_now(client, b"patience");
    rig.turn();
    drop(held);
    let mut received = Vec::new();
    while received.len() < 8 {
        received.extend_from_slice(&next_lease(&mut rig, stream));
    }
    assert_eq!(received, b"patience");
    assert_eq!(pool.stats().allocated, 0);
}

pub(crate) fn a_message_larger_than_a_buffer_comes_in_pieces<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(&with_pool(config, 64, 4, 4));
    let (client, server) = rig.pair();
    let stream = rig.receive_stream(server);
    let sent = pattern(70, 20_000);
    rig.send(client, sent.clone());
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let lease = next_lease(&mut rig, stream);
        assert!(lease.len() <= 64);
        received.extend_from_slice(&lease);
    }
    assert_eq!(received, sent);
}
