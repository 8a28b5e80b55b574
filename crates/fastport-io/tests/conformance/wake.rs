//! Ending waits from other threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fastport_io::{AsyncIoProvider, ProviderConfig};

use crate::rig::Rig;

pub(crate) fn a_wake_from_another_thread_ends_a_wait<P: AsyncIoProvider>(config: &ProviderConfig) {
    const ROUNDS: usize = 50;
    let mut rig = Rig::<P>::open(config);
    let waker = rig.provider.waker();
    let (wake, wanted) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for () in wanted {
                waker.wake();
            }
        });
        for _ in 0..ROUNDS {
            wake.send(()).unwrap();
            assert_eq!(rig.collect(None), 0);
        }
        drop(wake);
    });
}

pub(crate) fn a_wake_before_the_wait_is_remembered_once<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let waker = rig.provider.waker();
    for _ in 0..3 {
        waker.wake();
        waker.wake();
        assert_eq!(rig.collect(None), 0);
        let limit = Duration::from_millis(3);
        let begin = Instant::now();
        assert_eq!(rig.collect(Some(limit)), 0);
        assert!(begin.elapsed() >= limit, "two wakes before one wait are one");
    }
}

/// What was written before the wake is there after the wait, for any number of threads that wake at once.
pub(crate) fn no_wake_is_lost_among_many<P: AsyncIoProvider>(config: &ProviderConfig) {
    const THREADS: u64 = 4;
    const WAKES: u64 = 250;
    let mut rig = Rig::<P>::open(config);
    let left = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (left, waker) = (&left, rig.provider.waker());
            scope.spawn(move || {
                for _ in 0..WAKES {
                    left.fetch_add(1, Ordering::Relaxed);
                    waker.wake();
                }
            });
        }
        let mut seen = 0;
        while seen < THREADS * WAKES {
            assert_eq!(rig.collect(None), 0);
            seen += left.swap(0, Ordering::Relaxed);
        }
    });
}

pub(crate) fn a_wake_while_data_flows_loses_neither<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let waker = rig.provider.waker();
    for round in 0..50u8 {
        let receive = rig.receive(server, 4);
        rig.send(client, vec![round]);
        waker.wake();
        rig.final_of(receive);
    }
    waker.wake();
    rig.collect(None);
}

pub(crate) fn a_waker_outlives_its_provider<P: AsyncIoProvider>(config: &ProviderConfig) {
    let rig = Rig::<P>::open(config);
    let waker = rig.provider.waker();
    let other = waker.clone();
    drop(rig);
    waker.wake();
    std::thread::scope(|scope| {
        scope.spawn(move || other.wake());
    });
}

pub(crate) fn a_waker_wakes_its_own_provider_only<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut woken = Rig::<P>::open(config);
    let mut other = Rig::<P>::open(config);
    woken.provider.waker().wake();
    let limit = Duration::from_millis(3);
    let begin = Instant::now();
    assert_eq!(other.collect(Some(limit)), 0);
    assert!(begin.elapsed() >= limit);
    assert_eq!(woken.collect(None), 0);
}
