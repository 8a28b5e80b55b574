//! What a program may get wrong: nothing of it crashes.

use std::ptr::{null, null_mut};

use fastport_capi::error::{FP_INVALID_ARGUMENT, FP_INVALID_BUFFER, FP_OK};
use fastport_capi::provider::{fp_provider_create, fp_provider_destroy};
use fastport_capi::session::callbacks::fp_server_callbacks;
use fastport_capi::session::options::fp_server_options;
use fastport_capi::session::report::{fp_server_statistics, fp_stop_report};
use fastport_capi::session::send::{
    fp_callback_failed, fp_server_broadcast, fp_server_cancel_connect, fp_server_connect, fp_session_abort,
    fp_session_close, fp_session_forward, fp_session_is_open, fp_session_send,
};
use fastport_capi::session::{
    fp_server_address, fp_server_backend, fp_server_begin_stop, fp_server_create, fp_server_destroy,
    fp_server_get_statistics, fp_server_listen, fp_server_start, fp_server_stop, fp_server_stop_accepting,
    fp_server_wait,
};

use super::probe::{Server, done, last_message, options};

#[test]
fn handles_that_are_none_are_refused_by_every_call() {
    let mut provider = 0;
    // SAFETY: the place is valid.
    done(unsafe { fp_provider_create(c"auto".as_ptr(), &raw mut provider) });
    for wrong in [0, 1, u64::MAX, provider] {
        // SAFETY: no pointer is followed before the handle is found, and those that are not NULL are valid.
        unsafe {
            for result in [
                fp_server_listen(wrong, c"127.0.0.1:0".as_ptr()),
                fp_server_start(wrong),
                fp_server_stop_accepting(wrong),
                fp_server_begin_stop(wrong, 0),
                fp_server_stop(wrong, 0, null_mut()),
                fp_server_wait(wrong, null_mut()),
                fp_server_destroy(wrong),
                fp_server_address(wrong, 0, null_mut(), 0, null_mut()),
                fp_server_get_statistics(wrong, null_mut()),
                fp_server_connect(wrong, c"127.0.0.1:1".as_ptr(), 0, null()),
                fp_server_cancel_connect(wrong, 0),
                fp_server_broadcast(wrong, null(), 0, 0, null(), 0, null_mut()),
                fp_session_send(wrong, 1, 0, null(), 0),
                fp_session_forward(wrong, 1),
                fp_session_close(wrong, 1),
                fp_session_abort(wrong, 1),
            ] {
                assert_eq!(result, FP_INVALID_ARGUMENT);
            }
        }
        assert!(!fp_session_is_open(wrong, 1));
        assert!(fp_server_backend(wrong).is_null());
    }
    done(fp_provider_destroy(provider));
}

#[test]
fn null_is_refused_where_something_is_needed() {
    let server = Server::start(&options(), Box::new(|_, _, _, _| ()));
    let (_client, session) = server.client();
    let handle = server.handle;
    // SAFETY: NULL is what is tried.
    unsafe {
        assert_eq!(fp_server_create(null(), null(), null_mut(), null_mut()), FP_INVALID_ARGUMENT);
        assert_eq!(fp_server_listen(handle, null()), FP_INVALID_ARGUMENT);
        assert_eq!(fp_server_connect(handle, null(), 0, null()), FP_INVALID_ARGUMENT);
        assert_eq!(fp_server_get_statistics(handle, null_mut()), FP_INVALID_ARGUMENT);
        assert_eq!(fp_session_send(handle, session, 0, null(), 5), FP_INVALID_ARGUMENT);
        assert_eq!(fp_session_send(handle, session, 0, c"x".as_ptr().cast(), usize::MAX), FP_INVALID_ARGUMENT);
        assert_eq!(fp_server_broadcast(handle, null(), 5, 0, null(), 0, null_mut()), FP_INVALID_ARGUMENT);
        assert_eq!(fp_session_send(handle, session, 0, null(), 0), FP_OK, "an empty payload needs no memory");
        assert_eq!(fp_server_broadcast(handle, &raw const session, 1, 0, null(), 0, null_mut()), FP_OK);
    }
}

