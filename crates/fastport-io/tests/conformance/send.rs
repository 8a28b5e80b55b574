//! Sends: whole, in order, from every kind of memory, and against readers that take their time.

use std::sync::Arc;

use fastport_io::{
    AsyncIoProvider, ByteRing, CloseMode, ErrorCode, Feature, OpId, PoolConfig, ProviderConfig, SendAtOnce, SendBuffer,
    SendBuffers, SocketId,
};

use crate::receive_stream::stream_exactly;
use crate::rig::{Outcome, Rig, assert_same, pattern};

const MIB: usize = 1 << 20;

/// Reads in small pieces, and checks that the send is not complete before most was read.
fn read_slowly<P: AsyncIoProvider>(rig: &mut Rig<P>, send: OpId, socket: SocketId, expected: &[u8]) {
    rig.turn();
    assert!(!rig.is_finished(send), "the system cannot hold {} bytes", expected.len());
    let first = rig.receive_exactly(socket, 64 * 1024);
    rig.turn();
    assert!(!rig.is_finished(send), "one buffer more does not make it hold {} bytes", expected.len());
    let mut received = first;
    while received.len() < expected.len() {
        let receive = rig.receive(socket, 16 * 1024);
        received.extend_from_slice(rig.final_of(receive).bytes());
    }
    assert_same(&received, expected);
    assert_eq!(rig.final_of(send).bytes_moved(), expected.len());
}

pub(crate) fn eight_mebibytes_to_a_slow_reader_arrive_whole<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.narrow(client, server);
    let sent = pattern(8, 8 * MIB);
    let send = rig.send(client, sent.clone());
    read_slowly(&mut rig, send, server, &sent);
    assert_eq!(rig.provider.stats().bytes_sent as usize, sent.len());
}

pub(crate) fn two_large_buffers_to_a_slow_reader_arrive_as_one<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.narrow(client, server);
    let sent = pattern(9, 4 * MIB);
    let (first, second) = sent.split_at(MIB + 12_345);
    let buffers = SendBuffers::new(first.to_vec().into(), Some(second.to_vec().into()));
    let send = rig.send(client, buffers);
    read_slowly(&mut rig, send, server, &sent);
}

pub(crate) fn both_directions_can_be_full_at_once<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.narrow(client, server);
    rig.narrow(server, client);
    let there = pattern(10, 2 * MIB);
    let back = pattern(11, 2 * MIB);
    let sends = [rig.send(client, there.clone()), rig.send(server, back.clone())];
    rig.turn();
    assert!(sends.iter().all(|&send| !rig.is_finished(send)));
    let streams = [rig.receive_stream(server), rig.receive_stream(client)];
    assert_same(&stream_exactly(&mut rig, streams[1], back.len()), &back);
    assert_same(&stream_exactly(&mut rig, streams[0], there.len()), &there);
    for send in sends {
        assert_eq!(rig.final_of(send).bytes_moved(), 2 * MIB);
    }
}

pub(crate) fn two_buffers_go_out_in_order<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let cases: [(&'static [u8], Option<&'static [u8]>); 4] =
        [(b"head ", Some(b"body")), (b"alone", None), (b"", Some(b"second only")), (b"first only", Some(b""))];
    for (first, second) in cases {
        let expected = [first, second.unwrap_or_default()].concat();
        let send =
            rig.send(client, SendBuffers::new(SendBuffer::from_static(first), second.map(SendBuffer::from_static)));
        assert_eq!(rig.final_of(send).bytes_moved(), expected.len());
        assert_eq!(rig.receive_exactly(server, expected.len()), expected);
    }
}

