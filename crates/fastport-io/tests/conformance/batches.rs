//! Batches: what does not fit the caller's array, what does not fit the provider's queue, and the batch forms of calls.

use std::time::Duration;

use fastport_io::{
    AsyncIoProvider, CloseMode, Completion, CompletionBatch, ErrorCode, ProviderConfig, ReceiveBuffer, SendBuffers,
    SocketId,
};

use crate::rig::{Outcome, Rig, pattern};

/// A provider with ten completions at hand, and their contexts in order.
fn ten_at_hand<P: AsyncIoProvider>(config: &ProviderConfig) -> (P, Vec<u64>) {
    let mut provider = P::open(config).unwrap();
    let ops: Vec<_> = (0..10).map(|context| provider.timeout(Duration::from_secs(3600), context).unwrap()).collect();
    for op in ops {
        provider.cancel(op).unwrap();
    }
    (provider, (0..10).collect())
}

fn contexts<'a>(completions: impl IntoIterator<Item = &'a Completion>) -> Vec<u64> {
    completions.into_iter().map(|completion| completion.context).collect()
}

pub(crate) fn completions_beyond_the_batch_come_with_the_next_calls<P: AsyncIoProvider>(config: &ProviderConfig) {
    let (mut provider, expected) = ten_at_hand::<P>(config);
    let mut batch = CompletionBatch::with_capacity(4);
    let mut delivered = Vec::new();
    for count in [4, 4, 2, 0] {
        assert_eq!(provider.process_completions(&mut batch, Some(Duration::ZERO)).unwrap(), count);
        assert!(batch.len() <= batch.capacity());
        delivered.extend(contexts(&batch));
        batch.drain();
    }
    assert_eq!(delivered, expected);
}

pub(crate) fn a_batch_is_appended_to_and_a_full_one_takes_nothing<P: AsyncIoProvider>(config: &ProviderConfig) {
    let (mut provider, expected) = ten_at_hand::<P>(config);
    let mut small = CompletionBatch::with_capacity(3);
    assert_eq!(provider.process_completions(&mut small, None).unwrap(), 3);
    // However long it may wait: there is no room.
    assert_eq!(provider.process_completions(&mut small, None).unwrap(), 0);
    assert_eq!(contexts(&small), expected[..3]);

    let mut large = CompletionBatch::with_capacity(20);
    provider.timeout(Duration::ZERO, 10).unwrap();
    while large.len() < 8 {
        provider.process_completions(&mut large, None).unwrap();
    }
    assert_eq!(contexts(&large), [3, 4, 5, 6, 7, 8, 9, 10], "what was there stays, what comes is appended");
    assert_eq!(contexts(large.iter()), contexts(large.drain().collect::<Vec<_>>().iter()));
    assert!(large.is_empty());
}

pub(crate) fn a_batch_of_one_delivers_everything_in_order<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let pairs = rig.pairs(30);
    let streams: Vec<_> = pairs.iter().map(|&(_, server)| rig.receive_stream(server)).collect();
    for &(client, _) in &pairs {
        rig.send(client, b"hello".to_vec());
    }
    rig.collect_by_one();
    rig.until("all have arrived", |rig| {
        rig.collect_by_one();
        rig.completed() >= rig.submitted()
    });
    for stream in streams {
        assert_eq!(rig.step_of(stream).bytes(), b"hello");
    }
}

/// Thousands of operations through a queue of 32: they reach the system in several goes, and none is lost.
pub(crate) fn more_operations_than_the_queue_holds_all_complete<P: AsyncIoProvider>(config: &ProviderConfig) {
    const PAIRS: usize = 300;
    const EACH: usize = 5;
    let config = ProviderConfig { queue_depth: 32, ..config.clone() };
    let mut rig = Rig::<P>::open(&config);
    let pairs = rig.pairs(PAIRS);
    let mut receives = Vec::new();
    for &(_, server) in &pairs {
        receives.push((0..EACH).map(|_| rig.receive(server, 8)).collect::<Vec<_>>());
    }
    rig.turn();
    let mut sends = Vec::new();
    for (number, &(client, _)) in pairs.iter().enumerate() {
        for part in 0..EACH {
            sends.push(rig.send(client, (number * EACH + part).to_le_bytes().to_vec()));
        }
    }
    assert_eq!(rig.provider.stats().pending as usize, 2 * PAIRS * EACH);
    for (number, receives) in receives.into_iter().enumerate() {
        let received: Vec<u8> =
            receives.into_iter().flat_map(|receive| rig.final_of(receive).bytes().to_vec()).collect();
        let expected: Vec<u8> = (0..EACH).flat_map(|part| (number * EACH + part).to_le_bytes()).collect();
        assert_eq!(received, expected);
    }
    for send in sends {
        assert!(rig.final_of(send).result.is_ok());
    }
}

