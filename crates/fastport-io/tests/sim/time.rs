//! Virtual time, turns, and repetition.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fastport_io::sim::{FaultPlan, Random, Sim, SimNetwork, SimStats};
use fastport_io::{
    AsyncIoProvider, Backend, Choice, CompletionBatch, ErrorCode, ProviderConfig, is_supported, select, supported,
};

use crate::party::{Party, pattern};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_wait_of_a_day_takes_no_time() {
    let begin = Instant::now();
    let mut party = Party::calm();
    let before = party.provider.now();
    let timeout = party.provider.timeout(DAY, 0).unwrap();
    assert_eq!(party.next().op, timeout);
    assert!(party.provider.now() >= before + DAY);
    assert!(begin.elapsed() < DAY);
}

#[test]
fn a_poll_takes_a_moment_so_that_polling_for_a_time_ends() {
    let mut party = Party::calm();
    let until = party.provider.now() + Duration::from_millis(1);
    let mut batch = CompletionBatch::with_capacity(1);
    while party.provider.now() < until {
        party.provider.process_completions(&mut batch, Some(Duration::ZERO)).unwrap();
    }
}

/// A run in which nearly everything is drawn.
fn run(seed: u64) -> SimStats {
    let mut plan = FaultPlan::drawn(&mut Random::new(seed));
    for fault in fastport_io::sim::Fault::ALL.into_iter().filter(|fault| fault.breaks_connections()) {
        plan = plan.with(fault, 0.0);
    }
    let mut party = Party::on(&SimNetwork::new(seed, plan));
    let pairs: Vec<_> = (0..5).map(|_| party.pair()).collect();
    for (client, server) in &pairs {
        party.send(*client, &pattern(500));
        party.send(*server, &pattern(300));
        party.receive(*client, 200);
        party.receive(*server, 200);
    }
    let end = party.provider.timeout(DAY, 0).unwrap();
    while party.next().op != end {}
    party.network.stats()
}

#[test]
fn a_seed_repeats_exactly_and_another_one_is_another_run() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(1).digest, run(2).digest);
}

#[test]
fn turns_go_to_those_that_have_something_to_do() {
    let network = SimNetwork::new(3, FaultPlan::default());
    network.schedule();
    let mut parties = [Party::on(&network), Party::on(&network)];
    // Everybody has a first turn, in which nothing happens.
    for _ in 0..2 {
        let number = network.next_runnable().unwrap();
        assert_eq!(parties[number].collect(), 0);
    }
    assert_eq!(network.next_runnable(), None);
    assert!(!network.advance(), "nothing will ever happen");

    parties[0].provider.waker().wake();
    assert_eq!(network.next_runnable(), Some(0));
    assert_eq!(parties[0].collect(), 0);
    let listener = parties[0].listener(4);
    parties[0].provider.accept_stream(listener, 0).unwrap();
    assert_eq!(network.next_runnable(), Some(0), "an operation is to be tried");
    parties[0].collect();
    parties[1].connect();
    assert_eq!(network.next_runnable(), Some(1));
    let mut seen = [false, parties[1].collect() > 0];
    while let Some(number) = network.next_runnable() {
        seen[number] |= parties[number].collect() > 0;
    }
    assert_eq!(seen, [true; 2], "the one has a connection, the other has connected");
}

#[test]
fn a_scheduled_provider_that_is_dropped_is_drained_all_the_same() {
    let network = SimNetwork::new(3, FaultPlan::default());
    let mut party = Party::on(&network);
    let (client, server) = party.pair();
    network.schedule();
    party.receive(client, 9);
    party.provider.receive_stream(server, 0).unwrap();
    let pool = party.provider.receive_pool().clone();
    drop(party);
    assert_eq!(pool.stats().allocated, 0);
    assert_eq!(network.stats().sockets, 0);
}

#[test]
fn the_simulation_is_never_chosen_by_itself_and_needs_a_network() {
    assert!(!supported().contains(&Backend::Sim));
    let error = is_supported(Backend::Sim).unwrap_err();
    assert_eq!(error.code(), ErrorCode::PlatformNotSupported);
    assert!(error.to_string().contains("SimNetwork::enter"), "{error}");
    assert!("sim".parse::<Choice>().is_err(), "it has no name that a user could type");

    let network = SimNetwork::new(0, FaultPlan::default());
    let entered = network.enter();
    select(Choice::Only(Backend::Sim), &ProviderConfig::default()).unwrap();
    let inner = SimNetwork::new(1, FaultPlan::default()).enter();
    drop(inner);
    Sim::open(&ProviderConfig::default()).unwrap();
    drop(entered);
    assert!(is_supported(Backend::Sim).is_err());
}

#[test]
fn sockets_stay_in_their_network() {
    let mut party = Party::calm();
    let mut stranger = Party::calm();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket = stranger.provider.create_socket(&address).unwrap();
    let rejected = party.provider.attach(socket).unwrap_err();
    assert_eq!(rejected.error.code(), ErrorCode::SocketNotRegistered);
    assert!(rejected.returned.as_system().is_none());
    let real = fastport_io::socket::stream_socket(&address).unwrap();
    let rejected = party.provider.attach(real).unwrap_err();
    assert!(rejected.returned.as_system().is_some());
}

#[cfg(target_os = "linux")]
#[test]
fn a_provider_of_the_system_refuses_simulated_sockets() {
    let mut provider = fastport_io::Epoll::open(&ProviderConfig::default()).unwrap();
    let server = crate::party::SERVER.into();
    let socket = SimNetwork::new(0, FaultPlan::default()).socket(&server).unwrap();
    let rejected = provider.attach(socket).unwrap_err();
    assert_eq!(rejected.error.code(), ErrorCode::SocketNotRegistered);
    assert!(rejected.error.to_string().contains("simulated"), "{}", rejected.error);
    assert!(rejected.returned.into_system().is_err());
}
