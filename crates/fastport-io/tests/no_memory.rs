//! A kernel that has no memory for the requests of an io_uring, played by a seccomp filter.
#![cfg(target_os = "linux")]

#[path = "../examples/without_io_uring.rs"]
#[allow(dead_code, reason = "of the program only its filter is used")]
mod without_io_uring;

use std::time::Duration;

use fastport_io::{AsyncIoProvider, CompletionBatch, IoUring, ProviderConfig};

use self::without_io_uring::sandbox;

#[test]
fn a_kernel_without_memory_for_requests_is_asked_again_after_a_pause() {
    let mut provider = match IoUring::open(&ProviderConfig::default()) {
        Ok(provider) => provider,
        Err(error) => {
            assert!(std::env::var_os("FASTPORT_REQUIRE_BACKENDS").is_none(), "io_uring does not run here: {error}");
            return eprintln!("io_uring does not run here: {error}");
        }
    };
    // Of this thread only.
    sandbox::forbid_io_uring(libc::EAGAIN).unwrap();
    let mut batch = CompletionBatch::with_capacity(8);
    let slept = times_slept();
    let count = provider.process_completions(&mut batch, Some(Duration::from_millis(200))).unwrap();
    assert_eq!(count, 0);
    let slept = times_slept() - slept;
    // Whoever asks all the time never gives way by himself, however busy the machine is.
    assert!(slept >= 2, "it gave way {slept} times in 200 ms");
}

/// How often this thread has given its core away.
fn times_slept() -> libc::c_long {
    // SAFETY: all zeros are a value of this plain structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one structure, which is valid.
    let status = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    assert_eq!(status, 0);
    usage.ru_nvcsw
}
