//! Each fault really happens, and does what it says.

use std::time::Duration;

use fastport_io::sim::{Fault, FaultPlan, Random, SimNetwork};
use fastport_io::{AsyncIoProvider, CompletionBatch, ErrorCode, OpId, Payload, ProviderConfig, Region};

use crate::party::{Party, SERVER, bytes_of, pattern};

/// A network on which one thing goes wrong, whenever it can.
fn always(fault: Fault) -> Party {
    Party::with(FaultPlan::default().with(fault, 1.0))
}

/// A pair that was made before things went wrong.
fn pair_before(fault: Fault, probability: f64) -> (Party, fastport_io::SocketId, fastport_io::SocketId) {
    let mut party = Party::calm();
    let (client, server) = party.pair();
    party.network.set_plan(FaultPlan::default().with(fault, probability));
    (party, client, server)
}

#[track_caller]
fn assert_happened(party: &Party, fault: Fault) {
    assert!(party.network.stats().faults[fault] > 0, "{fault:?} was never counted");
}

#[test]
fn a_short_receive_leaves_some_of_the_bytes() {
    let mut party = always(Fault::ShortReceive);
    let (client, server) = party.pair();
    party.send_now(client, &pattern(100));
    let mut received = party.receive_now(server, 100);
    assert!((1..100).contains(&received.len()));
    while received.len() < 100 {
        received.extend(party.receive_now(server, 100));
    }
    assert_eq!(received, pattern(100));
    assert_happened(&party, Fault::ShortReceive);
}

#[test]
fn a_short_send_is_continued() {
    let mut party = always(Fault::ShortSend);
    let (client, server) = party.pair();
    party.send_now(client, &pattern(100));
    assert_eq!(party.receive_now(server, 200), pattern(100));
    assert!(party.network.stats().faults[Fault::ShortSend] > 1);
}

#[test]
fn a_split_segment_arrives_in_pieces() {
    let mut plan = FaultPlan::default();
    plan.bytes_per_second = Some(10_000);
    let mut party = Party::with(plan.with(Fault::SplitSegment, 1.0));
    let (client, server) = party.pair();
    party.send_now(client, &pattern(1000));
    assert!(party.receive_now(server, 1000).len() < 1000);
    assert_happened(&party, Fault::SplitSegment);
}

#[test]
fn a_slow_completion_comes_behind_those_that_were_done_later() {
    let mut party = Party::with(FaultPlan::default().with(Fault::SlowCompletion, 0.5));
    let pairs: Vec<_> = (0..20).map(|_| party.pair()).collect();
    let sends: Vec<OpId> = pairs.iter().map(|(client, _)| party.send(*client, b"x")).collect();
    let told: Vec<OpId> = sends.iter().map(|_| party.next().op).collect();
    assert_ne!(told, sends);
    assert!(sends.iter().all(|send| told.contains(send)));
    assert_happened(&party, Fault::SlowCompletion);
}

#[test]
fn a_late_cancel_loses_the_race_now_and_then_and_loses_nothing_else() {
    let mut plan = FaultPlan::default().with(Fault::LateCancel, 1.0);
    plan.longest_delay = Duration::from_millis(10);
    plan.latency = Duration::ZERO..=Duration::from_millis(10);
    let mut party = Party::with(plan);
    let (client, server) = party.pair();
    let mut late = 0;
    for number in 0..40u8 {
        let receive = party.receive(server, 1);
        party.send(client, &[number]);
        party.provider.cancel(receive).unwrap();
        let completion = party.outcome(receive);
        if completion.result.is_ok() {
            late += 1;
            assert_eq!(bytes_of(&completion), [number]);
        } else {
            assert_eq!(completion.error().unwrap().code(), ErrorCode::Cancelled);
            assert_eq!(party.receive_now(server, 1), [number], "what was not delivered is still there");
        }
    }
    assert!((1..40).contains(&late), "{late} of 40 were late");
    assert_happened(&party, Fault::LateCancel);
}

