//! From the creation of a server to its end.

use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use fastport_capi::error::{
    FP_ALREADY_INITIALIZED, FP_INVALID_ARGUMENT, FP_NOT_INITIALIZED, FP_OK, FP_OPERATION_PENDING,
};
use fastport_capi::session::options::fp_server_options;
use fastport_capi::session::reason::FP_CLOSED_SHUTDOWN;
use fastport_capi::session::report::{fp_server_statistics, fp_stop_report};
use fastport_capi::session::send::FP_SESSION_CLOSED;
use fastport_capi::session::{
    fp_server, fp_server_begin_stop, fp_server_destroy, fp_server_get_statistics, fp_server_listen, fp_server_start,
    fp_server_stop, fp_server_stop_accepting, fp_server_wait,
};

use super::probe::{Event, LIMIT, OnPacket, Server, backends, done, last_message, options, send};

const LIMIT_MS: u32 = LIMIT.as_millis() as u32;

fn echo() -> OnPacket {
    Box::new(|server, session, id, payload| done(send(server, session, id, payload)))
}

fn stop(server: fp_server, drain_limit_ms: u32) -> (i32, fp_stop_report) {
    let mut report = fp_stop_report { struct_bytes: size_of::<fp_stop_report>(), ..fp_stop_report::default() };
    // SAFETY: the report is as long as it says.
    (unsafe { fp_server_stop(server, drain_limit_ms, &raw mut report) }, report)
}

fn statistics(server: fp_server) -> fp_server_statistics {
    let mut statistics =
        fp_server_statistics { struct_bytes: size_of::<fp_server_statistics>(), ..fp_server_statistics::default() };
    // SAFETY: the struct is as long as it says.
    done(unsafe { fp_server_get_statistics(server, &raw mut statistics) });
    statistics
}

#[test]
fn a_stop_drains_what_is_queued_and_tells_every_session() {
    for backend in backends() {
        let server = Server::start(&fp_server_options { backend: backend.as_ptr(), ..options() }, echo());
        let (mut client, session) = server.client();
        let payload = vec![3; 50_000];
        for _ in 0..20 {
            done(send(server.handle, session, 1, &payload));
        }
        done(fp_server_begin_stop(server.handle, LIMIT_MS));
        for _ in 0..20 {
            assert_eq!(client.receive(), (1, payload.clone()));
        }
        assert!(client.rest().unwrap().is_empty());
        drop(client);
        let mut report = fp_stop_report { struct_bytes: size_of::<fp_stop_report>(), ..fp_stop_report::default() };
        // SAFETY: the report is as long as it says.
        done(unsafe { fp_server_wait(server.handle, &raw mut report) });
        assert_eq!((report.cut_off, report.failure), (0, 0));
        assert_eq!(server.closed(), (session, FP_CLOSED_SHUTDOWN));
        let counts = statistics(server.handle);
        assert_eq!((counts.accepted, counts.sessions, counts.packets_sent), (1, 0, 20));
        assert_eq!(counts.bytes_sent, 20 * 50_004);
    }
}

#[test]
fn sessions_that_do_not_end_in_time_are_cut_off_and_counted() {
    let server = Server::start(&options(), echo());
    let (_client, session) = server.client();
    let (result, report) = stop(server.handle, 20);
    done(result);
    assert_eq!(report.cut_off, 1);
    assert_eq!(server.closed(), (session, FP_CLOSED_SHUTDOWN));
}

#[test]
fn calls_before_the_start_and_after_the_end_say_so() {
    let server = Server::create(&options(), echo());
    let handle = server.handle;
    assert_eq!(send(handle, 1, 1, b""), FP_NOT_INITIALIZED);
    assert_eq!(fp_server_begin_stop(handle, 0), FP_NOT_INITIALIZED);
    assert_eq!(stop(handle, 0).0, FP_NOT_INITIALIZED);
    // SAFETY: no report is wanted.
    assert_eq!(unsafe { fp_server_wait(handle, std::ptr::null_mut()) }, FP_NOT_INITIALIZED);
    done(fp_server_start(handle));
    assert_eq!(fp_server_start(handle), FP_ALREADY_INITIALIZED);
    // SAFETY: the text is a constant.
    assert_eq!(unsafe { fp_server_listen(handle, c"127.0.0.1:0".as_ptr()) }, FP_ALREADY_INITIALIZED);
    done(fp_server_stop_accepting(handle));
    done(stop(handle, 0).0);
    assert_eq!(stop(handle, 0).0, FP_NOT_INITIALIZED);
    assert!(last_message().contains("stopped already"));
    assert_eq!(fp_server_start(handle), FP_ALREADY_INITIALIZED);
    assert_eq!(send(handle, 1, 1, b""), FP_SESSION_CLOSED);
    // The outcome can be asked for as often as one likes.
    for _ in 0..2 {
        // SAFETY: no report is wanted.
        done(unsafe { fp_server_wait(handle, std::ptr::null_mut()) });
    }
    done(fp_server_destroy(handle));
    assert_eq!(fp_server_destroy(handle), FP_INVALID_ARGUMENT);
    assert_eq!(send(handle, 1, 1, b""), FP_INVALID_ARGUMENT);
    assert_eq!(fp_server_start(handle), FP_INVALID_ARGUMENT);
}

