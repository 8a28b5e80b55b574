//! The waker and the mailbox in every order in which threads can take their steps (`ci/loom`).

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::Mailbox;
use crate::waker::Waker;

/// An owner's wait, and the signal that ends it. A signal that was lost is a deadlock, which loom reports.
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
fn what_was_left_before_a_wake_is_seen_after_it() {
    loom::model(|| {
        let sleep = Arc::new(Sleep::default());
        let waker = Sleep::waker(&sleep);
        let left = Arc::new([Mutex::new(false), Mutex::new(false)]);
        for index in 0..2 {
            let (waker, left) = (waker.clone(), Arc::clone(&left));
            thread::spawn(move || {
                *left[index].lock().unwrap() = true;
                waker.wake();
            });
        }
        let mut seen = [false; 2];
        while seen != [true; 2] {
            sleep.wait();
            assert!(waker.answer(), "a signal is for a wake");
            seen = [*left[0].lock().unwrap(), *left[1].lock().unwrap()];
        }
    });
}

#[test]
fn an_owner_that_goes_to_sleep_misses_no_request() {
    loom::model(|| {
        let sleep = Arc::new(Sleep::default());
        let waker = Sleep::waker(&sleep);
        let mailbox = Arc::new(Mailbox::new(8, waker.clone()));
        for number in 0..2 {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.post(number, |number| number).unwrap());
        }
        let (mut requests, mut taken) = (Vec::new(), Vec::new());
        while taken.len() < 2 {
            mailbox.take_before_sleep(&mut requests);
            if requests.is_empty() {
                sleep.wait();
                waker.answer();
            }
            mailbox.awake();
            taken.append(&mut requests);
        }
        taken.sort_unstable();
        assert_eq!(taken, [0, 1]);
    });
}

#[test]
fn a_request_is_refused_or_returned_by_a_mailbox_that_closes() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::new(8, Sleep::waker(&Arc::new(Sleep::default()))));
        let poster = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.post((), |()| ()).is_ok())
        };
        let returned = mailbox.close().len();
        assert_eq!(returned, usize::from(poster.join().unwrap()));
    });
}
