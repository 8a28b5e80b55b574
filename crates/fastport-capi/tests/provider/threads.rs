//! Many threads at one provider.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fastport_capi::provider::completion::{FP_STATUS_CANCELLED, FP_STATUS_SUCCESS};
use fastport_capi::provider::{
    fp_provider_initialize, fp_provider_register_socket, fp_provider_shutdown, fp_provider_unregister_socket,
};

use crate::{Provider, backends, done, pair, raw};

#[test]
fn a_submission_and_a_visit_reach_a_provider_whose_thread_waits_for_ever() {
    for backend in backends() {
        let provider = Provider::start(backend);
        let (mut far, near) = pair();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| provider.process(1, -1).1);
            done(fp_provider_register_socket(provider.0, raw(&near), 4));
            provider.send(raw(&near), b"ping", 0);
            assert_eq!(waiting.join().unwrap()[0].socket_context, 4);
        });
        far.read_exact(&mut [0; 4]).unwrap();
        done(fp_provider_unregister_socket(provider.0, raw(&near)));
    }
}

#[test]
fn each_step_may_be_taken_by_another_thread_which_may_end_before_the_operation() {
    for backend in backends() {
        let provider = &Provider::create(backend);
        let in_thread = |step: &(dyn Fn() + Sync)| thread::scope(|scope| scope.spawn(step).join().unwrap());
        let (mut far, near) = pair();
        let socket = raw(&near);
        let mut buffer = [0u8; 8];
        let place = buffer.as_mut_ptr() as usize;
        in_thread(&|| done(fp_provider_initialize(provider.0, 64, 64)));
        in_thread(&|| {
            // SAFETY: the buffer outlives the operation.
            let buffer = unsafe { std::slice::from_raw_parts_mut(place as *mut u8, 8) };
            provider.receive(socket, buffer, 0);
        });
        // This thread hands the receive to the system, and is gone before it completes.
        in_thread(&|| assert!(provider.process(1, 0).1.is_empty()));
        far.write_all(b"data").unwrap();
        in_thread(&|| {
            let completion = provider.completion();
            assert_eq!((completion.status, completion.bytes), (FP_STATUS_SUCCESS, 4));
        });
        in_thread(&|| done(fp_provider_shutdown(provider.0)));
        assert_eq!(&buffer[..4], b"data");
    }
}

#[test]
fn sends_of_one_thread_go_out_in_their_order_while_others_send_too() {
    const THREADS: usize = 4;
    const SENDS: usize = 500;
    static NUMBERS: [[u8; 2]; SENDS] = {
        let mut numbers = [[0; 2]; SENDS];
        let mut number = 0;
        while number < SENDS {
            numbers[number] = (number as u16).to_be_bytes();
            number += 1;
        }
        numbers
    };
    for backend in backends() {
        let provider = &Provider::start(backend);
        let pairs: Vec<_> = (0..THREADS).map(|_| pair()).collect();
        thread::scope(|scope| {
            for (_, near) in &pairs {
                scope.spawn(move || {
                    for number in &NUMBERS {
                        provider.send(raw(near), number, 0);
                    }
                });
            }
            scope.spawn(|| {
                let sent = provider.completions(THREADS * SENDS);
                assert!(sent.iter().all(|completion| completion.status == FP_STATUS_SUCCESS));
            });
            for (far, _) in &pairs {
                let mut far = far;
                for number in &NUMBERS {
                    let mut bytes = [0; 2];
                    far.read_exact(&mut bytes).unwrap();
                    assert_eq!(&bytes, number);
                }
            }
        });
    }
}

#[test]
fn a_shutdown_ends_the_wait_of_another_thread_which_still_gets_every_completion() {
    for backend in backends() {
        let provider = &Provider::start(backend);
        let (_far, near) = pair();
        let (mut buffer, stopped) = ([0; 4], AtomicBool::new(false));
        provider.receive(raw(&near), &mut buffer, 0);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let (_, completions) = provider.process(4, -1);
                assert!(stopped.load(Ordering::Relaxed));
                completions
            });
            stopped.store(true, Ordering::Relaxed);
            done(fp_provider_shutdown(provider.0));
            assert_eq!(waiting.join().unwrap()[0].status, FP_STATUS_CANCELLED);
        });
    }
}