pub(crate) fn queued_sends_keep_their_order<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.narrow(client, server);
    let sent = pattern(12, MIB);
    let mut rest = &sent[..];
    let mut sends = Vec::new();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(1 + sends.len() * 61 % 9001));
        sends.push(rig.send(client, piece.to_vec()));
        rest = behind;
    }
    let stream = rig.receive_stream(server);
    let mut received = Vec::new();
    let mut completed = Vec::new();
    while received.len() < sent.len() || completed.len() < sends.len() {
        let completion = rig.next();
        if completion.op == stream {
            received.extend_from_slice(completion.bytes());
        } else {
            completed.push(completion.op);
        }
    }
    assert_same(&received, &sent);
    assert!(completed == sends, "sends of one socket complete in the order of their submission");
}

pub(crate) fn every_kind_of_memory_can_be_sent<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let pool = rig.provider.create_pool(&PoolConfig { slot_bytes: 64, initial_slots: 1, max_slots: 1 }).unwrap();
    let mut slot = pool.acquire().unwrap();
    slot[..4].copy_from_slice(b"slot");
    let lease = slot.freeze(4);
    let kinds: Vec<(SendBuffer, &[u8])> = vec![
        (SendBuffer::from_static(b"static"), b"static"),
        (SendBuffer::from(b"vector".to_vec()), b"vector"),
        (SendBuffer::from(Box::<[u8]>::from(*b"boxed")), b"boxed"),
        (SendBuffer::from(Arc::<[u8]>::from(*b"shared")), b"shared"),
        (SendBuffer::from(lease.slice(1..3)), b"lo"),
        (SendBuffer::from(lease), b"slot"),
    ];
    let expected = kinds.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>().concat();
    let sends: Vec<_> = kinds.into_iter().map(|(buffer, _)| rig.send(client, buffer)).collect();
    assert_eq!(rig.receive_exactly(server, expected.len()), expected);
    for send in sends {
        assert!(rig.final_of(send).result.is_ok());
    }
    assert_eq!(pool.stats().allocated, 0);
}

pub(crate) fn a_send_holds_its_memory_until_it_completes<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.narrow(client, server);
    let shared: Arc<[u8]> = pattern(13, 2 * MIB).into();
    let send = rig.send(client, SendBuffer::from(Arc::clone(&shared)));
    rig.turn();
    assert_eq!(Arc::strong_count(&shared), 2);
    let stream = rig.receive_stream(server);
    assert_same(&stream_exactly(&mut rig, stream, shared.len()), &shared);
    drop(rig.final_of(send));
    // A zero-copy send lets go of the memory when the peer's system has confirmed it, a moment later.
    rig.until("the memory is free", |_| Arc::strong_count(&shared) == 1);
}

/// The way of a session: what wraps round the end of the ring goes out as two ranges of one send.
pub(crate) fn a_byte_ring_is_sent_across_its_wrap<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let mut ring = ByteRing::with_capacity(1000);
    let sent = pattern(14, 50_000);
    let mut written = ring.write(&sent[..450]);
    let mut received = Vec::new();
    let mut wraps = 0;
    while let Some(buffers) = ring.send_buffers() {
        wraps += usize::from(buffers.second().is_some());
        let send = rig.send(client, buffers);
        written += ring.write(&sent[written..sent.len().min(written + 450)]);
        let count = rig.final_of(send).bytes_moved();
        ring.consume(count);
        received.extend(rig.receive_exactly(server, count));
    }
    assert_same(&received, &sent);
    assert!(wraps > 10, "the ring wraps again and again, not {wraps} times");
}

pub(crate) fn a_send_to_a_peer_that_is_gone_fails_as_reset<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.close_now(server);
    // The first sends may be taken by the system before the peer's reset arrives.
    rig.until("a send has failed", |rig| {
        let send = rig.send(client, vec![0; 1000]);
        let completion = rig.final_of(send);
        completion.result.is_err() && completion.code() == fastport_io::ErrorCode::ConnectionReset
    });
}

/// Sends without a copy are operations, since their memory is in use for longer than a call.
pub(crate) fn sends_at_once<P: AsyncIoProvider>(rig: &Rig<P>) -> bool {
    P::SENDS_AT_ONCE > 0 && !rig.provider.info().features.has(Feature::ZeroCopySend)
}

