//! Rules 7 to 14 and 17: requests and their completions.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use fastport_rio_emulator::{Disorder, Emulator, OnBreach, Rule, Settings};
use windows_sys::Win32::Networking::WinSock::{
    RIO_MSG_COMMIT_ONLY, RIO_MSG_DEFER, RIO_MSG_DONT_NOTIFY, WSAECONNRESET, WSAEINVAL, WSAENOBUFS,
};

use crate::caller::{Caller, Connection, Memory, until};

/// A caller with a completion queue, a connection, its request queue, and memory.
fn ready(receives: u32, sends: u32) -> (Caller, isize, Connection, isize, Memory) {
    let caller = Caller::recording();
    let completions = caller.completion_queue(16);
    let connection = Connection::new();
    let queue = caller.create_request_queue(connection.socket, receives, sends, completions).unwrap();
    let memory = Memory::new(&caller);
    (caller, completions, connection, queue, memory)
}

#[test]
fn bytes_go_both_ways_when_the_rules_are_kept() {
    let (caller, completions, mut connection, queue, memory) = ready(1, 1);
    memory.write(0, b"hello");
    caller.send(queue, memory.slice(0, 5), 0, 1).unwrap();
    let sent = caller.results(completions, 1)[0];
    assert_eq!((sent.Status, sent.BytesTransferred, sent.RequestContext, sent.SocketContext), (0, 5, 1, 77));
    assert_eq!(connection.peer_receives(5), b"hello");

    caller.receive(queue, memory.slice(100, 50), 0, 2).unwrap();
    connection.peer.write_all(b"good day").unwrap();
    let received = caller.results(completions, 1)[0];
    assert_eq!((received.Status, received.BytesTransferred, received.RequestContext), (0, 8, 2));
    assert_eq!(memory.read(100, 8), b"good day");
    caller.assert_kept();
}

#[test]
fn rule_7_no_more_are_outstanding_than_the_limit_and_deferred_ones_count() {
    let (caller, _completions, _connection, queue, memory) = ready(1, 2);
    caller.send(queue, memory.slice(0, 1), RIO_MSG_DEFER, 1).unwrap();
    caller.send(queue, memory.slice(1, 1), RIO_MSG_DEFER, 2).unwrap();
    assert_eq!(caller.send(queue, memory.slice(2, 1), 0, 3), Err(WSAENOBUFS));
    caller.assert_broken(Rule::Outstanding);
}

#[test]
fn rule_8_a_request_has_one_buffer_with_bytes() {
    for (count, bytes) in [(2, 1), (0, 1), (1, 0)] {
        let (caller, _completions, _connection, queue, memory) = ready(1, 1);
        let slice = memory.slice(0, bytes);
        assert_eq!(caller.receive_raw(queue, &raw const slice, count, 0, 1), Err(WSAEINVAL));
        caller.assert_broken(Rule::OneBuffer);
    }
    let (caller, _completions, _connection, queue, _memory) = ready(1, 1);
    assert_eq!(caller.receive_raw(queue, std::ptr::null(), 0, 0, 1), Err(WSAEINVAL));
    caller.assert_broken(Rule::OneBuffer);
}

#[test]
fn rule_10_a_commit_does_nothing_else() {
    let (caller, _completions, _connection, queue, memory) = ready(1, 1);
    assert_eq!(caller.send(queue, memory.slice(0, 1), RIO_MSG_COMMIT_ONLY, 0), Err(WSAEINVAL));
    assert_eq!(caller.send_raw(queue, std::ptr::null(), 0, RIO_MSG_COMMIT_ONLY | RIO_MSG_DEFER, 0), Err(WSAEINVAL));
    caller.assert_broken(Rule::Commit);
}

#[test]
fn rule_10_whoever_goes_to_sleep_has_committed() {
    let (caller, completions, mut connection, queue, memory) = ready(1, 1);
    memory.write(0, b"late");
    caller.send(queue, memory.slice(0, 4), RIO_MSG_DEFER, 1).unwrap();
    // A commit of the receives is none of the sends.
    caller.receive_raw(queue, std::ptr::null(), 0, RIO_MSG_COMMIT_ONLY, 0).unwrap();
    assert_eq!(caller.notify(completions), 0);
    caller.assert_broken(Rule::Commit);
    caller.send_raw(queue, std::ptr::null(), 0, RIO_MSG_COMMIT_ONLY, 0).unwrap();
    assert_eq!(connection.peer_receives(4), b"late");
}

#[test]
fn rule_10_a_request_that_is_not_deferred_commits_those_before_it() {
    let (caller, completions, mut connection, queue, memory) = ready(1, 2);
    memory.write(0, b"both parts");
    caller.send(queue, memory.slice(0, 5), RIO_MSG_DEFER, 1).unwrap();
    caller.send(queue, memory.slice(5, 5), 0, 2).unwrap();
    assert_eq!(connection.peer_receives(10), b"both parts");
    let contexts: Vec<_> = caller.results(completions, 2).iter().map(|result| result.RequestContext).collect();
    assert_eq!(contexts, [1, 2]);
    caller.assert_kept();
}

#[test]
fn rule_11_the_last_request_of_a_silent_batch_notifies() {
    let (caller, completions, _connection, queue, memory) = ready(1, 1);
    caller.receive(queue, memory.slice(0, 1), RIO_MSG_DONT_NOTIFY, 1).unwrap();
    assert_eq!(caller.notify(completions), 0);
    caller.assert_broken(Rule::SilentBatch);
}

