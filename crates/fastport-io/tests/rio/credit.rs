//! Completion entries: taken with each connection, given back with its end, and never more than there are.

use fastport_io::{AsyncIoProvider, CloseMode, ErrorCode, ProviderConfig, RioNotification, is_supported};

use crate::emulated::{Emulated, install};
use crate::rig::{LOOPBACK, Outcome};

/// Entries that a connection takes.
const ENTRIES: u32 = 3;

#[test]
fn the_queue_grows_with_its_connections_and_is_whole_at_the_end() {
    let mut config = ProviderConfig::default();
    config.rio.completion_entries = ENTRIES;
    let mut emulated = Emulated::open(&config);
    let pairs = emulated.rig.pairs(20);
    for &(client, server) in &pairs {
        emulated.rig.assert_connected(client, server);
    }
    let census = emulated.census();
    assert_eq!(census.request_queues, 40);
    assert_eq!(census.charged_entries, 40 * ENTRIES);
    assert!(census.queue_entries >= 40 * ENTRIES);
    assert_eq!(emulated.rig.provider.info().completion_depth, census.queue_entries);
    for (client, server) in pairs {
        emulated.rig.close_now(client);
        emulated.rig.close_now(server);
    }
    assert_eq!(emulated.census().charged_entries, 0);
    emulated.assert_all_given_back();
}

#[test]
fn a_socket_beyond_the_queue_is_refused_with_a_reason_and_welcome_later() {
    let mut config = ProviderConfig::default();
    config.rio.completion_entries = ENTRIES;
    config.rio.max_completion_entries = 4 * ENTRIES + 2;
    let mut emulated = Emulated::open(&config);
    let rig = &mut emulated.rig;
    let pairs = rig.pairs(2);
    let socket = rig.provider.create_socket(&LOOPBACK).unwrap();
    let rejected = rig.provider.attach(socket).unwrap_err();
    assert_eq!(rejected.error.code(), ErrorCode::NoResources);
    assert!(rejected.error.to_string().contains("max_completion_entries"), "{}", rejected.error);
    rig.close_now(pairs[0].0);
    let socket = rig.attach(rejected.returned);
    rig.assert_connected(pairs[1].0, pairs[1].1);
    rig.close_now(socket);
    emulated.assert_all_given_back();
}

#[test]
fn a_listener_takes_no_entries() {
    let mut config = ProviderConfig::default();
    config.rio.completion_entries = ENTRIES;
    config.rio.max_completion_entries = ENTRIES;
    let mut emulated = Emulated::open(&config);
    let rig = &mut emulated.rig;
    let listeners: Vec<_> = (0..4).map(|_| rig.listen()).collect();
    let client = rig.socket_for(&listeners[0].address);
    let connect = rig.connect(client, &listeners[0].address);
    assert!(rig.final_of(connect).result.is_ok());
}

#[test]
fn a_socket_that_leaves_open_keeps_its_entries_until_the_provider_ends() {
    let mut emulated = Emulated::open(&ProviderConfig::default());
    let rig = &mut emulated.rig;
    let (client, server) = rig.pair();
    rig.assert_connected(client, server);
    let socket = rig.provider.detach(client).unwrap();
    assert_eq!(emulated.emulator.census().charged_entries, 2 * ENTRIES);
    // It comes back without a request queue, which the system does not give twice.
    let client = rig.attach(socket);
    rig.assert_connected(client, server);
    rig.close_now(client);
    rig.close_now(server);
    assert_eq!(emulated.census().charged_entries, 0);
    emulated.assert_all_given_back();
}

#[test]
fn a_socket_that_leaves_unused_takes_nothing_along() {
    let mut emulated = Emulated::open(&ProviderConfig::default());
    let rig = &mut emulated.rig;
    let (client, server) = rig.pair();
    let socket = rig.provider.detach(client).unwrap();
    assert_eq!(emulated.emulator.census().request_queues, 0);
    let client = rig.attach(socket);
    rig.assert_connected(client, server);
    assert_eq!(emulated.emulator.census().request_queues, 2);
    rig.close_now(client);
    rig.close_now(server);
    emulated.assert_all_given_back();
}

#[test]
fn everything_comes_back_when_the_provider_is_dropped_in_the_middle() {
    for mode in [None, Some(CloseMode::Abortive), Some(CloseMode::Graceful)] {
        for seed in 0..6 {
            let mut emulated = Emulated::with_seed(seed, &ProviderConfig::default());
            let rig = &mut emulated.rig;
            let pairs = rig.pairs(4);
            for &(client, server) in &pairs {
                rig.receive_stream(client);
                rig.receive(server, 100);
                rig.send(client, vec![1; 2000]);
                rig.send(server, vec![2; 2000]);
            }
            rig.turn();
            for &(client, _) in &pairs {
                if let Some(mode) = mode {
                    rig.close(client, mode);
                }
            }
            emulated.assert_all_given_back();
        }
    }
}

#[test]
fn entries_out_of_range_are_refused_by_name() {
    install();
    for (entries, most) in [(2, 100), (101, 100), (3, 2), (3, 0x800_0001)] {
        let mut config = ProviderConfig::default();
        config.rio.completion_entries = entries;
        config.rio.max_completion_entries = most;
        let Err(error) = fastport_io::Rio::open(&config) else {
            panic!("{entries} of {most} entries were to be refused")
        };
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
        assert!(error.to_string().contains("completion entries"), "{error}");
    }
}

#[test]
fn a_provider_that_polls_works_and_sleeps_while_nothing_is_outstanding() {
    let mut config = ProviderConfig::default();
    config.rio.notification = RioNotification::Polling;
    let mut emulated = Emulated::open(&config);
    let rig = &mut emulated.rig;
    let (client, server) = rig.pair();
    let stream = rig.receive_stream(server);
    rig.send_now(client, b"polled");
    assert_eq!(rig.step_of(stream).bytes(), b"polled");
    // With a silent stream nothing is outstanding at the queue, so this wait ends by its timeout and not by spinning.
    let timeout = rig.timeout(std::time::Duration::from_millis(20));
    assert!(rig.final_of(timeout).result.is_ok());
    emulated.assert_all_given_back();
}

#[test]
fn the_backend_is_supported_where_the_table_is() {
    install();
    is_supported(fastport_io::Backend::Rio).unwrap();
}
