//! Rule 21: what is not promised does not hold, and each seed breaks it in its own way.

use std::collections::HashSet;
use std::io::Write;

use fastport_rio_emulator::{Disorder, Emulator, OnBreach, Rule, Settings};
use windows_sys::Win32::Networking::WinSock::{RIO_MSG_COMMIT_ONLY, RIO_MSG_DEFER, WSAENOBUFS};

use crate::caller::{Caller, Connection, Memory, WAIT_LIMIT};

fn disorderly(seed: u64, disorder: Disorder) -> Caller {
    Caller::new(Emulator::new(Settings { on_breach: OnBreach::Record, seed, disorder, ..Settings::default() }))
}

#[test]
fn rule_21_credit_comes_back_only_when_closed_and_drained() {
    let caller = Caller::recording();
    let completions = caller.completion_queue(2);
    let mut connection = Connection::new();
    let queue = caller.create_request_queue(connection.socket, 1, 1, completions).unwrap();
    let memory = Memory::new(&caller);
    caller.receive(queue, memory.slice(0, 4), 0, 1).unwrap();
    connection.close();
    let next = Connection::new();
    assert_eq!(caller.create_request_queue(next.socket, 1, 1, completions), Err(WSAENOBUFS));
    caller.assert_broken(Rule::NothingPromised);
    caller.results(completions, 1);
    caller.create_request_queue(next.socket, 1, 1, completions).unwrap();
}

#[test]
fn rule_21_completions_of_different_sockets_change_places_from_seed_to_seed() {
    let mut orders = HashSet::new();
    for seed in 0..20 {
        let caller = disorderly(seed, Disorder { hold_one_in: 2, ..Disorder::default() });
        let completions = caller.completion_queue(16);
        let mut connections: Vec<_> = (0..4).map(|_| Connection::new()).collect();
        let memory = Memory::new(&caller);
        for (place, connection) in connections.iter().enumerate() {
            let queue = caller.create_request_queue(connection.socket, 1, 1, completions).unwrap();
            caller.receive(queue, memory.slice(place as u32 * 10, 10), 0, place as u64).unwrap();
        }
        for connection in &mut connections {
            connection.peer.write_all(b"now").unwrap();
        }
        let results = caller.results(completions, 4);
        orders.insert(results.iter().map(|result| result.RequestContext).collect::<Vec<_>>());
        caller.assert_kept();
    }
    assert!(orders.len() > 3, "20 seeds gave {} orders", orders.len());
}

#[test]
fn rule_21_a_notification_may_come_for_nothing() {
    let caller = disorderly(3, Disorder { spurious_one_in: 1, ..Disorder::NONE });
    let completions = caller.completion_queue(8);
    assert_eq!(caller.notify(completions), 0);
    assert!(caller.packet(WAIT_LIMIT).is_some());
    assert!(caller.dequeue(completions).unwrap().is_empty());
    caller.assert_kept();
}

#[test]
fn rule_21_a_deferred_request_starts_early_or_waits_for_its_commit() {
    let (mut early, mut waited) = (0, 0);
    for seed in 0..20 {
        let caller = disorderly(seed, Disorder { early_start_one_in: 2, ..Disorder::NONE });
        let completions = caller.completion_queue(8);
        let mut connection = Connection::new();
        let queue = caller.create_request_queue(connection.socket, 1, 1, completions).unwrap();
        let memory = Memory::new(&caller);
        memory.write(0, b"x");
        caller.send(queue, memory.slice(0, 1), RIO_MSG_DEFER, 1).unwrap();
        connection.peer.set_read_timeout(Some(std::time::Duration::from_millis(30))).unwrap();
        match std::io::Read::read(&mut connection.peer, &mut [0]) {
            Ok(_) => early += 1,
            Err(_) => waited += 1,
        }
        caller.send_raw(queue, std::ptr::null(), 0, RIO_MSG_COMMIT_ONLY, 0).unwrap();
        caller.results(completions, 1);
    }
    assert!(early > 0 && waited > 0, "{early} started early, {waited} waited");
}

#[test]
fn rule_21_a_dequeue_may_give_less_than_there_is() {
    let caller = disorderly(1, Disorder { short_dequeue_one_in: 1, ..Disorder::NONE });
    let completions = caller.completion_queue(16);
    let mut connection = Connection::new();
    let queue = caller.create_request_queue(connection.socket, 1, 8, completions).unwrap();
    let memory = Memory::new(&caller);
    for part in 0..8 {
        caller.send(queue, memory.slice(part, 1), 0, u64::from(part)).unwrap();
    }
    connection.peer_receives(8);
    let contexts: Vec<_> = caller.results(completions, 8).iter().map(|result| result.RequestContext).collect();
    assert_eq!(contexts, [0, 1, 2, 3, 4, 5, 6, 7], "sends of one socket keep their order");
}
