//! Registered regions: transfers in place, bounds, and memory in use.

use std::ptr::NonNull;

use fastport_io::{AsyncIoProvider, ErrorCode, PoolConfig, ProviderConfig, Region, RegionId, SendBuffer};

use crate::rig::{Outcome, Rig, assert_same, pattern, refusal};

fn register<P: AsyncIoProvider>(rig: &mut Rig<P>, bytes: usize) -> RegionId {
    rig.provider.register_region(Region::new(bytes).unwrap()).expect("there is room for a region")
}

pub(crate) fn bytes_travel_from_region_to_region<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let (from, to) = (register(&mut rig, 8192), register(&mut rig, 8192));
    let sent = pattern(80, 1000);
    rig.provider.region_mut(from).unwrap()[3000..4000].copy_from_slice(&sent);
    let send = rig.send_registered(client, from, 3000, 1000);
    assert_eq!(rig.final_of(send).bytes_moved(), 1000);
    let mut received = 0;
    while received < 1000 {
        let receive = rig.receive_registered(server, to, 7192 + received, 1000 - received);
        received += rig.final_of(receive).bytes_moved();
    }
    let bytes = rig.provider.region_mut(to).unwrap();
    assert_eq!(bytes[7192..], sent);
    assert!(bytes[..7192].iter().all(|&byte| byte == 0), "nothing else was written");
}

pub(crate) fn a_large_region_is_sent_whole_to_a_slow_reader<P: AsyncIoProvider>(config: &ProviderConfig) {
    const BYTES: usize = 4 << 20;
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.narrow(client, server);
    let region = register(&mut rig, BYTES);
    let sent = pattern(81, BYTES);
    rig.provider.region_mut(region).unwrap().copy_from_slice(&sent);
    let send = rig.send_registered(client, region, 0, BYTES);
    let behind = rig.send(client, b"behind".to_vec());
    rig.turn();
    assert!(!rig.is_finished(send));
    let received = rig.receive_exactly(server, BYTES + 6);
    assert_same(&received[..BYTES], &sent);
    assert_eq!(&received[BYTES..], b"behind");
    assert_eq!(rig.final_of(send).bytes_moved(), BYTES);
    assert!(rig.final_of(behind).result.is_ok());
}

pub(crate) fn the_end_of_file_reaches_a_region_too<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let region = register(&mut rig, 4096);
    let receive = rig.receive_registered(server, region, 0, 4096);
    rig.turn();
    rig.close_now(client);
    assert_eq!(rig.final_of(receive).bytes_moved(), 0);
}

pub(crate) fn a_range_outside_its_region_is_refused<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, _server) = rig.pair();
    let region = register(&mut rig, 4096);
    let outside = [
        (0, 0),
        (4096, 0),
        (4096, 1),
        (0, 4097),
        (4095, 2),
        (5000, 1),
        (usize::MAX, 1),
        (1, usize::MAX),
        (usize::MAX, usize::MAX),
    ];
    for (offset, length) in outside {
        let send = rig.provider.send_registered(client, region, offset, length, 1);
        assert_eq!(refusal(send), ErrorCode::InvalidBuffer, "{length} bytes from {offset}");
        let receive = rig.provider.receive_registered(client, region, offset, length, 1);
        assert_eq!(refusal(receive), ErrorCode::InvalidBuffer, "{length} bytes from {offset}");
    }
    let send = rig.send_registered(client, region, 4095, 1);
    assert_eq!(rig.final_of(send).bytes_moved(), 1);
    rig.provider.unregister_region(region).expect("a refused call does not hold the region");
}

pub(crate) fn a_region_in_use_can_be_neither_touched_nor_unregistered<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let region = register(&mut rig, 4096);
    let first = rig.receive_registered(server, region, 0, 2048);
    let second = rig.receive_registered(server, region, 2048, 2048);
    for expected in [b"first", b"other"] {
        assert_eq!(refusal(rig.provider.unregister_region(region)), ErrorCode::OperationPending);
        assert_eq!(refusal(rig.provider.region_mut(region).map(|_| ())), ErrorCode::OperationPending);
        rig.send_now(client, expected);
        let op = if expected == b"first" { first } else { second };
        assert_eq!(rig.final_of(op).bytes_moved(), 5);
    }
    assert_eq!(&rig.provider.region_mut(region).unwrap()[..5], b"first");
    let region = rig.provider.unregister_region(region).unwrap();
    assert_eq!(&region.as_slice()[2048..2053], b"other");
}

