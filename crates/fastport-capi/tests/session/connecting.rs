//! Connections that a server makes.

use std::ffi::CString;

use fastport_capi::error::{FP_CANCELLED, FP_CONNECTION_REFUSED, FP_INVALID_ARGUMENT, FP_NOT_INITIALIZED};
use fastport_capi::session::options::fp_connect_options;
use fastport_capi::session::reason::FP_CLOSED_REQUESTED;
use fastport_capi::session::send::{fp_server_cancel_connect, fp_server_connect, fp_session_close};

use super::probe::{Client, Event, OnPacket, Server, done, options, send};

fn echo() -> OnPacket {
    Box::new(|server, session, id, payload| done(send(server, session, id, payload)))
}

fn nothing() -> OnPacket {
    Box::new(|_, _, _, _| ())
}

#[test]
fn a_connection_is_a_session_like_any_other() {
    let (server, client) = (Server::start(&options(), echo()), Server::create(&options(), nothing()));
    let address = server.address_text();
    let connect = |token| {
        // SAFETY: the text ends with a zero; no options are wanted.
        unsafe { fp_server_connect(client.handle, address.as_ptr(), token, std::ptr::null()) }
    };
    assert_eq!(connect(1), FP_NOT_INITIALIZED);
    done(fastport_capi::session::fp_server_start(client.handle));
    done(connect(42));
    let Event::Connected { session, token: 42 } = client.event() else { panic!("not connected") };
    done(send(client.handle, session, 5, b"over there"));
    assert_eq!(client.event(), Event::Packet { session, id: 5, payload: b"over there".to_vec() });
    done(fp_session_close(client.handle, session));
    assert_eq!(client.closed(), (session, FP_CLOSED_REQUESTED));
}

/// Connects to a port that nobody listens on, and tries again after `wait_ms`. The port is the near end of the connection that is
/// returned, and so taken as long as that is kept.
fn connect_in_vain(client: &Server, token: u64, wait_ms: u32, attempts: u32) -> Client {
    let (taken, _) = client.client();
    let address = CString::new(taken.0.local_addr().unwrap().to_string()).unwrap();
    let options = fp_connect_options {
        struct_bytes: size_of::<fp_connect_options>(),
        time_limit_ms: 10_000,
        reconnect: 1,
        first_wait_ms: wait_ms,
        longest_wait_ms: wait_ms,
        attempts,
    };
    // SAFETY: the text ends with a zero, the options are as long as they say.
    done(unsafe { fp_server_connect(client.handle, address.as_ptr(), token, &raw const options) });
    taken
}

#[test]
fn a_failure_tells_token_number_and_words_for_each_attempt() {
    let client = Server::start(&options(), nothing());
    let _taken = connect_in_vain(&client, 7, 5, 1);
    for _ in 0..2 {
        let Event::ConnectFailed { token: 7, error, message } = client.event() else { panic!("not refused") };
        assert_eq!(error, FP_CONNECTION_REFUSED);
        assert!(!message.is_empty());
    }
}

#[test]
fn a_wait_for_the_next_attempt_can_be_cancelled() {
    let client = Server::start(&options(), nothing());
    let _taken = connect_in_vain(&client, 8, 3_600_000, 0);
    for expected in [FP_CONNECTION_REFUSED, FP_CANCELLED] {
        let Event::ConnectFailed { token: 8, error, .. } = client.event() else { panic!("no failure") };
        assert_eq!(error, expected);
        done(fp_server_cancel_connect(client.handle, 8));
    }
}

#[test]
fn addresses_that_are_none_are_refused() {
    let client = Server::start(&options(), nothing());
    for wrong in [c"", c"localhost:1", c"127.0.0.1", c"127.0.0.1:65536"] {
        // SAFETY: the text is a constant.
        let refused = unsafe { fp_server_connect(client.handle, wrong.as_ptr(), 1, std::ptr::null()) };
        assert_eq!(refused, FP_INVALID_ARGUMENT, "{wrong:?}");
    }
}
