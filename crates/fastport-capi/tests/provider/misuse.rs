//! Calls that a correct program does not make: each is answered by an error.

use std::ptr::{null, null_mut};

use fastport_capi::error::{FP_INVALID_ARGUMENT, FP_INVALID_BUFFER, FP_INVALID_SOCKET, FP_PLATFORM_NOT_SUPPORTED};
use fastport_capi::provider::query::{fp_backend_supported, fp_provider_backend, fp_provider_supports};
use fastport_capi::provider::socket::FP_NO_SOCKET;
use fastport_capi::provider::submit::{
    fp_provider_connect, fp_provider_receive, fp_provider_send, fp_provider_send_batch,
};
use fastport_capi::provider::{
    fp_provider_create, fp_provider_destroy, fp_provider_initialize, fp_provider_process, fp_provider_register_buffer,
    fp_provider_shutdown, fp_provider_wake,
};

use crate::{Provider, backends, done, message, pair, raw};

#[test]
fn dead_and_made_up_handles_are_refused_by_every_call() {
    let mut dead = 0;
    // SAFETY: NULL is allowed, and the place is valid.
    done(unsafe { fp_provider_create(null(), &raw mut dead) });
    done(fp_provider_destroy(dead));
    for handle in [0, 1, dead, u64::MAX] {
        assert_eq!(fp_provider_destroy(handle), FP_INVALID_ARGUMENT);
        assert_eq!(fp_provider_initialize(handle, 64, 64), FP_INVALID_ARGUMENT);
        assert_eq!(fp_provider_shutdown(handle), FP_INVALID_ARGUMENT);
        assert_eq!(fp_provider_wake(handle), FP_INVALID_ARGUMENT);
        assert!(fp_provider_backend(handle).is_null());
        // SAFETY: what is pointed to is valid.
        unsafe {
            assert_eq!(fp_provider_send(handle, 3, b"x".as_ptr().cast(), 1, 0, null_mut()), FP_INVALID_ARGUMENT);
            assert!(!fp_provider_supports(handle, c"Batching".as_ptr()));
        }
    }
}

#[test]
fn null_and_empty_memory_is_refused() {
    let provider = Provider::start(backends()[0]);
    let (_far, near) = pair();
    let socket = raw(&near);
    // SAFETY: NULL is what the calls look for.
    unsafe {
        assert_eq!(fp_provider_send(provider.0, socket, null(), 4, 0, null_mut()), FP_INVALID_BUFFER);
        assert_eq!(fp_provider_send(provider.0, socket, b"x".as_ptr().cast(), 0, 0, null_mut()), FP_INVALID_BUFFER);
        assert_eq!(fp_provider_receive(provider.0, socket, null_mut(), 4, 0, null_mut()), FP_INVALID_BUFFER);
        assert_eq!(
            fp_provider_send(provider.0, FP_NO_SOCKET, b"x".as_ptr().cast(), 1, 0, null_mut()),
            FP_INVALID_SOCKET
        );
        assert_eq!(fp_provider_connect(provider.0, socket, null(), 16, 0, null_mut()), FP_INVALID_ARGUMENT);
        assert_eq!(fp_provider_process(provider.0, null_mut(), 4, 0, &mut 0), FP_INVALID_ARGUMENT);
        assert_eq!(fp_provider_send_batch(provider.0, null(), 4, null_mut(), null_mut()), FP_INVALID_ARGUMENT);
        assert_eq!(fp_provider_register_buffer(provider.0, null(), 4, &mut 0), FP_INVALID_ARGUMENT);
        assert_eq!(fp_provider_create(null(), null_mut()), FP_INVALID_ARGUMENT);
        assert_eq!(fp_provider_create(c"\xFF".as_ptr(), &mut 0), FP_INVALID_ARGUMENT);
    }
}

#[test]
fn a_backend_that_does_not_exist_is_told_from_one_that_does_not_run_here() {
    // SAFETY: the names are valid.
    unsafe {
        assert_eq!(fp_backend_supported(c"select".as_ptr()), FP_INVALID_ARGUMENT);
        let foreign = if cfg!(windows) { c"epoll" } else { c"IOCP" };
        assert_eq!(fp_backend_supported(foreign.as_ptr()), FP_PLATFORM_NOT_SUPPORTED);
        assert!(message().contains("this system has"), "{}", message());
        let provider = Provider::create(foreign);
        assert_eq!(fp_provider_initialize(provider.0, 64, 64), FP_PLATFORM_NOT_SUPPORTED);
    }
}
