//! The counts of a provider.

use std::time::Duration;

use fastport_io::{AsyncIoProvider, CompletionBatch, ProviderConfig};

use crate::receive_stream::stream_exactly;
use crate::rig::{LOOPBACK, Rig, local_address, pattern};

pub(crate) fn the_counts_add_up<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let fresh = rig.provider.stats();
    assert_eq!((fresh.requests, fresh.completions, fresh.pending, fresh.active_sockets), (0, 0, 0, 0));

    let pairs = rig.pairs(10);
    assert_eq!(rig.provider.stats().active_sockets, 20);
    let sent = pattern(90, 40_000);
    for &(client, server) in &pairs {
        let stream = rig.receive_stream(server);
        rig.send(client, sent.clone());
        assert_eq!(stream_exactly(&mut rig, stream, sent.len()), sent);
        rig.provider.cancel(stream).unwrap();
        rig.send(server, sent.clone());
        assert_eq!(rig.receive_exactly(client, sent.len()), sent);
    }
    rig.until("nothing is in flight", |rig| rig.in_flight() == 0);

    let stats = rig.provider.stats();
    assert_eq!(stats.requests, rig.submitted());
    assert_eq!(stats.completions, rig.completed());
    assert_eq!(stats.pending, 0);
    assert_eq!(stats.errors, 0, "cancellations are no errors");
    assert_eq!(stats.stale_completions, 0);
    assert_eq!(stats.bytes_sent as usize, 20 * sent.len());
    assert_eq!(stats.bytes_received as usize, 20 * sent.len());
    assert_eq!(stats.active_sockets, 20);
    assert!(stats.batches > 0 && stats.batches <= stats.completions);
    assert!((stats.mean_batch * stats.batches as f64 - stats.completions as f64).abs() < 1e-3);
    assert!(stats.max_batch as f64 >= stats.mean_batch);
    for (client, server) in pairs {
        rig.close_now(client);
        rig.close_now(server);
    }
    assert_eq!(rig.provider.stats().active_sockets, 0);
}

/// What the provider holds back for the next call is neither delivered nor forgotten.
pub(crate) fn what_waits_for_the_next_batch_counts_as_pending<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut provider = P::open(config).unwrap();
    let ops: Vec<_> = (0..10).map(|context| provider.timeout(Duration::from_secs(3600), context).unwrap()).collect();
    for op in ops {
        provider.cancel(op).unwrap();
    }
    let mut batch = CompletionBatch::with_capacity(4);
    for delivered in [4, 8, 10] {
        provider.process_completions(&mut batch, Some(Duration::ZERO)).unwrap();
        batch.drain();
        let stats = provider.stats();
        assert_eq!((stats.requests, stats.completions, stats.pending), (10, delivered, 10 - delivered));
    }
    assert_eq!(provider.stats().max_batch, 4);
    assert_eq!(provider.stats().batches, 3);
}

pub(crate) fn failures_are_counted_once_each<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let silent = rig.provider.create_socket(&LOOPBACK).unwrap();
    silent.bind(&LOOPBACK).unwrap();
    for failures in 1..4 {
        let client = rig.socket_for(&LOOPBACK);
        let connect = rig.connect(client, &local_address(&silent));
        assert!(rig.final_of(connect).result.is_err());
        assert_eq!(rig.provider.stats().errors, failures);
    }
    let refused_before = rig.provider.stats().requests;
    let (gone, _) = rig.pair();
    rig.close_now(gone);
    let requests = rig.provider.stats().requests;
    assert!(requests > refused_before);
    assert!(rig.provider.send(gone, vec![1].into(), 1).is_err());
    assert_eq!(rig.provider.stats().requests, requests, "a refused call is no request");
}

pub(crate) fn latencies_are_those_of_transfers<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    for _ in 0..20 {
        let receive = rig.receive(server, 8);
        rig.send_now(client, b"x");
        rig.final_of(receive);
    }
    let before = rig.provider.stats();
    assert!(before.p99_latency >= before.mean_latency / 2);
    let timeout = rig.timeout(Duration::from_millis(20));
    rig.final_of(timeout);
    assert_eq!(rig.provider.stats().p99_latency, before.p99_latency, "timeouts do not count");
}
