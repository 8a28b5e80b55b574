//! The byte ring against a queue of bytes, over memory of its own and over a pool slot.
//!
//! Input: the capacity, then steps of two bytes each, what and how much.
#![no_main]

use std::collections::VecDeque;

use bytes::BufMut;
use fastport_io::{BufferPool, ByteRing, PoolConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [capacity, steps @ ..] = input else { return };
    play(ByteRing::with_capacity(1 + usize::from(*capacity)), steps);
    let config = PoolConfig { slot_bytes: 64 + usize::from(*capacity), initial_slots: 1, max_slots: 1 };
    let pool = BufferPool::new(&config).unwrap();
    play(ByteRing::over(pool.acquire().unwrap()), steps);
    assert_eq!(pool.stats().allocated, 0);
});

fn play(mut ring: ByteRing, steps: &[u8]) {
    let capacity = ring.capacity();
    let mut model: VecDeque<u8> = VecDeque::new();
    let mut next = 0_u8;
    // What a send in flight refers to; it outlives the ring.
    let mut in_flight = None;
    for step in steps.chunks_exact(2) {
        let count = usize::from(step[1]);
        let mut fresh = || -> Vec<u8> {
            let bytes = (0..count).map(|at| next.wrapping_add(at as u8)).collect();
            next = next.wrapping_add(count as u8);
            bytes
        };
        match step[0] % 8 {
            0 => {
                let bytes = fresh();
                let taken = ring.write(&bytes);
                assert_eq!(taken, count.min(capacity - model.len()));
                model.extend(&bytes[..taken]);
            }
            1 | 2 => {
                let bytes = fresh();
                let Some(mut reservation) = ring.reserve(count) else {
                    assert!(count > capacity - model.len());
                    continue;
                };
                if step[0] % 8 == 1 {
                    reservation.put_slice(&bytes);
                } else {
                    // Through `chunk_mut`, as an encoder does.
                    bytes.iter().for_each(|&byte| reservation.put_u8(byte));
                }
                assert_eq!(reservation.commit(), count);
                model.extend(bytes);
            }
            3 => {
                if let Some(mut reservation) = ring.reserve(count) {
                    reservation.put_bytes(0xEE, count / 2);
                }
            }
            4 => {
                let mut target = vec![0; count];
                let popped = ring.pop(&mut target);
                assert_eq!(popped, count.min(model.len()));
                assert!(model.drain(..popped).eq(target[..popped].iter().copied()));
            }
            5 => {
                let mut target = vec![0; count];
                let peeked = ring.peek(&mut target);
                assert_eq!(peeked, count.min(model.len()));
                assert!(model.iter().take(peeked).eq(&target[..peeked]));
            }
            6 => {
                let consumed = count.min(model.len());
                ring.consume(consumed);
                model.drain(..consumed);
            }
            _ => {
                in_flight = ring.send_buffers();
                assert_eq!(in_flight.as_ref().map_or(0, |buffers| buffers.len()), model.len());
            }
        }
        let (first, second) = ring.readable();
        assert!(first.iter().chain(second).eq(&model));
        assert_eq!((ring.len(), ring.free(), ring.is_empty()), (model.len(), capacity - model.len(), model.is_empty()));
    }
    drop(ring);
    drop(in_flight);
}
