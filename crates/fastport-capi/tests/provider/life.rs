//! Beginning and end.

use std::ffi::CStr;
use std::io::{Read, Write};

use fastport_capi::error::{FP_ALREADY_INITIALIZED, FP_INVALID_ARGUMENT, FP_NO_RESOURCES, FP_NOT_INITIALIZED};
use fastport_capi::provider::completion::{FP_STATUS_CANCELLED, FP_STATUS_SUCCESS};
use fastport_capi::provider::query::{
    fp_provider_backend, fp_provider_get_statistics, fp_provider_set_option, fp_provider_statistics,
    fp_provider_supports,
};
use fastport_capi::provider::submit::{fp_provider_receive, fp_provider_timeout};
use fastport_capi::provider::{
    fp_provider_initialize, fp_provider_register_socket, fp_provider_shutdown, fp_provider_unregister_socket,
    fp_provider_wake,
};

use crate::{Provider, backends, done, message, pair, raw};

#[test]
fn each_step_of_a_providers_life_has_its_code() {
    for backend in backends() {
        let provider = Provider::create(backend);
        let (_far, near) = pair();
        assert_eq!(provider.process(1, 0).0, FP_NOT_INITIALIZED);
        assert_eq!(fp_provider_register_socket(provider.0, raw(&near), 0), FP_NOT_INITIALIZED);
        assert_eq!(fp_provider_shutdown(provider.0), FP_NOT_INITIALIZED);
        for depth in [0, 31, 4097] {
            assert_eq!(fp_provider_initialize(provider.0, depth, 100), FP_INVALID_ARGUMENT);
            assert!(message().contains("32 ..= 4096"), "{}", message());
        }
        for _ in 0..2 {
            done(fp_provider_initialize(provider.0, 32, 100));
            assert_eq!(fp_provider_initialize(provider.0, 32, 100), FP_ALREADY_INITIALIZED);
            done(fp_provider_shutdown(provider.0));
            assert_eq!(fp_provider_shutdown(provider.0), FP_NOT_INITIALIZED);
            assert_eq!(provider.process(1, 0).0, FP_NOT_INITIALIZED);
        }
    }
}

#[test]
fn a_shutdown_completes_what_is_pending_and_leaves_sockets_and_data_to_the_caller() {
    for backend in backends() {
        let provider = Provider::start(backend);
        let (mut far, mut near) = pair();
        let mut buffer = [0; 4];
        let id = provider.receive(raw(&near), &mut buffer, 5);
        assert!(provider.process(1, 0).1.is_empty());
        done(fp_provider_shutdown(provider.0));
        let completion = provider.completion();
        assert_eq!((completion.operation, completion.status, completion.context), (id, FP_STATUS_CANCELLED, 5));
        assert_eq!(provider.process(1, 0).0, FP_NOT_INITIALIZED);
        // The socket works on, and nothing was swallowed.
        far.write_all(b"late").unwrap();
        let mut bytes = [0; 4];
        near.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"late");
        near.write_all(b"bye").unwrap();
        far.read_exact(&mut bytes[..3]).unwrap();
    }
}

#[test]
fn a_send_that_was_accepted_before_the_shutdown_goes_out() {
    for backend in backends() {
        let provider = Provider::start(backend);
        let (mut far, near) = pair();
        provider.send(raw(&near), b"last words", 0);
        done(fp_provider_shutdown(provider.0));
        assert_eq!(provider.completion().status, FP_STATUS_SUCCESS);
        let mut bytes = [0; 10];
        far.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"last words");
    }
}

#[test]
fn unregistering_a_socket_cancels_its_operations_and_gives_it_back() {
    for backend in backends() {
        let provider = Provider::start(backend);
        let (mut far, mut near) = pair();
        done(fp_provider_register_socket(provider.0, raw(&near), 1));
        let mut buffers = [[0; 4]; 3];
        for buffer in &mut buffers {
            provider.receive(raw(&near), buffer, 0);
        }
        done(fp_provider_unregister_socket(provider.0, raw(&near)));
        for completion in provider.completions(3) {
            assert_eq!(completion.status, FP_STATUS_CANCELLED);
        }
        far.write_all(b"data").unwrap();
        let mut bytes = [0; 4];
        near.read_exact(&mut bytes).unwrap();
        assert_ne!(fp_provider_unregister_socket(provider.0, raw(&near)), 0);
    }
}

#[test]
fn operations_beyond_the_limit_are_refused_until_completions_were_taken() {
    for backend in backends() {
        let provider = Provider::create(backend);
        done(fp_provider_initialize(provider.0, 32, 4));
        let post = || {
            // SAFETY: NULL is allowed.
            unsafe { fp_provider_timeout(provider.0, 0, 0, std::ptr::null_mut()) }
        };
        for _ in 0..4 {
            done(post());
        }
        assert_eq!(post(), FP_NO_RESOURCES);
        provider.completions(4);
        done(post());
    }
}

#[test]
fn options_and_features_are_known_by_name() {
    for backend in backends() {
        let provider = Provider::create(backend);
        let set = |name: &CStr, value: u32| {
            // SAFETY: name and value are valid.
            unsafe { fp_provider_set_option(provider.0, name.as_ptr(), (&raw const value).cast(), 4) }
        };
        // SAFETY: the name is valid.
        let supports = |name: &CStr| unsafe { fp_provider_supports(provider.0, name.as_ptr()) };
        let registers = backend == c"io_uring" || backend == c"RIO";
        assert_eq!(supports(c"BufferRegistration"), registers);
        done(set(c"RegisterFileSet", 1));
        assert_eq!(set(c"Turbo", 1), FP_INVALID_ARGUMENT);
        done(fp_provider_initialize(provider.0, 64, 64));
        assert_eq!(set(c"RegisterFileSet", 0), FP_ALREADY_INITIALIZED);
        assert_eq!(supports(c"bufferregistration"), registers);
        assert!(!supports(c"Teleportation"));
        // SAFETY: the text lives for ever.
        assert_eq!(unsafe { CStr::from_ptr(fp_provider_backend(provider.0)) }, backend);
    }
}

#[test]
fn statistics_count_what_happened() {
    for backend in backends() {
        let provider = Provider::start(backend);
        let (_far, near) = pair();
        provider.send(raw(&near), b"12345", 0);
        provider.completion();
        let mut buffer = [0; 8];
        // SAFETY: the buffer lives until the provider is destroyed.
        done(unsafe {
            fp_provider_receive(provider.0, raw(&near), buffer.as_mut_ptr().cast(), 8, 0, std::ptr::null_mut())
        });
        let mut statistics = std::mem::MaybeUninit::<fp_provider_statistics>::uninit();
        // SAFETY: the place is valid, and written if the call succeeds.
        let statistics = unsafe {
            done(fp_provider_get_statistics(provider.0, statistics.as_mut_ptr()));
            statistics.assume_init()
        };
        assert_eq!((statistics.bytes_sent, statistics.completions, statistics.errors), (5, 1, 0));
        assert_eq!((statistics.pending, statistics.active_sockets), (1, 1));
        assert_eq!((statistics.max_batch, statistics.mean_batch), (1, 1.0), "what was collected came in one batch");
        assert_eq!((statistics.stale_completions, statistics.buffer_waits), (0, 0));
    }
}

#[test]
fn a_wake_ends_the_next_wait() {
    for backend in backends() {
        let provider = Provider::start(backend);
        done(fp_provider_wake(provider.0));
        let (result, completions) = provider.process(1, -1);
        done(result);
        assert!(completions.is_empty());
    }
}
