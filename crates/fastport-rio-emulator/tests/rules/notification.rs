//! Rules 15 and 16: how a completion queue notifies its port.

use std::time::Duration;

use fastport_rio_emulator::Rule;
use windows_sys::Win32::Networking::WinSock::{RIO_MSG_DONT_NOTIFY, WSAEALREADY, WSAEINVAL};

use crate::caller::{Caller, Connection, KEY, Memory, WAIT_LIMIT, until};

/// Long enough for a packet that was posted before.
const AT_ONCE: Duration = Duration::from_millis(20);

#[test]
fn rule_15_a_notification_is_armed_once() {
    let caller = Caller::recording();
    let completions = caller.completion_queue(8);
    assert_eq!(caller.notify(completions), 0);
    assert_eq!(caller.notify(completions), WSAEALREADY);
    caller.assert_broken(Rule::OneShotNotify);
}

#[test]
fn rule_15_a_queue_for_polling_does_not_notify() {
    let caller = Caller::recording();
    let completions = caller.create_queue_with(8, None).unwrap();
    assert_eq!(caller.notify(completions), WSAEINVAL);
    caller.assert_broken(Rule::OneShotNotify);
}

#[test]
fn rule_15_a_notification_fires_once_and_at_once_if_a_completion_waits() {
    let caller = Caller::recording();
    let completions = caller.completion_queue(8);
    let mut connection = Connection::new();
    let queue = caller.create_request_queue(connection.socket, 1, 2, completions).unwrap();
    let memory = Memory::new(&caller);
    caller.send(queue, memory.slice(0, 1), 0, 1).unwrap();
    caller.send(queue, memory.slice(1, 1), 0, 2).unwrap();
    connection.peer_receives(2);
    assert_eq!(caller.notify(completions), 0);
    assert!(caller.packet(WAIT_LIMIT).is_some());
    assert!(caller.packet(AT_ONCE).is_none(), "whoever does not arm again sleeps for ever");
    assert_eq!(caller.notify(completions), 0);
    assert!(caller.packet(WAIT_LIMIT).is_some());
    caller.results(completions, 2);
    caller.assert_kept();
}

#[test]
fn rule_11_a_silent_completion_does_not_notify_but_can_be_dequeued() {
    let caller = Caller::recording();
    let completions = caller.completion_queue(8);
    let mut connection = Connection::new();
    let queue = caller.create_request_queue(connection.socket, 1, 1, completions).unwrap();
    let memory = Memory::new(&caller);
    assert_eq!(caller.notify(completions), 0);
    caller.send(queue, memory.slice(0, 1), RIO_MSG_DONT_NOTIFY, 1).unwrap();
    connection.peer_receives(1);
    let mut results = Vec::new();
    until("the completion is there", || {
        results = caller.dequeue(completions).unwrap();
        !results.is_empty()
    });
    assert!(caller.packet(AT_ONCE).is_none());
}

#[test]
fn rule_16_a_packet_carries_the_queues_key_and_overlapped_and_no_request() {
    let caller = Caller::recording();
    let completions = caller.completion_queue(8);
    let mut connection = Connection::new();
    let queue = caller.create_request_queue(connection.socket, 1, 1, completions).unwrap();
    let memory = Memory::new(&caller);
    assert_eq!(caller.notify(completions), 0);
    caller.send(queue, memory.slice(0, 1), 0, 1).unwrap();
    connection.peer_receives(1);
    let packet = caller.packet(WAIT_LIMIT).unwrap();
    assert_eq!(packet.lpCompletionKey, KEY);
    assert_eq!(packet.lpOverlapped.cast_const(), &raw const *caller.overlapped);
    assert_eq!(packet.dwNumberOfBytesTransferred, 0);
}

#[test]
fn rule_16_each_queue_has_an_overlapped_of_its_own() {
    let caller = Caller::recording();
    caller.completion_queue(8);
    assert_eq!(caller.create_queue_with(8, Some(&caller.notification())), Err(WSAEINVAL));
    caller.assert_broken(Rule::OwnOverlapped);
}