pub(crate) fn what_is_sent_at_once_stands_before_the_send_of_the_rest<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let mut sent_at_once = 0;
    let mut expected = Vec::new();
    for round in 0..50 {
        let bytes = pattern(round, 100);
        let (first, second) = bytes.split_at(60);
        let taken = rig.send_at_once(client, first, second).unwrap();
        assert!(taken <= bytes.len());
        sent_at_once += taken;
        if taken < bytes.len() {
            let rest = rig.send(client, bytes[taken..].to_vec());
            assert_eq!(rig.final_of(rest).bytes_moved(), bytes.len() - taken);
        }
        expected.extend_from_slice(&bytes);
    }
    assert_eq!(sent_at_once > 0, sends_at_once(&rig), "{sent_at_once} bytes were sent at once");
    assert_same(&rig.receive_exactly(server, expected.len()), &expected);
    let stats = rig.provider.stats();
    assert_eq!((stats.bytes_sent as usize, stats.pending), (expected.len(), 0));
    // What was sent at once is in no batch.
    assert!(stats.mean_batch <= stats.max_batch as f64, "{stats:?}");
}

pub(crate) fn many_sends_at_once_reach_each_its_own_peer<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    // More than any backend makes by one call, and every third in two ranges.
    let pairs = rig.pairs(70);
    let bytes: Vec<Vec<u8>> = (0..pairs.len()).map(|index| pattern(index as u32, 50 + index)).collect();
    for _ in 0..3 {
        let mut sends: Vec<_> = (pairs.iter().zip(&bytes).enumerate())
            .map(|(index, ((client, _), bytes))| {
                let (first, second) = bytes.split_at(if index % 3 == 0 { 20 } else { bytes.len() });
                SendAtOnce::new(*client, first, second)
            })
            .collect();
        sends.insert(33, SendAtOnce::NOTHING);
        rig.provider.send_at_once(&mut sends);
        let nothing = sends.remove(33);
        assert_eq!(nothing.taken.unwrap(), 0);
        let taken: Vec<usize> = sends.into_iter().map(|send| send.taken.unwrap()).collect();
        assert_eq!(taken.iter().any(|&taken| taken > 0), sends_at_once(&rig));
        for ((&(client, server), bytes), taken) in pairs.iter().zip(&bytes).zip(taken) {
            if taken < bytes.len() {
                let rest = rig.send(client, bytes[taken..].to_vec());
                assert_eq!(rig.final_of(rest).bytes_moved(), bytes.len() - taken);
            }
            assert_same(&rig.receive_exactly(server, bytes.len()), bytes);
        }
    }
}

