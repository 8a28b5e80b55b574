//! Rules 19 and 20: the end of sockets and queues.

use fastport_rio_emulator::Rule;
use windows_sys::Win32::Foundation::{CloseHandle, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Networking::WinSock::WSAENOTSOCK;
use windows_sys::Win32::System::IO::CreateIoCompletionPort;

use crate::caller::{Caller, Connection, Memory, notification_of, until};

#[test]
fn rule_19_a_request_queue_ends_with_its_socket() {
    let caller = Caller::recording();
    let completions = caller.completion_queue(8);
    let mut connection = Connection::new();
    let queue = caller.create_request_queue(connection.socket, 1, 1, completions).unwrap();
    let memory = Memory::new(&caller);
    connection.close();
    assert_eq!(caller.send(queue, memory.slice(0, 1), 0, 1), Err(WSAENOTSOCK));
    caller.assert_broken(Rule::SocketTeardown);
}

#[test]
fn rule_19_closing_aborts_what_is_outstanding_and_its_completion_comes() {
    let caller = Caller::recording();
    let completions = caller.completion_queue(8);
    let mut connection = Connection::new();
    let queue = caller.create_request_queue(connection.socket, 1, 1, completions).unwrap();
    let memory = Memory::new(&caller);
    caller.receive(queue, memory.slice(0, 4), 0, 9).unwrap();
    connection.close();
    assert_eq!(caller.notify(completions), 0);
    let aborted = caller.results(completions, 1)[0];
    assert_ne!(aborted.Status, 0);
    assert_eq!(aborted.RequestContext, 9);
    assert_eq!(caller.emulator.census().charged_entries, 0);
    caller.deregister(memory.buffer);
    caller.assert_kept();
}

#[test]
fn rule_20_a_completion_queue_is_closed_after_its_request_queues_are_drained() {
    let caller = Caller::recording();
    let completions = caller.completion_queue(8);
    let connection = Connection::new();
    let queue = caller.create_request_queue(connection.socket, 1, 1, completions).unwrap();
    let memory = Memory::new(&caller);
    caller.receive(queue, memory.slice(0, 4), 0, 1).unwrap();
    caller.close_queue(completions);
    caller.assert_broken(Rule::QueueTeardown);
}

#[test]
fn rule_20_a_completion_queue_is_closed_once() {
    let caller = Caller::recording();
    let completions = caller.completion_queue(8);
    caller.close_queue(completions);
    caller.assert_kept();
    caller.close_queue(completions);
    caller.assert_broken(Rule::QueueTeardown);
}

#[test]
fn rule_20_a_port_is_closed_after_its_completion_queue() {
    let caller = Caller::recording();
    // SAFETY: makes a port.
    let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, std::ptr::null_mut(), 0, 1) };
    let notification = notification_of(port, &raw const *caller.overlapped);
    let completions = caller.create_queue_with(8, Some(&notification)).unwrap();
    let mut connection = Connection::new();
    let queue = caller.create_request_queue(connection.socket, 1, 1, completions).unwrap();
    let memory = Memory::new(&caller);
    assert_eq!(caller.notify(completions), 0);
    // SAFETY: the port is this test's.
    unsafe { CloseHandle(port) };
    caller.send(queue, memory.slice(0, 1), 0, 1).unwrap();
    connection.peer_receives(1);
    until("the notification was tried", || !caller.emulator.breaches().is_empty());
    caller.assert_broken(Rule::QueueTeardown);
}