#[test]
fn what_belongs_into_a_callback_is_refused_outside() {
    let server = Server::start(&options(), Box::new(|_, _, _, _| ()));
    assert_eq!(fp_session_forward(server.handle, 1), FP_INVALID_ARGUMENT);
    assert!(last_message().contains("inside a packet callback"));
    // SAFETY: NULL is allowed.
    assert_eq!(unsafe { fp_callback_failed(null()) }, FP_INVALID_ARGUMENT);
}

#[test]
fn structs_without_their_size_are_refused_with_a_remedy() {
    let mut server = 0;
    let sizeless = fp_server_options { struct_bytes: 0, ..options() };
    // SAFETY: zeros are valid.
    let callbacks: fp_server_callbacks = unsafe { std::mem::zeroed() };
    // SAFETY: the structs and the place are valid.
    unsafe {
        assert_eq!(fp_server_create(&raw const sizeless, null(), null_mut(), &raw mut server), FP_INVALID_ARGUMENT);
        assert!(last_message().contains("sizeof(fp_server_options)"), "{}", last_message());
        assert_eq!(fp_server_create(null(), &raw const callbacks, null_mut(), &raw mut server), FP_INVALID_ARGUMENT);
        assert!(last_message().contains("sizeof(fp_server_callbacks)"), "{}", last_message());
    }
    let running = Server::start(&options(), Box::new(|_, _, _, _| ()));
    let (mut statistics, mut report) = (fp_server_statistics::default(), fp_stop_report::default());
    // SAFETY: the structs are valid.
    unsafe {
        assert_eq!(fp_server_get_statistics(running.handle, &raw mut statistics), FP_INVALID_ARGUMENT);
        assert_eq!(fp_server_stop(running.handle, 0, &raw mut report), FP_INVALID_ARGUMENT);
    }
}

#[test]
fn options_out_of_range_are_refused_with_a_remedy() {
    for (options, words) in [
        (fp_server_options { workers: 5000, ..options() }, "choose 1 to 1024"),
        (fp_server_options { idle_limit_ms: 1, ..options() }, "idle limit"),
        (fp_server_options { framing: 9, ..options() }, "FP_FRAMING_PACKET"),
        (fp_server_options { max_frame_bytes: 2, ..options() }, "max_frame_bytes"),
        (fp_server_options { low_water_bytes: 10, high_water_bytes: 5, ..options() }, "low water"),
        (fp_server_options { backend: c"carrier pigeon".as_ptr(), ..options() }, "unknown backend"),
    ] {
        let mut server = 0;
        // SAFETY: the options and the place are valid.
        let created = unsafe { fp_server_create(&raw const options, null(), null_mut(), &raw mut server) };
        let result = if created == FP_OK { fp_server_start(server) } else { created };
        assert_eq!(result, FP_INVALID_ARGUMENT);
        assert!(last_message().contains(words), "{}", last_message());
        fp_server_destroy(server);
    }
}

#[test]
fn an_address_needs_room_and_must_exist() {
    let server = Server::start(&options(), Box::new(|_, _, _, _| ()));
    let mut small = [0; 9];
    // SAFETY: the place is as large as said.
    unsafe {
        let result = fp_server_address(server.handle, 0, small.as_mut_ptr(), small.len(), null_mut());
        assert_eq!(result, FP_INVALID_BUFFER);
        assert_eq!(fp_server_address(server.handle, 1, null_mut(), 0, null_mut()), FP_INVALID_ARGUMENT);
        assert_eq!(fp_server_address(server.handle, 0, null_mut(), 0, null_mut()), FP_OK);
    }
}

#[test]
fn a_server_without_callbacks_takes_what_comes() {
    let mut server = 0;
    // SAFETY: the place and the text are valid.
    unsafe {
        done(fp_server_create(null(), null(), null_mut(), &raw mut server));
        done(fp_server_listen(server, c"127.0.0.1:0".as_ptr()));
    }
    done(fp_server_start(server));
    done(fp_server_destroy(server));
}
