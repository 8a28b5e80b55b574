//! Timeouts, and the time limits of waits.

use std::time::{Duration, Instant};

use fastport_io::{AsyncIoProvider, CompletionBatch, ErrorCode, ProviderConfig};

use crate::rig::{Outcome, Rig, refusal};

pub(crate) fn timeouts_complete_in_the_order_of_their_deadlines<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    // A deadline lies between the delay after the call began and the delay after it ended: on a busy machine, and only
    // there, two of them may overlap, and then either may come first.
    let timeouts: Vec<_> = [9, 3, 15, 0, 6, 12, 1]
        .into_iter()
        .map(Duration::from_millis)
        .map(|delay| {
            let begin = Instant::now();
            let timeout = rig.timeout(delay);
            (timeout, begin + delay, Instant::now() + delay)
        })
        .collect();
    let mut passed = Vec::new();
    for _ in 0..timeouts.len() {
        let completion = rig.next();
        assert_eq!(completion.bytes_moved(), 0);
        let &(_, earliest, latest) = timeouts.iter().find(|(timeout, ..)| *timeout == completion.op).unwrap();
        assert!(passed.iter().all(|before: &Instant| *before <= latest), "a later deadline came first");
        passed.push(earliest);
    }
}

pub(crate) fn thousands_of_timeouts_keep_their_order<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    // The same delay, later submitted: a later deadline.
    let timeouts: Vec<_> = (0..5000).map(|_| rig.timeout(Duration::from_millis(1))).collect();
    for timeout in timeouts {
        assert_eq!(rig.next().op, timeout);
    }
}

pub(crate) fn a_timeout_is_never_early<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    for delay_us in [0, 1, 100, 1100, 5000] {
        let delay = Duration::from_micros(delay_us);
        let begin = Instant::now();
        let timeout = rig.timeout(delay);
        assert!(!rig.is_finished(timeout));
        rig.final_of(timeout);
        assert!(begin.elapsed() >= delay);
    }
}

pub(crate) fn a_timeout_ends_a_wait_without_limit<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let timeout = rig.timeout(Duration::from_millis(2));
    assert_eq!(rig.collect(None), 1);
    assert_eq!(rig.next().op, timeout);
}

pub(crate) fn a_cancelled_timeout_does_not_hold_up_the_others<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let first = rig.timeout(Duration::from_millis(1));
    let second = rig.timeout(Duration::from_millis(2));
    rig.provider.cancel(first).unwrap();
    assert_eq!(rig.next().code(), ErrorCode::Cancelled);
    let completion = rig.next();
    assert_eq!(completion.op, second);
    assert!(completion.result.is_ok());
}

pub(crate) fn a_timeout_beyond_the_clock_is_refused_and_a_distant_one_waits<P: AsyncIoProvider>(
    config: &ProviderConfig,
) {
    let mut rig = Rig::<P>::open(config);
    assert_eq!(refusal(rig.provider.timeout(Duration::MAX, 1)), ErrorCode::InvalidArgument);
    // More nanoseconds than 64 bits count, by a little: it may be refused, but not be mistaken for a short one.
    let distant = Duration::from_secs(18_446_744_073) + Duration::from_millis(710);
    let accepted = rig.provider.timeout(distant, 2).is_ok();
    let mut batch = CompletionBatch::with_capacity(4);
    let limit = Duration::from_millis(10);
    assert_eq!(rig.provider.process_completions(&mut batch, Some(limit)).unwrap(), 0, "accepted: {accepted}");
}

pub(crate) fn a_poll_returns_at_once_and_a_limited_wait_in_time<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (_client, server) = rig.pair();
    rig.receive_stream(server);
    assert_eq!(rig.collect(Some(Duration::ZERO)), 0);
    for limit_ms in [1, 7] {
        let limit = Duration::from_millis(limit_ms);
        let begin = Instant::now();
        assert_eq!(rig.collect(Some(limit)), 0);
        assert!(begin.elapsed() >= limit, "the wait ended {:?} early", limit.saturating_sub(begin.elapsed()));
    }
}

pub(crate) fn the_time_of_the_batch_moves_on<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let begin = Instant::now();
    let delay = Duration::from_millis(2);
    let timeout = rig.timeout(delay);
    rig.final_of(timeout);
    assert!(rig.provider.now() >= begin + delay);
    assert!(rig.provider.now() <= Instant::now());
}

/// The usual way to limit a connect.
pub(crate) fn a_timeout_limits_a_connect<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (socket, connect) = rig.stuck_connect();
    let limit = rig.timeout(Duration::from_millis(3));
    assert_eq!(rig.next().op, limit);
    rig.provider.cancel(connect).unwrap();
    assert_eq!(rig.final_of(connect).code(), ErrorCode::Cancelled);
    rig.close_now(socket);
}

pub(crate) fn timeouts_are_in_time_while_data_flows<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let (one, other) = (rig.receive_stream(client), rig.receive_stream(server));
    rig.send_now(client, b"ball");
    let mut timeout = None;
    // Each step answers the one before, so from the first on the provider is never idle.
    while !timeout.is_some_and(|timeout| rig.is_finished(timeout)) {
        let completion = rig.next();
        if completion.op == one {
            rig.send(client, b"ball".to_vec());
        } else if completion.op == other {
            rig.send(server, b"ball".to_vec());
            timeout = timeout.or_else(|| Some(rig.timeout(Duration::from_millis(5))));
        }
    }
}