#[test]
fn rule_12_a_send_excludes_a_receive_on_the_same_request_queue() {
    let (caller, _completions, _connection, queue, memory) = ready(1, 1);
    // Out of range and over the limit on purpose: what counts is that the calls meet.
    let (table, done) = (caller.table, AtomicBool::new(false));
    let slice = memory.slice(0, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // SAFETY: the emulator checks; a request that it refuses does nothing.
                unsafe { table.RIOReceive.unwrap()(queue, &raw const slice, 2, 0, std::ptr::null()) };
            }
        });
        until("the calls have met", || {
            let _ = caller.send_raw(queue, &raw const slice, 2, 0, 0);
            caller.emulator.breaches().iter().any(|breach| breach.rule == Rule::RequestExclusion)
        });
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn rule_13_a_dequeue_excludes_a_resize_on_the_same_completion_queue() {
    let caller = Caller::recording();
    let completions = caller.completion_queue(16);
    let (table, done) = (caller.table, AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // SAFETY: the emulator checks.
                unsafe { table.RIOResizeCompletionQueue.unwrap()(completions, 16) };
            }
        });
        until("the calls have met", || {
            caller.dequeue(completions);
            !caller.emulator.breaches().is_empty()
        });
        done.store(true, Ordering::Relaxed);
    });
    caller.assert_broken(Rule::QueueExclusion);
}

#[test]
fn rule_13_a_corrupt_queue_is_not_used_on() {
    let caller = Caller::recording();
    let completions = caller.completion_queue(16);
    caller.emulator.corrupt_completion_queues();
    assert!(caller.dequeue(completions).is_none());
    caller.assert_kept();
    assert!(caller.dequeue(completions).is_none());
    caller.assert_broken(Rule::QueueExclusion);
}

#[test]
fn rule_14_a_completed_request_counts_until_it_is_dequeued() {
    let (caller, completions, mut connection, queue, memory) = ready(1, 1);
    caller.send(queue, memory.slice(0, 1), 0, 1).unwrap();
    connection.peer_receives(1);
    let result = until_landed(&caller, queue, &memory);
    assert_eq!(result, Err(WSAENOBUFS));
    assert_eq!(caller.emulator.breaches().last().unwrap().rule, Rule::DequeueFrees);
    caller.results(completions, 1);
    caller.send(queue, memory.slice(0, 1), 0, 2).unwrap();
}

/// Sends again until the first send waits to be dequeued, which the emulator tells by the rule that it names.
fn until_landed(caller: &Caller, queue: isize, memory: &Memory) -> Result<(), i32> {
    let mut result = Ok(());
    until("the completion is in the queue", || {
        result = caller.send(queue, memory.slice(1, 1), 0, 2);
        caller.emulator.breaches().last().is_some_and(|breach| breach.rule == Rule::DequeueFrees)
    });
    result
}

#[test]
fn rule_17_the_end_is_a_success_of_no_bytes_and_a_reset_a_positive_code() {
    let (caller, completions, mut connection, queue, memory) = ready(1, 1);
    connection.peer.shutdown(std::net::Shutdown::Write).unwrap();
    caller.receive(queue, memory.slice(0, 10), 0, 1).unwrap();
    let end = caller.results(completions, 1)[0];
    assert_eq!((end.Status, end.BytesTransferred), (0, 0));

    caller.emulator.fail_next_request(WSAECONNRESET);
    caller.receive(queue, memory.slice(0, 10), 0, 2).unwrap();
    let reset = caller.results(completions, 1)[0];
    assert!(reset.Status > 0, "a caller who takes positive numbers for success is wrong: {}", reset.Status);
    connection.close();
    caller.assert_kept();
}

#[test]
fn a_refused_request_has_no_completion() {
    let (caller, completions, mut connection, queue, memory) = ready(1, 1);
    caller.emulator.refuse_next_request(WSAENOBUFS);
    assert_eq!(caller.send(queue, memory.slice(0, 1), 0, 1), Err(WSAENOBUFS));
    memory.write(0, b"x");
    caller.send(queue, memory.slice(0, 1), 0, 2).unwrap();
    assert_eq!(connection.peer_receives(1), b"x");
    assert_eq!(caller.results(completions, 1)[0].RequestContext, 2);
}

#[test]
fn parts_that_are_deferred_held_and_delayed_go_out_in_order() {
    for seed in 0..20 {
        let emulator = Emulator::new(Settings {
            on_breach: OnBreach::Record,
            seed,
            disorder: Disorder { hold_one_in: 2, longest_hold_turns: 5, ..Disorder::default() },
            ..Settings::default()
        });
        let caller = Caller::new(emulator);
        let completions = caller.completion_queue(16);
        let mut connection = Connection::new();
        let queue = caller.create_request_queue(connection.socket, 1, 8, completions).unwrap();
        let memory = Memory::new(&caller);
        let text: Vec<u8> = (0..80).collect();
        memory.write(0, &text);
        for part in 0..8 {
            caller.send(queue, memory.slice(part * 10, 10), RIO_MSG_DEFER, u64::from(part)).unwrap();
        }
        caller.send_raw(queue, std::ptr::null(), 0, RIO_MSG_COMMIT_ONLY, 0).unwrap();
        assert_eq!(connection.peer_receives(80), text);
        caller.results(completions, 8);
        caller.assert_kept();
    }
}
