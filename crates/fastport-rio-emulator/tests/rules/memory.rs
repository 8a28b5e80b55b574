//! Rules 9 and 18: registered memory and ranges in use.

use fastport_rio_emulator::Rule;
use windows_sys::Win32::Networking::WinSock::{RIO_MSG_DEFER, WSAEFAULT, WSAEINVAL};

use crate::caller::{Caller, Connection, Memory};

fn ready() -> (Caller, isize, Connection, isize, Memory) {
    let caller = Caller::recording();
    let completions = caller.completion_queue(16);
    let connection = Connection::new();
    let queue = caller.create_request_queue(connection.socket, 2, 2, completions).unwrap();
    let memory = Memory::new(&caller);
    (caller, completions, connection, queue, memory)
}

#[test]
fn rule_9_a_range_lies_inside_its_registration() {
    let (caller, _completions, _connection, queue, memory) = ready();
    assert_eq!(caller.send(queue, memory.slice(Memory::BYTES - 1, 2), 0, 1), Err(WSAEFAULT));
    caller.assert_broken(Rule::RangeOwnership);
}

#[test]
fn rule_9_a_registration_that_was_given_up_names_no_memory() {
    let (caller, _completions, _connection, queue, memory) = ready();
    caller.deregister(memory.buffer);
    assert_eq!(caller.send(queue, memory.slice(0, 1), 0, 1), Err(WSAEFAULT));
    caller.assert_broken(Rule::RangeOwnership);
}

#[test]
fn rule_9_what_is_sent_is_not_changed_meanwhile() {
    let (caller, completions, _connection, queue, memory) = ready();
    caller.send(queue, memory.slice(0, 4), RIO_MSG_DEFER, 1).unwrap();
    memory.write(2, b"!");
    caller.send(queue, memory.slice(10, 4), 0, 2).unwrap();
    caller.results(completions, 2);
    caller.assert_broken(Rule::RangeOwnership);
}

#[test]
fn rule_9_what_is_received_into_is_not_touched_meanwhile() {
    let (caller, completions, mut connection, queue, memory) = ready();
    caller.receive(queue, memory.slice(0, 4), 0, 1).unwrap();
    memory.write(0, b"mine");
    connection.peer.shutdown(std::net::Shutdown::Both).unwrap();
    caller.results(completions, 1);
    caller.assert_broken(Rule::RangeOwnership);
    connection.close();
}

#[test]
fn rule_9_a_range_is_not_sent_twice_at_a_time() {
    let (caller, _completions, _connection, queue, memory) = ready();
    caller.send(queue, memory.slice(0, 8), RIO_MSG_DEFER, 1).unwrap();
    assert_eq!(caller.send(queue, memory.slice(7, 8), 0, 2), Err(WSAEFAULT));
    caller.assert_broken(Rule::RangeOwnership);
}

#[test]
fn rule_18_nothing_and_nowhere_are_not_registered() {
    for (start, bytes, code) in [(std::ptr::dangling_mut(), 0, WSAEINVAL), (std::ptr::null_mut(), 1, WSAEFAULT)] {
        let caller = Caller::recording();
        assert_eq!(caller.register(start, bytes), Err(code));
        caller.assert_broken(Rule::Registration);
    }
}

#[test]
fn rule_18_memory_in_use_is_not_deregistered() {
    let (caller, _completions, _connection, queue, memory) = ready();
    caller.receive(queue, memory.slice(0, 4), 0, 1).unwrap();
    caller.deregister(memory.buffer);
    caller.assert_broken(Rule::Registration);
}

#[test]
fn rule_18_a_registration_is_given_up_once() {
    let (caller, _completions, _connection, _queue, memory) = ready();
    caller.deregister(memory.buffer);
    caller.assert_kept();
    caller.deregister(memory.buffer);
    caller.assert_broken(Rule::Registration);
}
