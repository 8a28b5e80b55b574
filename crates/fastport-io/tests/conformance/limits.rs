//! Arguments out of range, and the limits that a configuration sets.

use std::sync::Arc;
use std::time::Duration;

use fastport_io::{
    AsyncIoProvider, CloseMode, ErrorCode, OpId, PoolConfig, ProviderConfig, ReceiveBuffer, SendBuffer, SendBuffers,
    SocketId,
};

use crate::rig::{LOOPBACK, Outcome, Rig, refusal};

pub(crate) fn a_configuration_out_of_range_is_refused_by_name<P: AsyncIoProvider>(config: &ProviderConfig) {
    let pool = |slot_bytes, initial_slots, max_slots| ProviderConfig {
        receive_pool: PoolConfig { slot_bytes, initial_slots, max_slots },
        ..config.clone()
    };
    let refused = [
        (ProviderConfig { queue_depth: 31, ..config.clone() }, "31"),
        (ProviderConfig { queue_depth: 4097, ..config.clone() }, "4097"),
        (ProviderConfig { queue_depth: 0, ..config.clone() }, "queue depth"),
        (ProviderConfig { max_operations: 0, ..config.clone() }, "operations"),
        (ProviderConfig { max_operations: ProviderConfig::MAX_OPERATIONS + 1, ..config.clone() }, "operations"),
        (pool(63, 1, 1), "slot size 63"),
        (pool(4096, 0, 8), "0 initial slots"),
        (pool(4096, 9, 8), "9 initial slots"),
        (pool(4096, 1, 0), "maximum of 0 slots"),
        (pool(4096, 1, 65_537), "maximum of 65537 slots"),
    ];
    for (config, says) in refused {
        let Err(error) = P::open(&config) else { panic!("{config:?} was to be refused") };
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
        assert!(error.to_string().contains(says), "{error}");
    }
}

pub(crate) fn the_ends_of_the_range_work<P: AsyncIoProvider>(config: &ProviderConfig) {
    for queue_depth in [ProviderConfig::MIN_QUEUE_DEPTH, 33, ProviderConfig::MAX_QUEUE_DEPTH] {
        let config = ProviderConfig { queue_depth, max_operations: ProviderConfig::MAX_OPERATIONS, ..config.clone() };
        let mut rig = Rig::<P>::open(&config);
        let (client, server) = rig.pair();
        rig.assert_connected(client, server);
    }
}

pub(crate) fn empty_transfers_are_refused_and_come_back<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, _server) = rig.pair();
    let nothing = SendBuffers::new(SendBuffer::from_static(b""), Some(SendBuffer::from_static(b"")));
    let rejected = rig.provider.send(client, nothing, 1).unwrap_err();
    assert_eq!(rejected.error.code(), ErrorCode::InvalidBuffer);
    assert!(rejected.returned.is_empty());
    let rejected = rig.provider.receive(client, ReceiveBuffer::with_capacity(0), 1).unwrap_err();
    assert_eq!(rejected.error.code(), ErrorCode::InvalidBuffer);
    assert_eq!(rejected.returned.capacity(), 0);
}

pub(crate) fn beyond_the_limit_of_operations_calls_give_back_what_they_were_handed<P: AsyncIoProvider>(
    config: &ProviderConfig,
) {
    let config = ProviderConfig { max_operations: 3, ..config.clone() };
    let mut rig = Rig::<P>::open(&config);
    assert_eq!(rig.provider.info().max_operations, 3);
    let (client, server) = rig.pair();
    let receives: Vec<_> = (0..3).map(|_| rig.receive(server, 1)).collect();
    let shared: Arc<[u8]> = Arc::from(&b"abc"[..]);
    let rejected = rig.provider.send(client, SendBuffer::from(Arc::clone(&shared)).into(), 1).unwrap_err();
    assert_eq!(rejected.error.code(), ErrorCode::NoResources);
    assert!(rejected.error.to_string().contains('3'), "it names the limit: {}", rejected.error);
    drop(rejected.returned);
    assert_eq!(Arc::strong_count(&shared), 1);
    let rejected = rig.provider.receive(client, ReceiveBuffer::with_capacity(9), 1).unwrap_err();
    assert_eq!(rejected.error.code(), ErrorCode::NoResources);
    assert_eq!(rejected.returned.capacity(), 9);
    assert_eq!(refusal(rig.provider.receive_stream(client, 1)), ErrorCode::NoResources);
    assert_eq!(refusal(rig.provider.timeout(Duration::ZERO, 1)), ErrorCode::NoResources);

    rig.provider.cancel(receives[2]).unwrap();
    rig.final_of(receives[2]);
    rig.send_now(client, b"ab");
    for receive in &receives[..2] {
        assert_eq!(rig.final_of(*receive).bytes().len(), 1);
    }
    rig.close_now(client);
}

/// Nothing may depend on a free place for the cancellation or the close.
pub(crate) fn a_provider_at_its_limit_of_operations_lets_go_on_drop<P: AsyncIoProvider>(config: &ProviderConfig) {
    let config = ProviderConfig { max_operations: 4, drain_limit: Duration::from_secs(1), ..config.clone() };
    let mut rig = Rig::<P>::open(&config);
    let (client, _server) = rig.pair();
    let (one, other) = rig.pair();
    let shared: Arc<[u8]> = vec![1; 32 << 20].into();
    rig.send(client, SendBuffer::from(Arc::clone(&shared)));
    rig.receive(client, 16);
    rig.receive(one, 16);
    rig.receive_stream(other);
    assert_eq!(refusal(rig.provider.close(client, CloseMode::Graceful, 1)), ErrorCode::NoResources);
    drop(rig);
    assert_eq!(Arc::strong_count(&shared), 1, "the send was let go, not leaked");
}

pub(crate) fn numbers_that_never_were_ids_are_errors<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let used = client.to_bits();
    for bits in [0, 1, u64::MAX, u64::MAX - 1, 1 << 32, used ^ 0xFFFF, used | 0xFFFF_0000_0000_0000, !used] {
        let socket = SocketId::from_bits(bits);
        if socket == client || socket == server {
            continue;
        }
        assert_eq!(socket.to_bits(), bits);
        assert_eq!(refusal(rig.provider.accept(socket, 1)), ErrorCode::SocketNotRegistered);
        assert_eq!(refusal(rig.provider.accept_stream(socket, 1)), ErrorCode::SocketNotRegistered);
        assert_eq!(refusal(rig.provider.connect(socket, &LOOPBACK, 1)), ErrorCode::SocketNotRegistered);
        assert_eq!(refusal(rig.provider.send(socket, b"x".to_vec().into(), 1)), ErrorCode::SocketNotRegistered);
        let receive = rig.provider.receive(socket, ReceiveBuffer::with_capacity(1), 1);
        assert_eq!(refusal(receive), ErrorCode::SocketNotRegistered);
        assert_eq!(refusal(rig.provider.receive_stream(socket, 1)), ErrorCode::SocketNotRegistered);
        assert_eq!(refusal(rig.provider.detach(socket)), ErrorCode::SocketNotRegistered);
        assert_eq!(refusal(rig.provider.close(socket, CloseMode::Graceful, 1)), ErrorCode::SocketNotRegistered);
        assert_eq!(refusal(rig.provider.cancel(OpId::from_bits(bits))), ErrorCode::OperationFailed);
    }
    rig.assert_connected(client, server);
}