#[test]
fn a_reset_by_the_network_is_told_to_both_ends() {
    let (mut party, client, server) = pair_before(Fault::Reset, 1.0);
    let receive = party.receive(server, 9);
    let send = party.send(client, b"x");
    assert_eq!(party.error(send), ErrorCode::ConnectionReset);
    assert_eq!(party.error(receive), ErrorCode::ConnectionReset);
    assert_happened(&party, Fault::Reset);
}

#[test]
fn a_connect_is_refused_although_somebody_listens() {
    let mut party = always(Fault::RefusedConnect);
    party.listener(4);
    let (_, connect) = party.connect();
    assert_eq!(party.error(connect), ErrorCode::ConnectionRefused);
    assert_happened(&party, Fault::RefusedConnect);
}

#[test]
fn a_lost_connect_fails_by_the_system_s_limit() {
    let mut party = always(Fault::LostConnect);
    party.listener(4);
    let (_, connect) = party.connect();
    assert_eq!(party.error(connect), ErrorCode::ConnectionTimeout);
    assert!(party.network.elapsed() >= party.network.plan().connect_time_limit);
    assert_happened(&party, Fault::LostConnect);
}

#[test]
fn without_descriptors_an_accept_fails_and_the_connection_waits_on() {
    let mut party = Party::calm();
    let listener = party.listener(4);
    let (_, connect) = party.connect();
    party.outcome(connect).result.unwrap();
    party.network.set_plan(FaultPlan::default().with(Fault::NoDescriptors, 1.0));
    let accepting = party.provider.accept_stream(listener, 0).unwrap();
    let completion = party.outcome(accepting);
    assert!(!completion.more, "it ends the stream");
    assert!(completion.error().unwrap().is_exhaustion());
    assert!(party.provider.create_socket(&SERVER.into()).unwrap_err().is_exhaustion());
    party.network.set_plan(FaultPlan::default());
    party.accept(listener);
    assert_happened(&party, Fault::NoDescriptors);
}

#[test]
fn without_buffers_a_transfer_fails_and_the_connection_is_as_it_was() {
    let (mut party, client, server) = pair_before(Fault::NoBuffers, 1.0);
    let send = party.send(client, b"x");
    assert_eq!(party.error(send), ErrorCode::BufferTooSmall);
    party.network.set_plan(FaultPlan::default());
    party.send_now(client, b"y");
    assert_eq!(party.receive_now(server, 9), b"y");
    assert_happened(&party, Fault::NoBuffers);
}

#[test]
fn a_failed_submission_is_the_completion_of_its_operation() {
    let (mut party, client, server) = pair_before(Fault::FailedSubmission, 1.0);
    let send = party.send(client, b"x");
    let stream = party.provider.receive_stream(server, 0).unwrap();
    for op in [send, stream] {
        let completion = party.outcome(op);
        assert!(!completion.more && completion.error().unwrap().is_exhaustion());
    }
    assert_happened(&party, Fault::FailedSubmission);
}

#[test]
fn a_failed_attach_gives_the_socket_back() {
    let mut party = always(Fault::FailedAttach);
    let socket = party.provider.create_socket(&SERVER.into()).unwrap();
    let rejected = party.provider.attach(socket).unwrap_err();
    assert!(rejected.error.is_exhaustion());
    party.network.set_plan(FaultPlan::default());
    party.provider.attach(rejected.returned).unwrap();
    assert_happened(&party, Fault::FailedAttach);
}

#[test]
fn a_failed_wait_is_an_error_once_and_loses_nothing() {
    let (mut party, client, server) = pair_before(Fault::FailedWait, 1.0);
    let send = party.send(client, b"x");
    let mut batch = CompletionBatch::with_capacity(4);
    assert!(party.provider.process_completions(&mut batch, None).unwrap_err().is_exhaustion());
    party.network.set_plan(FaultPlan::default());
    party.outcome(send).result.unwrap();
    assert_eq!(party.receive_now(server, 9), b"x");
    assert_happened(&party, Fault::FailedWait);
}

#[test]
fn an_empty_wait_returns_early_with_nothing() {
    let mut party = always(Fault::EmptyWait);
    party.provider.timeout(Duration::from_secs(1), 0).unwrap();
    assert_eq!(party.collect(), 0);
    assert!(party.network.elapsed() < Duration::from_secs(1));
    assert_happened(&party, Fault::EmptyWait);
}

