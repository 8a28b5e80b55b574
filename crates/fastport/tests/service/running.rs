//! A service whose first worker is the calling thread.

use std::collections::HashSet;
use std::sync::mpsc::channel;
use std::time::Duration;

use fastport::{Context, Handler, PacketView, Service};
use fastport_io::{Choice, Scheduling};

use crate::common::{Client, PATIENCE, localhost};
use crate::probe::{Fixture, on_every_backend};

on_every_backend!(
    the_calling_thread_is_the_first_worker,
    workers_wait_for_their_turn_where_they_can_and_are_asked_to,
    a_run_that_cannot_begin_says_why,
    a_panic_while_handlers_are_made_is_an_error_of_the_run,
);

/// Answers with the name of its thread.
struct Named;

impl Handler for Named {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        let thread = std::thread::current();
        session.send(packet.id, thread.name().unwrap_or_default().as_bytes()).unwrap();
    }
}

fn the_calling_thread_is_the_first_worker(backend: Choice) {
    for workers in [1, 3] {
        let (tell, told) = channel();
        let caller = std::thread::Builder::new().name("caller".to_owned());
        let running = caller.spawn(move || {
            let service = Service::builder(|_| Named).backend(backend).workers(workers).listen(localhost());
            service.run(|service| tell.send((service.local_addresses()[0], service.handle())).unwrap())
        });
        let (address, handle) = told.recv_timeout(PATIENCE).expect("clients can connect");
        let mut clients: Vec<Client> = (0..workers).map(|_| Client::connect(address)).collect();
        let names: HashSet<Vec<u8>> = clients.iter_mut().map(|client| client.ask(1, b"who?").1).collect();
        assert_eq!(names.len(), workers, "each worker has one of them");
        assert!(names.contains(&b"caller"[..]));
        handle.stop(Duration::ZERO);
        let report = running.unwrap().join().unwrap().unwrap();
        assert_eq!(report.failure, None);
        assert_eq!((report.aborted, report.stats.sessions), (workers as u64, 0));
        assert_eq!(report.stats.packets_received, workers as u64);
        for client in &mut clients {
            client.await_end();
        }
    }
}

/// Answers with the scheduling policy of its thread, as proc_pid_stat(5) tells it.
#[cfg(target_os = "linux")]
struct Policy;

#[cfg(target_os = "linux")]
fn policy() -> String {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let behind_the_name = stat.rsplit(')').next().unwrap();
    behind_the_name.split_whitespace().nth(38).unwrap().to_owned()
}

#[cfg(target_os = "linux")]
impl Handler for Policy {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        session.send(packet.id, policy().as_bytes()).unwrap();
    }
}

#[cfg(target_os = "linux")]
fn workers_wait_for_their_turn_where_they_can_and_are_asked_to(backend: Choice) {
    const SCHED_BATCH: &[u8] = b"3";
    let (tell, told) = channel();
    let running = std::thread::spawn(move || {
        let service = Service::builder(|_| Policy).backend(backend).workers(2).listen(localhost());
        let service = service.scheduling(Scheduling::Batch);
        let ran = service.run(|service| tell.send((service.local_addresses()[0], service.handle())).unwrap());
        (ran, policy())
    });
    let (address, handle) = told.recv_timeout(PATIENCE).expect("clients can connect");
    let mut clients = [Client::connect(address), Client::connect(address)];
    let policies = clients.each_mut().map(|client| client.ask(1, b"how?").1);
    assert_eq!(policies, [SCHED_BATCH, SCHED_BATCH], "each worker has one of them");
    handle.stop(Duration::ZERO);
    let (ran, afterwards) = running.join().unwrap();
    assert_eq!(ran.unwrap().failure, None);
    assert_eq!(afterwards, policy(), "the calling thread is no worker any more");
}

#[cfg(not(target_os = "linux"))]
fn workers_wait_for_their_turn_where_they_can_and_are_asked_to(backend: Choice) {
    let service = Service::builder(|_| Named).backend(backend).workers(2).listen(localhost());
    let error = service.scheduling(Scheduling::Batch).start().unwrap_err().to_string();
    assert!(error.contains("batch scheduling is Linux's"), "{error}");
}

fn a_run_that_cannot_begin_says_why(backend: Choice) {
    let other = Fixture::echo(backend);
    let address = other.address();
    let service = Service::builder(|_| Named).backend(backend).workers(2).listen(address);
    let error = service.run(|_| panic!("it has not begun")).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
    other.stop();
}

fn a_panic_while_handlers_are_made_is_an_error_of_the_run(backend: Choice) {
    for broken in [0, 1] {
        let make = move |worker| if worker == broken { panic!("no handler here") } else { Named };
        let service = Service::builder(make).backend(backend).workers(2).listen(localhost());
        let error = service.run(|_| panic!("it has not begun")).unwrap_err().to_string();
        assert!(error.contains(&format!("worker {broken} panicked: no handler here")), "{error}");
    }
}
