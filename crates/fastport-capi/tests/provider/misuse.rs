//! Calls that a correct program does not make: each is answered by an error.

use std::ptr::{null, null_mut};

use fastport_capi::error::{
    FP_INVALID_ARGUMENT, FP_INVALID_BUFFER, FP_INVALID_SOCKET, FP_NOT_INITIALIZED, FP_PLATFORM_NOT_SUPPORTED,
};
use fastport_capi::provider::completion::fp_completion;
use fastport_capi::provider::query::{
    fp_backend_supported, fp_provider_backend, fp_provider_get_info, fp_provider_get_statistics, fp_provider_info,
    fp_provider_set_option, fp_provider_statistics, fp_provider_supports,
};
use fastport_capi::provider::socket::{FP_NO_SOCKET, fp_socket};
use fastport_capi::provider::submit::{
    fp_provider_accept, fp_provider_cancel, fp_provider_connect, fp_provider_receive, fp_provider_receive_batch,
    fp_provider_receive_registered, fp_provider_send, fp_provider_send_batch, fp_provider_send_registered,
    fp_provider_timeout, fp_receive, fp_send,
};
use fastport_capi::provider::{
    fp_provider, fp_provider_create, fp_provider_create_socket, fp_provider_destroy, fp_provider_flush,
    fp_provider_initialize, fp_provider_process, fp_provider_register_buffer, fp_provider_register_socket,
    fp_provider_shutdown, fp_provider_unregister_buffer, fp_provider_unregister_socket, fp_provider_wake,
};

use crate::{Provider, backends, done, message, pair, raw};

/// What the calls answer that need a provider which runs. All that they are given besides is in order.
fn calls_that_need_it_running(provider: fp_provider, socket: fp_socket) -> Vec<(&'static str, i32)> {
    let address = socket2::SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
    let (address_start, address_bytes): (_, u32) = (address.as_ptr().cast(), address.len() as _);
    let (data, mut memory) = (b"data", [0u8; 4]);
    let room = memory.as_mut_ptr().cast();
    let send = fp_send { socket, data: data.as_ptr().cast(), length: 4, context: 0 };
    let receive = fp_receive { socket, buffer: room, length: 4, context: 0 };
    let (mut completion, mut count) = (std::mem::MaybeUninit::<fp_completion>::uninit(), 0);
    let (mut made, mut buffer) = (FP_NO_SOCKET, -1);
    // SAFETY: every place is valid while the calls last, and an operation that was accepted would fail the test.
    unsafe {
        vec![
            ("shutdown", fp_provider_shutdown(provider)),
            ("process", fp_provider_process(provider, completion.as_mut_ptr(), 1, 0, &raw mut count)),
            ("flush", fp_provider_flush(provider)),
            ("register_socket", fp_provider_register_socket(provider, socket, 0)),
            ("unregister_socket", fp_provider_unregister_socket(provider, socket)),
            ("create_socket", fp_provider_create_socket(provider, address_start, address_bytes, &raw mut made)),
            ("register_buffer", fp_provider_register_buffer(provider, data.as_ptr().cast(), 4, &raw mut buffer)),
            ("send", fp_provider_send(provider, socket, data.as_ptr().cast(), 4, 0, null_mut())),
            ("receive", fp_provider_receive(provider, socket, room, 4, 0, null_mut())),
            ("send_batch", fp_provider_send_batch(provider, &raw const send, 1, null_mut(), null_mut())),
            ("receive_batch", fp_provider_receive_batch(provider, &raw const receive, 1, null_mut(), null_mut())),
            ("accept", fp_provider_accept(provider, socket, null_mut(), null_mut(), 0, 0, null_mut())),
            ("connect", fp_provider_connect(provider, socket, address_start, address_bytes, 0, null_mut())),
            ("timeout", fp_provider_timeout(provider, 1, 0, null_mut())),
            ("cancel", fp_provider_cancel(provider, 1)),
        ]
    }
}

#[test]
fn dead_and_made_up_handles_are_refused_by_every_call() {
    let (_far, near) = pair();
    let mut dead = 0;
    // SAFETY: NULL is allowed, and the place is valid.
    done(unsafe { fp_provider_create(null(), &raw mut dead) });
    done(fp_provider_destroy(dead));
    for handle in [0, 1, dead, u64::MAX] {
        for (call, answer) in calls_that_need_it_running(handle, raw(&near)) {
            assert_eq!(answer, FP_INVALID_ARGUMENT, "{call} of {handle:#x}");
        }
        let one = 1u32;
        let mut info = std::mem::MaybeUninit::<fp_provider_info>::uninit();
        let mut statistics = std::mem::MaybeUninit::<fp_provider_statistics>::uninit();
        // SAFETY: what is pointed to is valid.
        let answers = unsafe {
            assert!(!fp_provider_supports(handle, c"Batching".as_ptr()));
            [
                fp_provider_destroy(handle),
                fp_provider_initialize(handle, 64, 64),
                fp_provider_wake(handle),
                fp_provider_unregister_buffer(handle, 0),
                fp_provider_send_registered(handle, raw(&near), 0, 0, 1, 0, null_mut()),
                fp_provider_receive_registered(handle, raw(&near), 0, 0, 1, 0, null_mut()),
                fp_provider_get_info(handle, info.as_mut_ptr()),
                fp_provider_get_statistics(handle, statistics.as_mut_ptr()),
                fp_provider_set_option(handle, c"RegisterBuffer".as_ptr(), (&raw const one).cast(), 4),
            ]
        };
        assert_eq!(answers, [FP_INVALID_ARGUMENT; 9], "{handle:#x}");
        assert!(fp_provider_backend(handle).is_null());
    }
}

#[test]
fn every_call_says_that_a_provider_does_not_run_before_its_beginning_and_after_its_end() {
    let (_far, near) = pair();
    let provider = Provider::create(backends()[0]);
    for round in 0..3 {
        for (call, answer) in calls_that_need_it_running(provider.0, raw(&near)) {
            assert_eq!(answer, FP_NOT_INITIALIZED, "{call} in round {round}: {}", message());
        }
        done(fp_provider_initialize(provider.0, 64, 64));
        let mut buffer = -1;
        // SAFETY: the memory lives for ever.
        unsafe {
            done(fp_provider_register_buffer(provider.0, b"data".as_ptr().cast(), 4, &raw mut buffer));
            done(fp_provider_shutdown(provider.0));
            // Its buffers went with it.
            assert_eq!(fp_provider_unregister_buffer(provider.0, buffer), FP_INVALID_BUFFER);
            let answer = fp_provider_send_registered(provider.0, raw(&near), buffer, 0, 1, 0, null_mut());
            assert_eq!(answer, FP_INVALID_BUFFER);
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
