//! Which way a send goes, and how many calls that takes.

use fastport_io::{AsyncIoProvider, ByteRing, ProviderConfig, Region, SendBuffer, SendBuffers};
use fastport_rio_emulator::{Disorder, Settings};

use crate::emulated::{Emulated, pool};
use crate::rig::{Outcome, assert_same, pattern};

/// The way of a session: both parts of a wrapped ring are deferred, committed once, and arrive in order, however the
/// emulator holds and delays them.
#[test]
fn a_ring_is_sent_across_its_wrap_whole_and_in_order() {
    for seed in 0..12 {
        let settings = Settings {
            seed,
            disorder: Disorder { hold_one_in: 2, longest_hold_turns: 5, ..Disorder::default() },
            ..Settings::default()
        };
        let mut emulated = Emulated::with_settings(settings, &ProviderConfig::default());
        let rig = &mut emulated.rig;
        let (client, server) = rig.pair();
        let slots = rig.provider.create_pool(&pool(1024, 1, 1)).unwrap();
        let mut ring = ByteRing::over(slots.acquire().unwrap());
        let sent = pattern(1, 20_000);
        let (mut written, mut received, mut wraps) = (0, Vec::new(), 0);
        while received.len() < sent.len() {
            written += ring.write(&sent[written..sent.len().min(written + 700)]);
            let buffers = ring.send_buffers().expect("something was written");
            wraps += u64::from(buffers.second().is_some());
            let before = emulated.emulator.census();
            let parts = 1 + u64::from(buffers.second().is_some());
            let send = rig.send(client, buffers);
            let count = rig.final_of(send).bytes_moved();
            let after = emulated.emulator.census();
            assert_eq!(after.deferred_ever - before.deferred_ever, parts);
            assert_eq!(after.commits_ever - before.commits_ever, 1);
            // A byte stays behind, so that the start of the ring moves on.
            ring.consume(count - 1);
            received.extend(rig.receive_exactly(server, count));
            if written < sent.len() {
                received.pop();
            } else {
                break;
            }
        }
        assert!(wraps > 5, "only {wraps} sends wrapped");
        assert_same(&received, &sent);
        drop((ring, slots));
        emulated.assert_all_given_back();
    }
}

#[test]
fn sends_of_one_batch_are_committed_once_for_each_socket() {
    let mut emulated = Emulated::open(&ProviderConfig::default());
    let rig = &mut emulated.rig;
    let pairs = rig.pairs(20);
    let before = emulated.emulator.census();
    let sends: Vec<_> = pairs.iter().map(|&(client, _)| rig.send(client, b"all at once".to_vec())).collect();
    assert_eq!(emulated.emulator.census().commits_ever, before.commits_ever, "nothing is committed before the flush");
    assert_eq!(rig.provider.flush().unwrap(), 20);
    let after = emulated.emulator.census();
    assert_eq!(after.commits_ever - before.commits_ever, 20);
    assert_eq!(after.deferred_ever - before.deferred_ever, 20);
    assert_eq!(rig.provider.flush().unwrap(), 0);
    for (send, (_, server)) in sends.into_iter().zip(pairs) {
        assert_eq!(rig.final_of(send).bytes_moved(), 11);
        assert_eq!(rig.receive_exactly(server, 11), b"all at once");
    }
    emulated.assert_all_given_back();
}

/// Windows forbids two requests with the same range; the frame goes out all the same.
#[test]
fn one_frame_is_sent_to_many_sockets_at_once() {
    let mut emulated = Emulated::open(&ProviderConfig::default());
    let rig = &mut emulated.rig;
    let pairs = rig.pairs(10);
    let slots = rig.provider.create_pool(&pool(4096, 1, 1)).unwrap();
    let mut slot = slots.acquire().unwrap();
    let frame = pattern(2, 4096);
    slot.copy_from_slice(&frame);
    let lease = slot.freeze(4096);
    let sends: Vec<_> = pairs.iter().map(|&(client, _)| rig.send(client, lease.clone())).collect();
    drop(lease);
    for (send, (_, server)) in sends.into_iter().zip(pairs) {
        assert_same(&rig.receive_exactly(server, 4096), &frame);
        assert!(rig.final_of(send).result.is_ok());
    }
    assert_eq!(slots.stats().allocated, 0);
}

#[test]
fn the_same_range_twice_in_one_send_goes_out_twice() {
    let mut emulated = Emulated::open(&ProviderConfig::default());
    let rig = &mut emulated.rig;
    let (client, server) = rig.pair();
    let slots = rig.provider.create_pool(&pool(64, 1, 1)).unwrap();
    let mut slot = slots.acquire().unwrap();
    slot[..4].copy_from_slice(b"echo");
    let lease = slot.freeze(4);
    let twice = SendBuffers::new(SendBuffer::from(lease.clone()), Some(SendBuffer::from(lease)));
    let send = rig.send(client, twice);
    assert_eq!(rig.receive_exactly(server, 8), b"echoecho");
    assert_eq!(rig.final_of(send).bytes_moved(), 8);
}

#[test]
fn a_small_send_from_elsewhere_is_copied_and_a_large_one_is_not() {
    let mut config = ProviderConfig::default();
    config.rio.copy_pool = pool(1000, 2, 2);
    let mut emulated = Emulated::open(&config);
    let rig = &mut emulated.rig;
    let (client, server) = rig.pair();
    for (bytes, requests) in [(1000, 1), (1001, 0)] {
        let before = emulated.emulator.census().requests_ever;
        let sent = pattern(bytes as u32, bytes);
        let send = rig.send(client, sent.clone());
        assert_eq!(rig.final_of(send).bytes_moved(), bytes);
        assert_eq!(emulated.emulator.census().requests_ever - before, requests, "{bytes} bytes");
        assert_same(&rig.receive_exactly(server, bytes), &sent);
    }
}

#[test]
fn sends_that_find_no_slot_to_be_copied_to_go_out_all_the_same() {
    let mut config = ProviderConfig::default();
    config.rio.copy_pool = pool(64, 1, 2);
    let mut emulated = Emulated::open(&config);
    let rig = &mut emulated.rig;
    let pairs = rig.pairs(8);
    let sends: Vec<_> = pairs.iter().map(|&(client, _)| rig.send(client, b"crowded".to_vec())).collect();
    for (send, (_, server)) in sends.into_iter().zip(pairs) {
        assert_eq!(rig.receive_exactly(server, 7), b"crowded");
        assert_eq!(rig.final_of(send).bytes_moved(), 7);
    }
    emulated.assert_all_given_back();
}

#[test]
fn a_region_is_sent_and_received_by_requests() {
    let mut emulated = Emulated::open(&ProviderConfig::default());
    let rig = &mut emulated.rig;
    let (client, server) = rig.pair();
    let from = rig.provider.register_region(Region::new(64 * 1024).unwrap()).unwrap();
    let to = rig.provider.register_region(Region::new(64 * 1024).unwrap()).unwrap();
    let sent = pattern(5, 64 * 1024);
    rig.provider.region_mut(from).unwrap().copy_from_slice(&sent);
    let before = emulated.emulator.census().requests_ever;
    let send = rig.send_registered(client, from, 0, sent.len());
    let mut received = 0;
    let mut receives = 0;
    while received < sent.len() {
        let receive = rig.receive_registered(server, to, received, sent.len() - received);
        received += rig.final_of(receive).bytes_moved();
        receives += 1;
    }
    assert!(rig.final_of(send).result.is_ok());
    assert_eq!(emulated.emulator.census().requests_ever - before, 1 + receives);
    assert_same(rig.provider.region_mut(to).unwrap(), &sent);
}
