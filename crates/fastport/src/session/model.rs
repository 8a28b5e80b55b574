//! A session against a model, under any sequence of events: from a fuzzer, or from a property test.
//!
//! A script of bytes says what happens: messages are queued, sends begin and complete, bytes arrive, the peer ends or
//! breaks the connection, somebody closes, time passes. The model knows what a session promises and not how it is kept:
//!
//! - what was admitted is sent, in full, with one send at a time, and nothing is admitted by a session that is not open;
//! - frames are those that a naive reader of the same stream sees, and bad bytes are refused where it refuses them;
//! - the first reason stays; a session that ends sends nothing more, ends its stream at most once, and closes once;
//! - nothing is held in the end.

use std::time::{Duration, Instant};

use bytes::BufMut;
use fastport_io::slab::Key;
use fastport_io::{BufferPool, Error, ErrorCode, Lease, PoolConfig, SendBuffers};

use super::{Action, CloseHow, CloseReason, Flow, Link, Receiver, Session, SessionId};
use crate::error::SendError;
use crate::framer::PacketFramer;
use crate::options::{Overflow, SessionOptions};

/// The largest frame that the model's peer may send.
const MAX_FRAME_BYTES: usize = 600;

/// Plays the script.
///
/// # Panics
/// If the session breaks a promise.
pub(crate) fn check(script: &[u8]) {
    let mut script = Script(script);
    let mut play = Play::begin(&mut script);
    while let Some(step) = script.next() {
        play.step(step, &mut script);
        play.check();
    }
    play.end();
}

struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// The next number; 0 at the end.
    fn number(&mut self) -> usize {
        self.next().map_or(0, usize::from)
    }

    fn bytes(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

struct Play {
    session: Session,
    options: SessionOptions,
    framer: PacketFramer,
    /// For rings and assemblies.
    pool: BufferPool,
    /// For what is received.
    leases: BufferPool,
    now: Instant,
    /// Bytes that were admitted and whose send has not completed.
    admitted: usize,
    in_flight: Option<SendBuffers>,
    /// What was received and is no whole frame yet.
    stream: Vec<u8>,
    peer_has_ended: bool,
    stream_was_ended: bool,
    is_closing: bool,
    reason: Option<CloseReason>,
}

impl Play {
    fn begin(script: &mut Script<'_>) -> Self {
        let kind = script.number();
        let high_water_bytes = 1 + script.number() * 8;
        let options = SessionOptions {
            high_water_bytes,
            low_water_bytes: high_water_bytes / 2,
            limit_bytes: high_water_bytes * 2,
            overflow: if kind & 1 == 0 { Overflow::Close } else { Overflow::Refuse },
            idle_limit: (kind & 2 != 0).then_some(Duration::from_secs(5)),
            ..SessionOptions::default()
        };
        let id = SessionId::new(0, Key { index: 0, generation: 1 });
        let peer = ([127, 0, 0, 1], 1).into();
        let now = Instant::now();
        let link = if kind & 4 == 0 { Link::open(id, peer, now) } else { Link::connecting(id, peer, now) };
        Self {
            session: Session { receiver: Receiver::default(), link },
            options,
            framer: PacketFramer::with_max_frame_bytes(MAX_FRAME_BYTES).expect("within the range"),
            pool: pool(128),
            leases: pool(256),
            now,
            admitted: 0,
            in_flight: None,
            stream: Vec::new(),
            peer_has_ended: false,
            stream_was_ended: false,
            is_closing: false,
            reason: None,
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let link = &mut self.session.link;
        match step % 13 {
            0 => {
                let bytes = 1 + script.number();
                if self.is_admitted(bytes, false) {
                    self.session.link.queue.write(bytes, &self.pool, |ring| ring.put_bytes(7, bytes));
                }
            }
            1 => {
                let bytes = 1 + script.number() * 16;
                if self.is_admitted(bytes, true) {
                    self.session.link.queue.push_shared(vec![7; bytes].into(), &self.pool);
                }
            }
            2 => {
                let bytes = 1 + script.number();
                if let Some(slot) = self.leases.acquire()
                    && self.is_admitted(bytes, false)
                {
                    self.session.link.queue.push_lease(slot.freeze(bytes));
                }
            }
            3 => self.send(),
            4 => self.complete(),
            5 => link.failed(&Error::plain(ErrorCode::ConnectionReset)),
            6 => {
                let count = script.number();
                let part = script.bytes(count).to_vec();
                self.receive(&part);
            }
            7 => {
                self.peer_has_ended = true;
                link.peer_ended();
            }
            8 => {
                let reason = [CloseReason::Requested, CloseReason::Shutdown, CloseReason::HandlerPanic];
                let how = [CloseHow::Drain, CloseHow::AtOnce, CloseHow::Abort];
                let (reason, how) = (reason[script.number() % 3], how[script.number() % 3]);
                link.close(reason, how);
            }
            9 => {
                self.now += Duration::from_millis(100) * script.number() as u32;
                if let Some(again) = link.timer_due(self.now, &self.options) {
                    assert!(again > self.now && link.is_open(), "looks again later, while it is open");
                }
            }
            10 => self.act(script.number() & 1 == 1),
            11 => {
                let was_connecting = link.is_connecting();
                assert_eq!(link.connected(self.now), was_connecting);
            }
            _ => {
                if link.take_congestion_change().is_some() {
                    assert_eq!(link.take_congestion_change(), None, "a change is told once");
                }
            }
        }
    }

    fn is_admitted(&mut self, bytes: usize, is_promised: bool) -> bool {
        let link = &mut self.session.link;
        let was_open = link.is_open();
        let total = self.admitted + bytes;
        let (mark, closes) = match self.options.overflow {
            Overflow::Refuse if !is_promised => (self.options.high_water_bytes, false),
            _ => (self.options.limit_bytes, true),
        };
        let fits = total <= mark || self.admitted == 0;
        let admitted =
            if is_promised { link.admit_promised(bytes, &self.options) } else { link.admit(bytes, &self.options) };
        match admitted {
            Ok(()) => {
                assert!(was_open && fits, "{total} bytes were let in");
                self.admitted = total;
                return true;
            }
            Err(SendError::Full) => {
                assert!(was_open && !fits, "{total} bytes were refused");
                assert_eq!(link.is_ending(), closes);
            }
            Err(SendError::Closed) => assert!(!was_open, "only a session that is not open is closed"),
            Err(other) => panic!("a limit of the queue says {other:?}"),
        }
        false
    }

    fn send(&mut self) {
        let link = &mut self.session.link;
        let may_send = (link.is_open() || link.drain_stage().is_some()) && !self.stream_was_ended;
        let Some(buffers) = link.next_send() else {
            assert!(!may_send || self.admitted == 0 || self.in_flight.is_some(), "bytes wait, and nothing is sent");
            return;
        };
        assert!(may_send && self.in_flight.is_none(), "one send at a time, and none behind the end");
        assert!((1..=self.admitted).contains(&buffers.len()), "{} of {} bytes", buffers.len(), self.admitted);
        self.in_flight = Some(buffers);
    }

    fn complete(&mut self) {
        let Some(buffers) = self.in_flight.take() else { return };
        let link = &mut self.session.link;
        if link.is_ending() {
            return assert_eq!(link.sent(), None);
        }
        assert_eq!(link.sent(), Some(buffers.len()), "a completion is for the bytes of its send");
        self.admitted -= buffers.len();
        if link.take_writable(&self.options) {
            assert!(link.is_open() && self.admitted <= self.options.low_water_bytes);
            assert!(!link.take_writable(&self.options), "it is told once");
        }
    }

    fn receive(&mut self, part: &[u8]) {
        let link = &mut self.session.link;
        let Some(lease) = self.leases.acquire().filter(|_| !part.is_empty() && !self.peer_has_ended) else { return };
        let lease = filled(lease, part);
        assert_eq!(link.received(part.len(), self.now), link.is_open());
        if !link.is_open() {
            return;
        }
        self.stream.extend_from_slice(part);
        let (expected, is_valid) = read_frames(&mut self.stream);
        let mut frames = Vec::new();
        let fed = self.session.receiver.feed(&self.framer, &self.pool, &lease, |frame, _| {
            frames.push(frame.to_vec());
            Flow::Continue
        });
        assert_eq!(frames, expected);
        assert_eq!(fed.is_ok(), is_valid, "{fed:?}");
        if is_valid {
            assert_eq!(self.session.receiver.has_partial_frame(), !self.stream.is_empty());
        } else {
            self.session.link.close(CloseReason::Protocol, CloseHow::AtOnce);
        }
    }

    /// Carries out what the session wants.
    fn act(&mut self, is_close_refused: bool) {
        while let Some(action) = self.session.link.next_action() {
            match action {
                Action::ShutDownWrite => {
                    assert!(self.admitted == 0 && !self.stream_was_ended, "the stream ends once, behind its last byte");
                    self.stream_was_ended = true;
                }
                Action::Close(mode) => {
                    assert!(!self.is_closing, "the socket is closed once");
                    if is_close_refused {
                        return self.session.link.close_was_refused(mode);
                    }
                    self.is_closing = true;
                }
            }
        }
    }

    /// What holds after every step.
    fn check(&mut self) {
        let link = &self.session.link;
        if link.is_ending() {
            self.admitted = 0;
        }
        assert_eq!(link.queue.queued(), self.admitted);
        assert_eq!(link.reason().is_none(), link.is_open() || link.is_connecting(), "who ends has a reason");
        assert!(self.reason.is_none_or(|first| link.reason() == Some(first)), "the first reason stays");
        self.reason = link.reason();
        assert!(!self.is_closing || link.is_ending());
    }

    fn end(self) {
        let Self { session, in_flight, pool, leases, .. } = self;
        drop((session, in_flight));
        assert_eq!((pool.stats().allocated, leases.stats().allocated), (0, 0), "something is still held");
    }
}

fn pool(slot_bytes: usize) -> BufferPool {
    BufferPool::new(&PoolConfig { slot_bytes, initial_slots: 8, max_slots: 8 }).expect("a small pool")
}

fn filled(mut slot: fastport_io::PoolBuffer, bytes: &[u8]) -> Lease {
    slot[..bytes.len()].copy_from_slice(bytes);
    slot.freeze(bytes.len())
}

/// Takes the whole frames off the front; false if what follows is none.
fn read_frames(stream: &mut Vec<u8>) -> (Vec<Vec<u8>>, bool) {
    let mut frames = Vec::new();
    // The size is judged with the whole header.
    while let Some(header) = stream.first_chunk::<4>() {
        let size = usize::from(u16::from_be_bytes([header[0], header[1]]));
        if !(4..=MAX_FRAME_BYTES).contains(&size) {
            return (frames, false);
        }
        if stream.len() < size {
            break;
        }
        frames.push(stream.drain(..size).collect());
    }
    (frames, true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_sequence_of_events_keeps_the_promises(script in proptest::collection::vec(any::<u8>(), 0..300)) {
            super::check(&script);
        }

        #[test]
        fn short_numbers_make_long_lives(script in proptest::collection::vec(0u8..13, 0..300)) {
            super::check(&script);
        }
    }
}
