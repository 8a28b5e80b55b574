//! Rules 1 to 6: the table, sockets, the sizes of queues.

use fastport_rio_emulator::{Rule, query};
use windows_sys::Win32::Networking::WinSock::{
    RIO_EXTENSION_FUNCTION_TABLE, RIO_MAX_CQ_SIZE, WSA_FLAG_OVERLAPPED, WSAEINVAL, WSAENOBUFS, WSAEOPNOTSUPP,
    WSAETOOMANYREFS,
};

use crate::caller::{Caller, Connection, notification_of};

#[test]
fn rule_1_a_table_without_its_size_is_refused() {
    let caller = Caller::recording();
    let mut table = RIO_EXTENSION_FUNCTION_TABLE::default();
    // SAFETY: the table is valid for writing.
    assert_eq!(unsafe { query(0, &raw mut table) }, WSAEINVAL);
    assert!(table.RIOSend.is_none());
    caller.assert_broken(Rule::TableSize);
}

#[test]
fn rule_2_a_socket_without_the_flag_gets_no_request_queue() {
    let caller = Caller::recording();
    let queue = caller.completion_queue(8);
    let plain = Connection::with_flags(WSA_FLAG_OVERLAPPED);
    assert_eq!(caller.create_request_queue(plain.socket, 1, 1, queue), Err(WSAEOPNOTSUPP));
    caller.assert_broken(Rule::RegisteredSocket);
}

#[test]
fn rule_2_a_socket_has_one_request_queue_for_life() {
    let caller = Caller::recording();
    let completions = caller.completion_queue(8);
    let connection = Connection::new();
    caller.create_request_queue(connection.socket, 1, 1, completions).unwrap();
    assert_eq!(caller.create_request_queue(connection.socket, 1, 1, completions), Err(WSAEINVAL));
    caller.assert_broken(Rule::RegisteredSocket);
}

#[test]
fn rule_3_a_queue_that_shall_notify_needs_a_port() {
    let caller = Caller::recording();
    let notification = notification_of(std::ptr::null_mut(), &raw const *caller.overlapped);
    assert_eq!(caller.create_queue_with(8, Some(&notification)), Err(WSAEINVAL));
    caller.assert_broken(Rule::QueueCarriesPort);
}

#[test]
fn rule_4_a_queue_has_a_size_in_range() {
    for size in [0, RIO_MAX_CQ_SIZE + 1] {
        let caller = Caller::recording();
        assert_eq!(caller.create_queue_with(size, None), Err(WSAEINVAL));
        caller.assert_broken(Rule::QueueSize);
    }
}

#[test]
fn rule_4_a_queue_that_shall_notify_needs_an_overlapped() {
    let caller = Caller::recording();
    let notification = notification_of(caller.port, std::ptr::null());
    assert_eq!(caller.create_queue_with(8, Some(&notification)), Err(WSAEINVAL));
    caller.assert_broken(Rule::QueueSize);
}

#[test]
fn rule_5_a_request_queue_needs_limits_and_a_living_completion_queue() {
    let connection = Connection::new();
    for (receives, sends, alive) in [(0, 0, true), (1, 1, false)] {
        let caller = Caller::recording();
        let queue = caller.completion_queue(8);
        let used = if alive { queue } else { queue + 1 };
        assert_eq!(caller.create_request_queue(connection.socket, receives, sends, used), Err(WSAEINVAL));
        caller.assert_broken(Rule::QueueLimits);
    }
}

#[test]
fn rule_6_a_request_queue_without_room_in_its_completion_queue_is_refused() {
    let caller = Caller::recording();
    let queue = caller.completion_queue(4);
    let (one, other) = (Connection::new(), Connection::new());
    caller.create_request_queue(one.socket, 1, 2, queue).unwrap();
    assert_eq!(caller.create_request_queue(other.socket, 1, 2, queue), Err(WSAENOBUFS));
    caller.assert_broken(Rule::GrowFirst);

    caller.resize_queue(queue, 6).unwrap();
    caller.create_request_queue(other.socket, 1, 2, queue).unwrap();
}

#[test]
fn rule_6_a_queue_does_not_shrink_below_what_it_promised() {
    let caller = Caller::recording();
    let queue = caller.completion_queue(8);
    let connection = Connection::new();
    caller.create_request_queue(connection.socket, 1, 2, queue).unwrap();
    caller.resize_queue(queue, 3).unwrap();
    caller.assert_kept();
    assert_eq!(caller.resize_queue(queue, 2), Err(WSAETOOMANYREFS));
    caller.assert_broken(Rule::GrowFirst);
}

/// By default a breach ends the process, so the caller is a process of its own.
#[test]
fn a_breach_ends_the_process_and_names_the_rule() {
    const CALLER: &str = "FASTPORT_RIO_BREACH";
    if std::env::var_os(CALLER).is_some() {
        // SAFETY: the table is valid for writing.
        unsafe { query(0, &mut RIO_EXTENSION_FUNCTION_TABLE::default()) };
        unreachable!("the emulator ends the process");
    }
    let caller = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "queues::a_breach_ends_the_process_and_names_the_rule"])
        .env(CALLER, "1")
        .output()
        .unwrap();
    assert!(!caller.status.success());
    let told = String::from_utf8_lossy(&caller.stderr);
    assert!(told.contains("rule 1 of Registered I/O is broken"), "{told}");
}