#[test]
fn the_whole_memory_of_a_receive_is_scribbled_on() {
    let (mut party, client, server) = pair_before(Fault::Scribble, 1.0);
    let region = party.provider.register_region(Region::new(4096).unwrap()).unwrap();
    // One scribble may be made of zeros.
    let mut noise = 0;
    for _ in 0..3 {
        let receive = party.provider.receive_registered(server, region, 0, 100, 0).unwrap();
        party.send_now(client, b"abc");
        assert_eq!(party.outcome(receive).result, Ok(3));
        let bytes = party.provider.region_mut(region).unwrap();
        assert_eq!(&bytes[..3], b"abc");
        assert_eq!(bytes[100], 0, "what is not the operation's is left alone");
        noise += usize::from(bytes[50]);
    }
    assert!(noise > 0);
    assert_happened(&party, Fault::Scribble);
}

#[test]
fn reordering_puts_any_socket_first() {
    let (mut party, ..) = pair_before(Fault::Reorder, 1.0);
    let pairs: Vec<_> = (0..20).map(|_| party.pair()).collect();
    let receives: Vec<OpId> = pairs.iter().map(|(_, server)| party.receive(*server, 1)).collect();
    for (client, _) in &pairs {
        party.send(*client, b"x");
    }
    let told: Vec<OpId> = (0..40).map(|_| party.next().op).filter(|op| receives.contains(op)).collect();
    assert_eq!(told.len(), 20);
    assert_ne!(told, receives);
    assert_happened(&party, Fault::Reorder);
}

#[test]
fn a_completion_that_is_told_twice_disturbs_nobody() {
    let (mut party, client, server) = pair_before(Fault::StaleCompletion, 1.0);
    for number in 0..10 {
        // What takes the place of the operation that was finished last is the one that a mix-up would hit.
        let receive = party.receive(server, 1);
        party.send_now(client, &[number]);
        assert_eq!(bytes_of(&party.outcome(receive)), [number]);
    }
    assert!(party.provider.stats().stale_completions >= 10);
    assert_happened(&party, Fault::StaleCompletion);
}

#[test]
fn a_pool_of_one_buffer_serves_many_streams_under_all_harmless_faults() {
    let harmless = Fault::ALL.into_iter().filter(|fault| !fault.breaks_connections() && *fault != Fault::EmptyWait);
    let plan = harmless.fold(FaultPlan::default(), |plan, fault| plan.with(fault, 0.3));
    let network = SimNetwork::new(11, plan);
    let mut config = ProviderConfig::default();
    config.receive_pool.slot_bytes = 64;
    (config.receive_pool.initial_slots, config.receive_pool.max_slots) = (1, 1);
    let mut party = Party::on(&network);
    party.provider = network.provider(&config).unwrap();
    let pairs: Vec<_> = (0..10).map(|_| party.pair()).collect();
    let streams: Vec<OpId> =
        pairs.iter().map(|(_, server)| party.provider.receive_stream(*server, 0).unwrap()).collect();
    for (client, _) in &pairs {
        party.send(*client, &pattern(1000));
    }
    let mut received = vec![Vec::new(); streams.len()];
    while received.iter().any(|bytes| bytes.len() < 1000) {
        let completion = party.next();
        if let (Some(index), Payload::Lease(bytes)) =
            (streams.iter().position(|stream| *stream == completion.op), &completion.payload)
        {
            received[index].extend_from_slice(bytes);
        }
    }
    assert!(received.iter().all(|bytes| *bytes == pattern(1000)));
    assert!(party.provider.stats().buffer_waits > 0);
}

#[test]
fn a_drawn_plan_of_any_seed_can_be_lived_with() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let network = SimNetwork::new(seed, FaultPlan::drawn(&mut random));
        let mut provider = network.provider(&ProviderConfig::default()).unwrap();
        provider.timeout(Duration::from_secs(1), 0).unwrap();
        let mut batch = CompletionBatch::with_capacity(1);
        while batch.is_empty() {
            // A wait that fails is tried again.
            let _ = provider.process_completions(&mut batch, None);
        }
    }
}