pub(crate) fn a_refused_transfer_does_not_hold_its_region<P: AsyncIoProvider>(config: &ProviderConfig) {
    let config = ProviderConfig { max_operations: 2, ..config.clone() };
    let mut rig = Rig::<P>::open(&config);
    let (client, server) = rig.pair();
    let region = register(&mut rig, 4096);
    let receives = [rig.receive(server, 1), rig.receive(server, 1)];
    assert_eq!(refusal(rig.provider.send_registered(client, region, 0, 1, 1)), ErrorCode::NoResources);
    assert_eq!(refusal(rig.provider.receive_registered(client, region, 0, 1, 1)), ErrorCode::NoResources);
    for receive in receives {
        rig.provider.cancel(receive).unwrap();
        rig.final_of(receive);
    }
    rig.close_now(client);
    assert_eq!(refusal(rig.provider.send_registered(client, region, 0, 1, 1)), ErrorCode::SocketNotRegistered);
    rig.provider.unregister_region(region).expect("no operation uses it");
}

pub(crate) fn a_dead_region_is_an_error_even_if_its_place_is_taken<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, _server) = rig.pair();
    let dead = register(&mut rig, 4096);
    rig.provider.unregister_region(dead).unwrap();
    let alive = register(&mut rig, 4096);
    for id in [dead, RegionId::from_bits(0), RegionId::from_bits(u64::MAX)] {
        assert_ne!(id, alive);
        assert_eq!(refusal(rig.provider.unregister_region(id)), ErrorCode::InvalidBuffer);
        assert_eq!(refusal(rig.provider.region_mut(id).map(|_| ())), ErrorCode::InvalidBuffer);
        assert_eq!(refusal(rig.provider.send_registered(client, id, 0, 1, 1)), ErrorCode::InvalidBuffer);
        assert_eq!(refusal(rig.provider.receive_registered(client, id, 0, 1, 1)), ErrorCode::InvalidBuffer);
    }
    rig.provider.unregister_region(alive).unwrap();
}

pub(crate) fn beyond_the_limit_a_region_comes_back<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let mut regions = Vec::new();
    let rejected = loop {
        match rig.provider.register_region(Region::new(4096).unwrap()) {
            Ok(region) => regions.push(region),
            Err(rejected) => break rejected,
        }
        assert!(regions.len() <= 65_536, "there is a limit");
    };
    assert_eq!(rejected.error.code(), ErrorCode::NoResources);
    assert_eq!(rejected.returned.len(), 4096);
    rig.provider.unregister_region(regions.pop().unwrap()).unwrap();
    rig.provider.register_region(rejected.returned).expect("there is room again");
}

pub(crate) fn memory_of_the_caller_can_be_registered<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut memory = vec![0u8; 10_000].into_boxed_slice();
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let start = NonNull::from(&mut memory[..]).cast::<u8>();
    // SAFETY: the memory lives until the end of this function, longer than the provider's use of it, which ends with the
    // unregistering below; nobody else touches it meanwhile.
    let region = unsafe { Region::from_raw_parts(start, memory.len()) };
    let region = rig.provider.register_region(region).unwrap();
    let receive = rig.receive_registered(server, region, 9_990, 10);
    rig.send_now(client, b"0123456789");
    assert_eq!(rig.final_of(receive).bytes_moved(), 10);
    assert!(!rig.provider.unregister_region(region).unwrap().is_owned());
    assert_eq!(&memory[9_990..], b"0123456789");
}

pub(crate) fn a_pool_of_the_provider_grows_is_sent_from_and_outlives_it<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let pool = rig.provider.create_pool(&PoolConfig { slot_bytes: 512, initial_slots: 1, max_slots: 3 }).unwrap();
    let slots: Vec<_> = std::iter::from_fn(|| pool.acquire()).collect();
    assert_eq!(slots.len(), 3);
    let sends: Vec<_> = slots
        .into_iter()
        .zip(0u8..)
        .map(|(mut slot, number)| {
            slot.fill(number);
            rig.send(client, SendBuffer::from(slot.freeze(512)))
        })
        .collect();
    let received = rig.receive_exactly(server, 3 * 512);
    assert!(received.chunks(512).zip(0..).all(|(chunk, number)| chunk.iter().all(|&byte| byte == number)));
    for send in sends {
        rig.final_of(send);
    }
    assert_eq!(pool.stats().allocated, 0);
    drop(rig);
    let lease = pool.acquire().expect("the memory is still there").freeze(512);
    assert_eq!(lease.len(), 512);
    let refused = P::open(config).unwrap().create_pool(&PoolConfig { slot_bytes: 1, initial_slots: 1, max_slots: 1 });
    assert_eq!(refusal(refused), ErrorCode::InvalidArgument);
}