/// Everything completes at once, far more than the completion queue of the system holds.
pub(crate) fn a_flood_of_completions_overflows_nothing<P: AsyncIoProvider>(config: &ProviderConfig) {
    const PAIRS: usize = 400;
    let config = ProviderConfig { queue_depth: 32, ..config.clone() };
    let mut rig = Rig::<P>::open(&config);
    let listener = rig.listen();
    let accepting = rig.accept_stream(listener.id);
    // A second provider sends, so that the first one does not collect meanwhile.
    let mut sender = Rig::<P>::open(&config);
    let (mut clients, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let client = sender.socket_for(&listener.address);
        let connect = sender.connect(client, &listener.address);
        sender.final_of(connect).result.expect("the listener's queue takes it");
        let server = rig.step_of(accepting).into_socket();
        let server = rig.attach(server);
        streams.push(rig.receive_stream(server));
        clients.push(client);
    }
    rig.turn();
    for &client in &clients {
        sender.send_now(client, b"flood");
    }
    for &client in &clients {
        sender.close_now(client);
    }
    for stream in streams {
        let mut received = Vec::new();
        loop {
            let step = rig.step_of(stream);
            if !step.more {
                assert_eq!(step.bytes_moved(), 0);
                break;
            }
            received.extend_from_slice(step.bytes());
        }
        assert_eq!(received, b"flood");
    }
}

pub(crate) fn a_send_batch_stops_at_the_one_that_is_refused<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let (dead, _) = rig.pair();
    rig.close_now(dead);
    let provider = &mut rig.provider;
    let item = |socket: SocketId, bytes: &'static [u8], context| -> (SocketId, SendBuffers, u64) {
        (socket, bytes.to_vec().into(), context)
    };
    let mut sends =
        vec![item(client, b"one ", 1), item(client, b"two", 2), item(dead, b"no", 3), item(client, b"x", 4)];
    assert_eq!(provider.send_batch(&mut sends), 2);
    let left: Vec<_> = sends.iter().map(|(socket, buffers, context)| (*socket, buffers.len(), *context)).collect();
    assert_eq!(left, [(dead, 2, 3), (client, 1, 4)], "the refused one and those behind it stay");
    sends.remove(0);
    assert_eq!(provider.send_batch(&mut sends), 1);
    assert!(sends.is_empty());
    assert_eq!(provider.send_batch(&mut sends), 0);

    let mut receives: Vec<_> = (10..13).map(|context| (server, ReceiveBuffer::with_capacity(64), context)).collect();
    receives.insert(1, (dead, ReceiveBuffer::with_capacity(5), 99));
    assert_eq!(provider.receive_batch(&mut receives), 1);
    assert_eq!(contexts_of(&receives), [99, 11, 12]);
    receives.remove(0);
    assert_eq!(provider.receive_batch(&mut receives), 2);

    let mut batch = CompletionBatch::with_capacity(64);
    let mut received = Vec::new();
    let mut sent = Vec::new();
    while received.len() < 8 || sent.len() < 3 {
        provider.process_completions(&mut batch, Some(crate::rig::WAIT_LIMIT)).unwrap();
        for completion in batch.drain() {
            match completion.context {
                1 | 2 | 4 => sent.push(completion.context),
                _ => received.extend_from_slice(completion.bytes()),
            }
        }
    }
    assert_eq!(sent, [1, 2, 4]);
    assert_eq!(received, b"one twox");
}

fn contexts_of(receives: &[(SocketId, ReceiveBuffer, u64)]) -> Vec<u64> {
    receives.iter().map(|&(_, _, context)| context).collect()
}

pub(crate) fn a_flush_hands_over_without_collecting<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let sent = pattern(60, 5000);
    let send = rig.send(client, sent.clone());
    rig.provider.flush().unwrap();
    assert!(!rig.is_finished(send), "completions come through `process_completions` only");
    assert_eq!(rig.provider.flush().unwrap(), 0, "there is nothing left to hand over");

    // The bytes are on their way: another provider sees them although this one is not asked for anything.
    let mut reader = Rig::<P>::open(config);
    let socket = rig.provider.detach(server).unwrap();
    let socket = reader.attach(socket);
    assert_eq!(reader.receive_exactly(socket, sent.len()), sent);
    assert_eq!(rig.final_of(send).bytes_moved(), sent.len());
}

pub(crate) fn a_close_beyond_the_batch_still_comes_last<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, _server) = rig.pair();
    for _ in 0..20 {
        rig.receive(client, 8);
    }
    rig.close(client, CloseMode::Graceful);
    rig.until("all have ended", |rig| {
        rig.collect_by_one();
        rig.in_flight() == 0
    });
    let ended = rig.take_arrived();
    let (close, others) = ended.split_last().unwrap();
    assert!(close.result.is_ok());
    assert!(others.iter().all(|completion| completion.code() == ErrorCode::Cancelled));
    assert_eq!(others.len(), 20);
}
