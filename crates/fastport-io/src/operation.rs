//! Operations and what comes back from them.

use std::collections::VecDeque;
use std::net::Shutdown;

use crate::buffer::{Lease, ReceiveBuffer};
use crate::error::{Error, ErrorCode, Result};
use crate::slab::Key;
use crate::socket::Socket;

macro_rules! key_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub struct $name(pub(crate) Key);

        impl $name {
            /// The id as 64 bits, never 0: index in the high half, generation in the low half.
            pub const fn to_bits(self) -> u64 {
                self.0.to_bits()
            }

            /// The inverse of `to_bits`. Any number may be given: one that was never an id, or is no more, is
            /// answered with an error by whatever it is handed to.
            pub const fn from_bits(bits: u64) -> Self {
                Self(Key::from_bits(bits))
            }
        }
    };
}

key_type! {
    /// An operation of one provider. Dead once its final completion was delivered.
    OpId
}
key_type! {
    /// A socket that is attached to one provider. Dead once it was closed or detached.
    SocketId
}
key_type! {
    /// A region of memory that is registered with one provider. Dead once it was unregistered.
    RegionId
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpKind {
    /// Accept one connection.
    Accept,
    /// Accept connections until cancelled.
    AcceptStream,
    /// Connect a socket.
    Connect,
    /// Send one or two buffers whole.
    Send,
    /// Receive once into a given buffer.
    Receive,
    /// Receive into pool buffers until the end of the stream.
    ReceiveStream,
    /// Complete at a given time.
    Timeout,
    /// Close a socket after its last operation.
    Close,
    /// Attach a socket that another thread handed over; see [`crate::shared::Remote::attach`].
    Attach,
}

impl OpKind {
    /// True for operations that complete many times.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::AcceptStream | Self::ReceiveStream)
    }
}

/// One send of [`send_at_once`](crate::AsyncIoProvider::send_at_once), and what came of it. What cannot be tried has no bytes
/// any more after the call.
#[derive(Debug)]
pub struct SendAtOnce<'a> {
    /// The socket. It stands in one entry of a call at most.
    pub socket: SocketId,
    /// The bytes to be sent; if there are none, the entry is passed over.
    pub first: &'a [u8],
    /// The bytes behind them; often none.
    pub second: &'a [u8],
    /// How many bytes the system has taken, or why the send failed. Written by the call.
    pub taken: Result<usize>,
}

impl<'a> SendAtOnce<'a> {
    /// An entry that is passed over.
    pub const NOTHING: Self = Self::new(SocketId::from_bits(0), &[], &[]);

    /// A send that has not been tried.
    #[inline]
    pub const fn new(socket: SocketId, first: &'a [u8], second: &'a [u8]) -> Self {
        Self { socket, first, second, taken: Ok(0) }
    }
}

/// What a completion hands over.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Payload {
    /// Nothing.
    #[default]
    None,
    /// Bytes of a receive stream. Dropping the lease gives the buffer back.
    Lease(Lease),
    /// The buffer of a one-shot receive, filled with as many bytes as the result says.
    Buffer(ReceiveBuffer),
    /// A connection that was accepted, not yet attached to any provider; or a socket that could not be attached.
    /// Dropping it closes it.
    Socket(Socket),
    /// The id of a socket that another thread handed over.
    Attached(SocketId),
}

/// The outcome of an operation, or of one step of a stream.
#[derive(Debug)]
pub struct Completion {
    /// The number that the caller gave with the operation.
    pub context: u64,
    /// The operation; of a request from another thread that made none, an id that is never alive.
    pub op: OpId,
    /// Its kind.
    pub kind: OpKind,
    /// True if the operation goes on and more completions follow; false for its final one.
    pub more: bool,
    /// Bytes transferred (0 for kinds that transfer none), or why it failed. A receive of 0 bytes is the end of the
    /// peer's data, and nothing else is.
    pub result: Result<u32>,
    /// What the operation produced.
    pub payload: Payload,
}

