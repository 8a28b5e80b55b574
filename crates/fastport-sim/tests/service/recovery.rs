//! A provider that cannot wait for completions, in virtual time.

use fastport::{CloseReason, ServiceOptions};
use fastport_io::sim::{Fault, FaultPlan};

use crate::stage::{Client, Stage, ms, packet};

/// A packet is on its way to the service, which will find that it cannot wait any more.
fn strike(stage: &mut Stage, client: Client) {
    let mut slow = FaultPlan::default();
    slow.latency = ms(5)..=ms(5);
    stage.network.set_plan(slow);
    stage.send(client, &packet(b"still there?"));
    stage.pass(ms(1));
    stage.network.set_plan(FaultPlan::default().with(Fault::FailedWait, 1.0));
}

fn relieve(stage: &Stage) {
    stage.network.set_plan(FaultPlan::default());
}

#[test]
fn a_provider_that_fails_for_a_moment_is_tried_again_and_nothing_is_lost() {
    let mut stage = Stage::set(ServiceOptions::default());
    let client = stage.client();
    stage.pass(ms(10));
    for round in 1..=5 {
        strike(&mut stage, client);
        // It fails at 5, 15 and 35 ms, and would at 75 ms.
        stage.pass(ms(50));
        assert_eq!(stage.service.stats().provider_retries, 3 * round as u64);
        relieve(&stage);
        stage.pass(ms(100));
        assert_eq!(stage.received(client), round * packet(b"still there?").len());
    }
    assert!(stage.service.is_running() && stage.reasons().is_empty());
}

#[test]
fn a_provider_that_keeps_failing_ends_the_service_with_its_error() {
    let mut stage = Stage::set(ServiceOptions::default());
    let client = stage.client();
    stage.pass(ms(10));
    let begin = stage.network.elapsed();
    strike(&mut stage, client);
    stage.play_out();
    // Twice 10 + 20 + 40 ms: once at work, once while draining.
    let took = stage.network.elapsed().saturating_sub(begin);
    assert!((ms(145)..ms(150)).contains(&took), "{took:?}");
    assert_eq!(stage.reasons().len(), 1, "the session has ended");
    let report = stage.service.finish();
    assert!(report.failure.is_some_and(|error| error.is_exhaustion()));
    assert_eq!((report.aborted, report.stats.provider_retries), (1, 6));
}

#[test]
fn a_provider_that_recovers_late_drains_what_there_is() {
    let mut stage = Stage::set(ServiceOptions::default());
    let client = stage.client();
    stage.pass(ms(10));
    strike(&mut stage, client);
    stage.pass(ms(100));
    relieve(&stage);
    stage.pass(ms(100));
    // What arrived before the service stopped reading is answered, and then the stream ends.
    assert!(stage.has_ended(client));
    stage.leave(client);
    stage.play_out();
    assert_eq!(stage.reasons(), [CloseReason::Shutdown]);
    let report = stage.service.finish();
    assert!(report.failure.is_some(), "the caller is told why the service has ended");
    assert_eq!(report.aborted, 0);
}

#[test]
fn the_warning_of_many_errors_is_counted_once_a_period() {
    let mut stage = Stage::set(ServiceOptions { log_period: Some(ms(1000)), ..ServiceOptions::default() });
    for _ in 0..20 {
        let client = stage.client();
        stage.send(client, &packet(b"x"));
    }
    stage.pass(ms(1500));
    // The end of a period is noticed when there is something to do.
    stage.client();
    stage.pass(ms(10));
    assert_eq!(stage.service.stats().error_rate_warnings, 0);
    // Every receive that brings something is followed by one that fails.
    stage.network.set_plan(FaultPlan::default().with(Fault::Reset, 0.2));
    for _ in 0..20 {
        let client = stage.client();
        stage.send(client, &packet(b"x"));
    }
    stage.pass(ms(1500));
    stage.network.set_plan(FaultPlan::default());
    stage.client();
    stage.pass(ms(10));
    assert_eq!(stage.service.stats().error_rate_warnings, 1, "{:?}", stage.service.stats());
}
