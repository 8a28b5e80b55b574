//! Every failure that the calls and completions of Registered I/O can bring.

use fastport_io::{AsyncIoProvider, ByteRing, CompletionBatch, ErrorCode, ProviderConfig};
use windows_sys::Win32::Networking::WinSock::{
    WSA_OPERATION_ABORTED, WSAECONNABORTED, WSAECONNRESET, WSAEFAULT, WSAEINVAL, WSAENETDOWN, WSAENOBUFS, WSAENOTCONN,
};

use crate::emulated::{Emulated, pool};
use crate::rig::Outcome;

fn connected() -> (Emulated, fastport_io::SocketId, fastport_io::SocketId) {
    let mut emulated = Emulated::open(&ProviderConfig::default());
    let (client, server) = emulated.rig.pair();
    (emulated, client, server)
}

#[test]
fn a_send_that_finds_no_memory_for_a_request_goes_out_without_one() {
    for code in [WSAENOBUFS, WSAEFAULT] {
        let (mut emulated, client, server) = connected();
        emulated.emulator.refuse_next_request(code);
        emulated.rig.send_now(client, b"anyway");
        assert_eq!(emulated.rig.receive_exactly(server, 6), b"anyway");
        emulated.rig.assert_connected(client, server);
        emulated.assert_all_given_back();
    }
}

#[test]
fn a_send_that_is_refused_for_another_reason_fails_with_it() {
    for (code, expected) in [(WSAEINVAL, ErrorCode::SocketNotRegistered), (WSAENETDOWN, ErrorCode::Os)] {
        let (mut emulated, client, _server) = connected();
        emulated.emulator.refuse_next_request(code);
        let send = emulated.rig.send(client, b"never".to_vec());
        let failed = emulated.rig.final_of(send);
        assert_eq!(failed.code(), expected);
        assert_eq!(failed.error().unwrap().os_code(), code);
        emulated.assert_all_given_back();
    }
}

#[test]
fn a_receive_stream_that_finds_no_memory_for_a_request_receives_without_one() {
    for code in [WSAENOBUFS, WSAEFAULT] {
        let (mut emulated, client, server) = connected();
        emulated.rig.send_now(client, b"first");
        emulated.emulator.refuse_next_request(code);
        let stream = emulated.rig.receive_stream(server);
        assert_eq!(emulated.rig.step_of(stream).bytes(), b"first");
        emulated.rig.send_now(client, b"second");
        assert_eq!(emulated.rig.step_of(stream).bytes(), b"second");
        emulated.assert_all_given_back();
    }
}

#[test]
fn a_part_that_is_refused_goes_out_after_the_other() {
    let (mut emulated, client, server) = connected();
    let slots = emulated.rig.provider.create_pool(&pool(64, 1, 1)).unwrap();
    let mut ring = ByteRing::over(slots.acquire().unwrap());
    ring.write(&[b'.'; 60]);
    ring.consume(58);
    ring.write(b"0123456789");
    let buffers = ring.send_buffers().unwrap();
    assert!(buffers.second().is_some());
    emulated.emulator.refuse_request_after(1, WSAENOBUFS);
    let send = emulated.rig.send(client, buffers);
    assert_eq!(emulated.rig.receive_exactly(server, 12), b"..0123456789");
    assert_eq!(emulated.rig.final_of(send).bytes_moved(), 12);
    drop(ring);
    assert_eq!(slots.stats().allocated, 0);
}

#[test]
fn a_request_that_fails_reports_why() {
    for (status, expected) in [
        (WSAECONNRESET, ErrorCode::ConnectionReset),
        (WSAECONNABORTED, ErrorCode::ConnectionReset),
        // Nobody asked for it, so it is no cancellation.
        (WSA_OPERATION_ABORTED, ErrorCode::ConnectionReset),
        (WSAENOBUFS, ErrorCode::BufferTooSmall),
        (WSAENOTCONN, ErrorCode::Os),
    ] {
        let (mut emulated, client, _server) = connected();
        emulated.emulator.fail_next_request(status);
        let send = emulated.rig.send(client, b"lost".to_vec());
        assert_eq!(emulated.rig.final_of(send).code(), expected, "send, {status}");

        let (client, server) = emulated.rig.pair();
        emulated.rig.send_now(server, b"there");
        emulated.emulator.fail_next_request(status);
        let stream = emulated.rig.receive_stream(client);
        let end = emulated.rig.final_of(stream);
        assert_eq!(end.code(), expected, "receive, {status}");
        assert_eq!(emulated.rig.provider.receive_pool().stats().allocated, 0);
        emulated.assert_all_given_back();
    }
}

#[test]
fn a_part_that_fails_ends_the_send_when_the_other_has_ended() {
    let (mut emulated, client, _server) = connected();
    let slots = emulated.rig.provider.create_pool(&pool(64, 1, 1)).unwrap();
    let mut ring = ByteRing::over(slots.acquire().unwrap());
    ring.write(&[b'.'; 60]);
    ring.consume(58);
    ring.write(b"0123456789");
    emulated.emulator.fail_next_request(WSAECONNRESET);
    let send = emulated.rig.send(client, ring.send_buffers().unwrap());
    assert_eq!(emulated.rig.final_of(send).code(), ErrorCode::ConnectionReset);
    drop(ring);
    assert_eq!(slots.stats().allocated, 0);
    drop(slots);
    emulated.assert_all_given_back();
}

#[test]
fn a_socket_without_a_request_queue_is_served_by_overlapped_calls() {
    for code in [WSAEINVAL, WSAENOBUFS] {
        let mut emulated = Emulated::open(&ProviderConfig::default());
        emulated.emulator.refuse_request_queues(Some(code));
        let rig = &mut emulated.rig;
        let (client, server) = rig.pair();
        rig.assert_connected(client, server);
        let stream = rig.receive_stream(server);
        rig.send_now(client, b"plain");
        assert_eq!(rig.step_of(stream).bytes(), b"plain");
        let census = emulated.emulator.census();
        assert_eq!((census.requests_ever, census.charged_entries), (0, 0));
        emulated.emulator.refuse_request_queues(None);
        let (client, server) = emulated.rig.pair();
        emulated.rig.assert_connected(client, server);
        assert!(emulated.census().requests_ever > 0, "the next sockets have request queues again");
        emulated.assert_all_given_back();
    }
}

#[test]
fn a_corrupt_queue_is_a_clear_error_for_ever() {
    let (mut emulated, client, _server) = connected();
    emulated.rig.send(client, b"unknown".to_vec());
    emulated.rig.provider.flush().unwrap();
    emulated.emulator.corrupt_completion_queues();
    let mut batch = CompletionBatch::with_capacity(8);
    for _ in 0..2 {
        let error = emulated.rig.provider.process_completions(&mut batch, None).unwrap_err();
        assert_eq!(error.code(), ErrorCode::OperationFailed);
        assert!(error.to_string().contains("corrupt"), "{error}");
        assert!(error.to_string().contains("open a new one"), "{error}");
    }
    // What the system may still use is kept: the emulator would report whoever gives it up.
    drop(emulated.rig);
    assert!(emulated.emulator.census().buffers > 0);
}