/// A completion's outcome in one word, for callers in other languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// It was done.
    Success = 0,
    /// It failed.
    Error = 1,
    /// It was cancelled before it had an effect.
    Cancelled = 2,
    /// Its time ran out: the system has given the peer up.
    Timeout = 3,
}

impl Status {
    /// The outcome of which this is the result.
    pub fn of<T>(result: &Result<T>) -> Self {
        match result {
            Ok(_) => Self::Success,
            Err(error) if error.is_cancelled() => Self::Cancelled,
            Err(error) if matches!(error.code(), ErrorCode::ConnectionTimeout | ErrorCode::Timeout) => Self::Timeout,
            Err(_) => Self::Error,
        }
    }
}

impl Completion {
    /// The outcome in one word.
    pub fn status(&self) -> Status {
        Status::of(&self.result)
    }

    /// The error, if it failed.
    pub fn error(&self) -> Option<&Error> {
        self.result.as_ref().err()
    }
}

/// How a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// Like `close(2)`: what the system has accepted is still delivered, then the peer sees the end of the stream.
    /// (If received bytes were never read, TCP tells the peer by a reset.)
    Graceful,
    /// The connection is reset and what the system still holds is thrown away.
    Abortive,
}

/// Which direction of a connection [`crate::AsyncIoProvider::shut_down_socket`] ends.
pub type Direction = Shutdown;

/// The array that `process_completions` fills. It never grows: what does not fit stays with the provider.
#[derive(Debug)]
pub struct CompletionBatch {
    entries: VecDeque<Completion>,
    limit: usize,
}

impl CompletionBatch {
    /// Room for `limit` completions.
    ///
    /// # Panics
    /// If `limit` is 0.
    pub fn with_capacity(limit: usize) -> Self {
        assert!(limit > 0, "a batch has room for at least one completion");
        Self { entries: VecDeque::with_capacity(limit), limit }
    }

    /// How many it can hold.
    pub const fn capacity(&self) -> usize {
        self.limit
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes all completions out, oldest first.
    pub fn drain(&mut self) -> std::collections::vec_deque::Drain<'_, Completion> {
        self.entries.drain(..)
    }

    /// Looks at them, oldest first.
    pub fn iter(&self) -> std::collections::vec_deque::Iter<'_, Completion> {
        self.entries.iter()
    }

    /// The same, to take payloads out of them.
    pub fn iter_mut(&mut self) -> std::collections::vec_deque::IterMut<'_, Completion> {
        self.entries.iter_mut()
    }

    /// Drops all completions, and with them what was not taken out of them.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn room(&self) -> usize {
        self.limit - self.entries.len()
    }

    pub(crate) fn push(&mut self, completion: Completion) {
        debug_assert!(self.room() > 0, "the provider asks for room first");
        self.entries.push_back(completion);
    }

    /// Takes all of `ready` at once, if the batch is empty and has room for them; `ready` gets the batch's memory.
    pub(crate) fn take_all(&mut self, ready: &mut VecDeque<Completion>) -> bool {
        let fits = self.entries.is_empty() && ready.len() <= self.limit;
        if fits {
            std::mem::swap(&mut self.entries, ready);
        }
        fits
    }
}

impl<'a> IntoIterator for &'a mut CompletionBatch {
    type Item = &'a mut Completion;
    type IntoIter = std::collections::vec_deque::IterMut<'a, Completion>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<'a> IntoIterator for &'a CompletionBatch {
    type Item = &'a Completion;
    type IntoIter = std::collections::vec_deque::Iter<'a, Completion>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_the_system_has_given_up_ran_out_of_time() {
        for (os_code, status) in [
            (libc::ETIMEDOUT, Status::Timeout),
            (libc::ECANCELED, Status::Cancelled),
            (libc::ECONNRESET, Status::Error),
        ] {
            assert_eq!(Status::of::<u32>(&Err(Error::from_os(os_code))), status);
        }
        assert_eq!(Status::of(&Ok(0)), Status::Success);
    }
}
