//! What the threads of a service share, in every order in which they can take their steps (`ci/loom`).

use fastport_io::Waker;
use fastport_io::slab::Key;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::hub::Hub;
use super::mailbox::{Command, Mailbox};
use super::slots::{SlotState, SlotTable};
use crate::framer::PacketFramer;
use crate::options::ServiceOptions;

/// A worker's wait, and the signal that ends it. A signal that was lost is a deadlock, which loom reports.
#[derive(Default)]
struct Sleep {
    is_signalled: Mutex<bool>,
    signal: Condvar,
}

impl Sleep {
    fn waker(sleep: &Arc<Self>) -> Waker {
        let sleep = Arc::clone(sleep);
        Waker::calling(move || {
            *sleep.is_signalled.lock().unwrap() = true;
            sleep.signal.notify_one();
        })
    }

    fn wait(&self) {
        let mut is_signalled = self.is_signalled.lock().unwrap();
        while !*is_signalled {
            is_signalled = self.signal.wait(is_signalled).unwrap();
        }
        *is_signalled = false;
    }
}

#[test]
fn a_worker_that_falls_asleep_misses_no_command() {
    loom::model(|| {
        let sleep = Arc::new(Sleep::default());
        let waker = Sleep::waker(&sleep);
        let mailbox = Arc::new(Mailbox::default());
        mailbox.set_waker(waker.clone());
        for _ in 0..2 {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.order(Command::StopAccepting).unwrap());
        }
        let (mut commands, mut received) = (Vec::new(), 0);
        while received < 2 {
            if mailbox.fall_asleep() {
                sleep.wait();
                waker.answer();
            }
            mailbox.wake_up();
            mailbox.take(&mut commands);
            received += commands.drain(..).count();
        }
    });
}

#[test]
fn a_command_is_refused_or_returned_by_a_mailbox_that_closes() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.order(Command::StopAccepting).is_ok())
        };
        let returned = mailbox.close().len();
        assert_eq!(returned, usize::from(sender.join().unwrap()));
    });
}

#[test]
fn a_handle_never_takes_a_session_for_its_successor() {
    loom::model(|| {
        let first = Key { index: 0, generation: 1 };
        let second = Key { index: 0, generation: 2 };
        let slots = Arc::new(SlotTable::new(1));
        slots.set_open(first);
        let worker = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || {
                slots.set_congested(first, true);
                slots.set_closed(first);
                slots.set_open(second);
            })
        };
        let (new, old) = (slots.state(second), slots.state(first));
        assert!(new == SlotState::Closed || old == SlotState::Closed, "{new:?} and {old:?} at once");
        worker.join().unwrap();
        assert_eq!((slots.state(first), slots.state(second)), (SlotState::Closed, SlotState::Open));
    });
}

#[test]
fn no_more_sessions_are_claimed_than_there_may_be_and_all_places_come_back() {
    loom::model(|| {
        let options = ServiceOptions { workers: 1, max_sessions: 1, ..ServiceOptions::default() };
        let hub = Arc::new(Hub::new(&options, PacketFramer::default(), Vec::new()));
        let seated = Arc::new(Mutex::new(0));
        let claim = |hub: &Hub, seated: &Mutex<u32>| {
            let Some(worker) = hub.claim_session() else { return };
            *seated.lock().unwrap() += 1;
            assert_eq!(*seated.lock().unwrap(), 1, "two sessions have the only place");
            *seated.lock().unwrap() -= 1;
            hub.release_session(worker);
        };
        let other = {
            let (hub, seated) = (Arc::clone(&hub), Arc::clone(&seated));
            thread::spawn(move || claim(&hub, &seated))
        };
        claim(&hub, &seated);
        other.join().unwrap();
        assert_eq!(hub.sessions(), 0);
        assert!(hub.claim_session().is_some(), "the place is free again");
    });
}