#[test]
fn a_server_can_be_destroyed_at_any_time() {
    done(fp_server_destroy(Server::create(&options(), echo()).handle));
    let server = Server::start(&options(), echo());
    let (mut client, session) = server.client();
    done(fp_server_destroy(server.handle));
    // Every callback has run by now.
    assert_eq!(server.closed(), (session, FP_CLOSED_SHUTDOWN));
    assert!(client.rest().unwrap_or_default().is_empty());
}

#[test]
fn several_threads_may_stop_and_destroy_at_once() {
    let server = Server::start(&options(), echo());
    let (_client, _) = server.client();
    let handle = server.handle;
    let results: Vec<i32> = std::thread::scope(|scope| {
        let stops: Vec<_> = (0..4).map(|_| scope.spawn(move || stop(handle, 20).0)).collect();
        stops.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(results.contains(&FP_OK));
    assert!(results.iter().all(|result| [FP_OK, FP_NOT_INITIALIZED].contains(result)), "{results:?}");
    let destroyed: Vec<i32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(move || fp_server_destroy(handle))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(destroyed.iter().filter(|result| **result == FP_OK).count(), 1);
}

#[test]
fn a_callback_cannot_wait_for_itself_but_it_can_begin_the_stop() {
    for handler_threads in [0, 1] {
        let (results, received) = channel();
        let on_packet: OnPacket = Box::new(move |server, _, _, _| {
            // SAFETY: no report is wanted.
            let waited = unsafe { fp_server_wait(server, std::ptr::null_mut()) };
            let calls = [fp_server_destroy(server), stop(server, 0).0, waited, fp_server_start(server)];
            results.send((calls, last_message(), fp_server_begin_stop(server, LIMIT_MS))).unwrap();
        });
        let server = Server::start(&fp_server_options { handler_threads, ..options() }, on_packet);
        let (mut client, _) = server.client();
        client.send(1, b"end");
        let (calls, message, begun) = received.recv_timeout(LIMIT).unwrap();
        assert_eq!(calls, [FP_OPERATION_PENDING; 4]);
        assert!(message.contains("call fp_server_begin_stop here"), "{message}");
        done(begun);
        assert!(client.rest().unwrap().is_empty());
        drop(client);
        // SAFETY: no report is wanted.
        done(unsafe { fp_server_wait(server.handle, std::ptr::null_mut()) });
    }
}

#[test]
fn a_callback_may_destroy_another_server() {
    let other = Server::start(&options(), echo());
    let (handle, address) = (other.handle, other.address());
    let on_packet: OnPacket = Box::new(move |server, session, id, _| {
        done(fp_server_destroy(handle));
        done(send(server, session, id, b"done"));
    });
    let server = Server::start(&options(), on_packet);
    let (mut client, _) = server.client();
    client.send(1, b"");
    assert_eq!(client.receive(), (1, b"done".to_vec()));
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_start_that_failed_can_be_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = std::ffi::CString::new(taken.local_addr().unwrap().to_string()).unwrap();
    let server = Server::create(&options(), echo());
    // SAFETY: the text ends with a zero.
    done(unsafe { fp_server_listen(server.handle, address.as_ptr()) });
    assert_ne!(fp_server_start(server.handle), FP_OK);
    assert!(last_message().contains("cannot listen on"), "{}", last_message());
    assert_eq!(send(server.handle, 1, 1, b""), FP_NOT_INITIALIZED);
    drop(taken);
    done(fp_server_start(server.handle));
    let (mut client, _) = server.client();
    client.send(1, b"now");
    assert_eq!(client.receive(), (1, b"now".to_vec()));
}

#[test]
fn every_thread_ticks_with_its_number() {
    for (workers, handler_threads, ticking) in [(1, 0, 1), (2, 0, 2), (1, 3, 3)] {
        let options = fp_server_options { workers, handler_threads, tick_ms: 5, ..options() };
        let begin = Instant::now();
        let server = Server::start(&options, echo());
        let mut ticks = vec![0; ticking];
        while ticks.iter().any(|count| *count < 3) {
            assert!(begin.elapsed() < LIMIT, "{ticks:?}");
            if let Event::Tick { thread } = server.any_event() {
                ticks[thread as usize] += 1;
            }
        }
        assert!(begin.elapsed() > Duration::from_millis(10), "three ticks take two periods");
    }
}