pub(crate) fn each_of_many_sends_at_once_succeeds_or_fails_for_itself<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let mut pairs = rig.pairs(8);
    // Only what was accepted is a blocking socket.
    pairs[2] = (pairs[2].1, pairs[2].0);
    let (reset, full, busy, closed) = (pairs[1], pairs[2], pairs[4], pairs[6]);
    let close = rig.close(reset.1, CloseMode::Abortive);
    rig.final_of(close).result.expect("closing succeeds");
    // A socket of which the reset is known refuses the send; the others do not hear of it.
    let told = rig.receive(reset.0, 8);
    assert_eq!(rig.final_of(told).code(), ErrorCode::ConnectionReset);
    rig.close_now(closed.0);
    for (client, server) in [full, busy] {
        rig.narrow(client, server);
    }
    let in_flight = rig.send(busy.0, pattern(4, 4 * MIB));
    rig.turn();
    // Until it is full, if the backend sends at once; on a simulated network not every refusal says that it is.
    let filling = pattern(2, 64 * 1024);
    let mut sent = Vec::new();
    let mut refusals = 0;
    while refusals < 50 {
        let start = sent.len() % filling.len();
        // Not alone, or it would be no batch.
        let mut sends = [SendAtOnce::NOTHING, SendAtOnce::new(full.0, &filling[start..], b""), SendAtOnce::NOTHING];
        rig.provider.send_at_once(&mut sends);
        let [_, SendAtOnce { taken: Ok(taken), .. }, _] = sends else {
            panic!("{sends:?} to a peer that does not read")
        };
        sent.extend_from_slice(&filling[start..][..taken]);
        refusals = if taken == 0 { refusals + 1 } else { 0 };
    }
    let mut sends: Vec<_> =
        pairs.iter().map(|&(client, _)| SendAtOnce::new(client, b"to whom it concerns", b"")).collect();
    rig.provider.send_at_once(&mut sends);
    let taken: Vec<_> = sends.into_iter().map(|send| send.taken).collect();
    if P::SENDS_AT_ONCE > 0 {
        assert_eq!(taken[6].as_ref().unwrap_err().code(), ErrorCode::SocketNotRegistered);
    }
    assert!(matches!(taken[1], Err(_) | Ok(0)), "{:?} to a peer that is gone", taken[1]);
    assert_eq!((taken[2].as_ref().ok(), taken[4].as_ref().ok()), (Some(&0), Some(&0)), "full, and busy");
    for index in [0, 3, 5, 7] {
        let ((client, server), taken) = (pairs[index], *taken[index].as_ref().expect("it is a good connection"));
        let rest = b"to whom it concerns"[taken..].to_vec();
        if !rest.is_empty() {
            let rest = rig.send(client, rest);
            rig.final_of(rest).result.expect("the peer reads");
        }
        assert_eq!(rig.receive_exactly(server, 19), b"to whom it concerns");
    }
    // Nothing was torn, and what had no room then has it now.
    assert_same(&rig.receive_exactly(busy.1, 4 * MIB), &pattern(4, 4 * MIB));
    assert_eq!(rig.final_of(in_flight).bytes_moved(), 4 * MIB);
    assert_same(&rig.receive_exactly(full.1, sent.len()), &sent);
    let late = rig.send(full.0, b"late".to_vec());
    rig.final_of(late).result.expect("there is room again");
    assert_eq!(rig.receive_exactly(full.1, 4), b"late");
}

pub(crate) fn nothing_is_sent_at_once_past_a_send_in_flight<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.narrow(client, server);
    let sent = pattern(1, 4 * MIB);
    let send = rig.send(client, sent.clone());
    rig.turn();
    assert!(!rig.is_finished(send));
    assert_eq!(rig.send_at_once(client, b"too early", b"").unwrap(), 0);
    assert_same(&rig.receive_exactly(server, sent.len()), &sent);
    assert_eq!(rig.final_of(send).bytes_moved(), sent.len());
}

pub(crate) fn a_send_at_once_that_meets_a_reset_is_told_and_remembered<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let close = rig.close(client, CloseMode::Abortive);
    rig.final_of(close).result.expect("closing succeeds");
    if !sends_at_once(&rig) {
        // Nothing is tried, so nothing is met.
        assert_eq!(rig.send_at_once(server, b"anyone?", b"").unwrap(), 0);
        return;
    }
    let error = (0..1000).find_map(|_| {
        rig.turn();
        rig.send_at_once(server, b"anyone?", b"").err()
    });
    assert_eq!(error.expect("the reset arrives").code(), ErrorCode::ConnectionReset);
    // The system has told it, and would now tell the end of the peer's data.
    let receive = rig.receive(server, 64);
    assert_eq!(rig.final_of(receive).code(), ErrorCode::ConnectionReset);
}

pub(crate) fn a_send_at_once_to_a_socket_that_takes_no_operation_is_refused<P: AsyncIoProvider>(
    config: &ProviderConfig,
) {
    let mut rig = Rig::<P>::open(config);
    let (client, _server) = rig.pair();
    rig.close_now(client);
    match rig.send_at_once(client, b"late", b"") {
        Err(refused) if P::SENDS_AT_ONCE > 0 => assert_eq!(refused.code(), ErrorCode::SocketNotRegistered),
        outcome => assert_eq!((outcome.unwrap(), P::SENDS_AT_ONCE), (0, 0)),
    }
}
