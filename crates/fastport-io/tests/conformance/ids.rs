//! Ids and contexts: what is dead stays dead, whoever has its place now.

use std::collections::HashSet;
use std::time::Duration;

use fastport_io::{AsyncIoProvider, CompletionBatch, ErrorCode, ProviderConfig, ReceiveBuffer};

use crate::rig::{LOOPBACK, Outcome, Rig, refusal};

pub(crate) fn every_context_comes_back_unchanged<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut provider = P::open(config).unwrap();
    let contexts = [0, 1, u64::from(u32::MAX), 1 << 32, 1 << 63, u64::MAX - 1, u64::MAX];
    for context in contexts {
        provider.timeout(Duration::ZERO, context).unwrap();
    }
    let mut batch = CompletionBatch::with_capacity(16);
    while batch.len() < contexts.len() {
        provider.process_completions(&mut batch, None).unwrap();
    }
    assert_eq!(batch.iter().map(|completion| completion.context).collect::<Vec<_>>(), contexts);
}

pub(crate) fn operations_never_share_an_id<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let mut ids = HashSet::new();
    for _ in 0..50 {
        let timeouts: Vec<_> = (0..5).map(|_| rig.timeout(Duration::ZERO)).collect();
        for timeout in timeouts {
            rig.final_of(timeout);
            assert_ne!(timeout.to_bits(), 0);
            assert!(ids.insert(timeout.to_bits()), "an id was given out twice");
        }
    }
}

pub(crate) fn cancelling_a_dead_operation_spares_its_successor<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let dead = rig.receive(server, 4);
    rig.send_now(client, b"dead");
    rig.final_of(dead);
    // One of these has the dead one's place.
    let alive: Vec<_> = (0..4).map(|_| rig.receive(server, 4)).collect();
    let place = |op: fastport_io::OpId| op.to_bits() >> 32;
    assert!(alive.iter().any(|&op| place(op) == place(dead)), "places are used again");
    rig.turn();
    assert_eq!(refusal(rig.provider.cancel(dead)), ErrorCode::OperationFailed);
    for op in alive {
        rig.send_now(client, b"live");
        assert_eq!(rig.final_of(op).bytes(), b"live");
    }
}

pub(crate) fn a_dead_socket_id_does_not_reach_the_socket_in_its_place<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (dead, _) = rig.pair();
    rig.close_now(dead);
    let (client, server) = rig.pair();
    let fresh: Vec<_> = (0..4).map(|_| rig.socket_for(&LOOPBACK)).collect();
    let place = |socket: fastport_io::SocketId| socket.to_bits() >> 32;
    let mut now = fresh.iter().chain([&client, &server]);
    assert!(now.any(|&socket| place(socket) == place(dead)), "places are used again");
    assert_eq!(refusal(rig.provider.send(dead, b"astray".to_vec().into(), 1)), ErrorCode::SocketNotRegistered);
    let receive = rig.provider.receive(dead, ReceiveBuffer::with_capacity(1), 1);
    assert_eq!(refusal(receive), ErrorCode::SocketNotRegistered);
    assert_eq!(refusal(rig.provider.socket(dead)), ErrorCode::SocketNotRegistered);
    rig.assert_connected(client, server);
}

/// Descriptors are used again at once; what was meant for the old connection must not show on the new one.
pub(crate) fn a_new_socket_with_an_old_descriptor_sees_none_of_the_old_events<P: AsyncIoProvider>(
    config: &ProviderConfig,
) {
    let mut rig = Rig::<P>::open(config);
    for _ in 0..20 {
        let (client, server) = rig.pair();
        let stream = rig.receive_stream(server);
        let receive = rig.receive(client, 16);
        // Both ends have news when they are closed.
        rig.send(client, b"old news".to_vec());
        rig.send(server, b"old news".to_vec());
        rig.provider.flush().unwrap();
        let closes =
            [rig.close(server, fastport_io::CloseMode::Graceful), rig.close(client, fastport_io::CloseMode::Abortive)];
        for close in closes {
            rig.final_of(close);
        }
        assert!(rig.is_finished(stream) && rig.is_finished(receive));
        rig.take_arrived();

        let (client, server) = rig.pair();
        let stream = rig.receive_stream(server);
        rig.turn();
        assert!(rig.take_arrived().is_empty(), "nothing has happened on the new sockets");
        rig.send_now(client, b"new");
        assert_eq!(rig.step_of(stream).bytes(), b"new");
        rig.close_now(server);
        rig.close_now(client);
    }
    assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
}
