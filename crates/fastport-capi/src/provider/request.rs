//! What other threads ask the engine to do.

use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::time::Instant;

use fastport_io::RegionId;

use super::completion::{FP_KIND_ACCEPT, FP_KIND_CONNECT, FP_KIND_RECEIVE, FP_KIND_SEND, FP_KIND_TIMEOUT, Subject};
use super::socket::fp_socket;

/// An operation on its way to the engine, or a wish about one.
pub(super) struct Request {
    /// Its id; of a cancellation, that of the operation to cancel.
    pub(super) operation: u32,
    pub(super) context: u64,
    pub(super) socket: fp_socket,
    pub(super) work: Work,
}

/// What is to be done. Pointers are the caller's, who keeps what they point to until the completion.
pub(super) enum Work {
    Send {
        start: *const u8,
        bytes: u32,
    },
    Receive {
        start: *mut u8,
        bytes: u32,
    },
    SendRegistered(Range),
    ReceiveRegistered(Range),
    Accept(Box<AcceptTarget>),
    Connect(Box<SocketAddr>),
    /// The deadline, so that time spent on the way counts.
    Timeout(Instant),
    Cancel,
}

/// A part of a registered buffer.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) region: RegionId,
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

/// Where an accepted connection is written, beside the completion.
pub(super) struct AcceptTarget {
    /// NULL if the completion is enough.
    pub(super) socket: *mut fp_socket,
    /// NULL if nobody wants to know.
    pub(super) address: *mut u8,
    pub(super) address_bytes: u32,
}

// SAFETY: the pointers are the caller's, who vouches that they may be used by whichever thread processes completions.
unsafe impl Send for Request {}

impl Request {
    pub(super) const fn subject(&self, socket_context: u64) -> Subject {
        let kind = match self.work {
            Work::Send { .. } | Work::SendRegistered(_) => FP_KIND_SEND,
            Work::Receive { .. } | Work::ReceiveRegistered(_) => FP_KIND_RECEIVE,
            Work::Accept(_) => FP_KIND_ACCEPT,
            Work::Connect(_) => FP_KIND_CONNECT,
            Work::Timeout(_) | Work::Cancel => FP_KIND_TIMEOUT,
        };
        Subject { context: self.context, socket_context, socket: self.socket, operation: self.operation, kind }
    }
}

/// Hashes ids and descriptors, which nobody chooses to collide: one multiplication instead of a keyed hash.
#[derive(Default)]
pub(super) struct NumberHasher(u64);

pub(super) type NumberMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<NumberHasher>>;

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio in 64 bits spreads neighbours; the table looks at the highest and the lowest bits.
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
    }
}
