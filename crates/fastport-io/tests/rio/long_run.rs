//! Thousands of connections, one after the other, on a pool for few: nothing is lost on the way.

use fastport_io::{AsyncIoProvider, ByteRing, CloseMode, Payload, ProviderConfig};

use crate::emulated::{Emulated, pool};
use crate::rig::{assert_same, pattern};

const CONNECTIONS: usize = 2000;
/// Connections at a time: more than the pool serves at once.
const AT_ONCE: usize = 80;
const SLOTS: u32 = 64;
const MESSAGE_BYTES: usize = 900;

#[test]
fn two_thousand_connections_in_turn_give_back_every_slot_and_every_entry() {
    let mut config = ProviderConfig { receive_pool: pool(2048, 16, SLOTS), ..ProviderConfig::default() };
    config.rio.completion_entries = 96;
    let mut emulated = Emulated::open(&config);
    let sending = emulated.rig.provider.create_pool(&pool(1024, 16, AT_ONCE as u32)).unwrap();
    let registered_at_start = emulated.census().buffers;
    for wave in 0..CONNECTIONS / AT_ONCE {
        let rig = &mut emulated.rig;
        let pairs = rig.pairs(AT_ONCE);
        let waits_before = rig.provider.stats().buffer_waits;
        let mut servers = std::collections::HashMap::new();
        let mut rings = Vec::new();
        for (place, &(client, server)) in pairs.iter().enumerate() {
            servers.insert(rig.receive_stream(server), (place, server));
            let mut ring = ByteRing::over(sending.acquire().expect("a slot for each connection"));
            ring.write(&message(wave, place));
            rig.send(client, ring.send_buffers().unwrap());
            rings.push(ring);
        }
        // Nobody gives a lease back: the pool is used up, and the other streams wait.
        rig.until("the pool is used up", |rig| {
            let stats = rig.provider.receive_pool().stats();
            stats.allocated == SLOTS && rig.provider.stats().buffer_waits > waits_before
        });
        // Each message goes back where it came from, out of its own slot, and the streams in line go on.
        let mut received = vec![Vec::new(); AT_ONCE];
        let mut complete = 0;
        while complete < AT_ONCE {
            for completion in rig.take_arrived() {
                let Payload::Lease(lease) = completion.payload else { continue };
                let (place, server) = servers[&completion.op];
                received[place].extend_from_slice(&lease);
                complete += usize::from(received[place].len() == MESSAGE_BYTES);
                rig.send(server, lease);
            }
            rig.collect(Some(std::time::Duration::from_millis(5)));
        }
        for (place, &(client, _)) in pairs.iter().enumerate() {
            assert_same(&received[place], &message(wave, place));
            assert_same(&rig.receive_exactly(client, MESSAGE_BYTES), &message(wave, place));
        }
        drop(rings);
        for (place, &(client, server)) in pairs.iter().enumerate() {
            let mode = if place % 3 == 0 { CloseMode::Abortive } else { CloseMode::Graceful };
            rig.close(client, mode);
            rig.close(server, CloseMode::Graceful);
        }
        rig.until("all operations have ended", |rig| rig.in_flight() == 0);
        drop(rig.take_arrived());
        assert_eq!(rig.provider.receive_pool().stats().allocated, 0, "wave {wave}");
        assert_eq!(sending.stats().allocated, 0, "wave {wave}");
        let census = emulated.census();
        assert_eq!((census.request_queues, census.charged_entries, census.outstanding), (0, 0, 0), "wave {wave}");
    }
    let stats = emulated.rig.provider.receive_pool().stats();
    assert_eq!((stats.slots, stats.high_water), (SLOTS, SLOTS), "the pool grew to its limit");
    assert!(stats.exhausted > 0, "the limit was met");
    let census = emulated.census();
    assert!(census.buffers > registered_at_start, "growth registers further regions");
    assert!(census.most_queue_entries >= 3 * 2 * AT_ONCE as u32, "the completion queue grew");
    drop(sending);
    emulated.assert_all_given_back();
}

/// Content that differs from connection to connection.
fn message(wave: usize, place: usize) -> Vec<u8> {
    pattern((wave * AT_ONCE + place) as u32, MESSAGE_BYTES)
}

#[test]
fn a_pool_that_ran_out_recovers_when_its_slots_come_back() {
    let config = ProviderConfig { receive_pool: pool(256, 1, 2), ..ProviderConfig::default() };
    for seed in 0..5 {
        let mut emulated = Emulated::with_seed(seed, &config);
        let rig = &mut emulated.rig;
        let pairs = rig.pairs(6);
        let taken: Vec<_> = std::iter::from_fn(|| rig.provider.receive_pool().acquire()).collect();
        assert_eq!(taken.len(), 2);
        let streams: Vec<_> = pairs.iter().map(|&(_, server)| rig.receive_stream(server)).collect();
        for &(client, _) in &pairs {
            rig.send_now(client, b"waiting");
        }
        rig.until("all streams wait for a slot", |rig| rig.provider.stats().buffer_waits >= 6);
        assert!(rig.take_arrived().is_empty());
        drop(taken);
        for stream in streams {
            let step = rig.step_of(stream);
            assert_eq!(crate::rig::Outcome::bytes(&step), b"waiting");
        }
        assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
        emulated.assert_all_given_back();
    }
}
