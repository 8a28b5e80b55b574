//! What drivers report, and the completions that come of it.

use super::core::Core;
use super::op::{Op, OpState, Work};
use crate::buffer::Lease;
use crate::error::{Error, ErrorCode, Result};
use crate::operation::{Completion, OpId, OpKind, Payload, SocketId};
use crate::socket::Socket;

impl<S: Default> Core<S> {
    /// Bytes of a receive stream, which goes on.
    #[inline]
    pub(crate) fn deliver_bytes(&mut self, op: OpId, lease: Lease) {
        let bytes = lease.len() as u32;
        self.counters.bytes_received += u64::from(bytes);
        self.deliver(op, Ok(bytes), Payload::Lease(lease));
    }

    /// A connection of an accept stream, which goes on.
    pub(crate) fn deliver_socket(&mut self, op: OpId, socket: Socket) {
        self.deliver(op, Ok(0), Payload::Socket(socket));
    }

    fn deliver(&mut self, id: OpId, result: Result<u32>, payload: Payload) {
        let Some(op) = self.ops.get_mut(id.0) else { return };
        debug_assert!(op.kind.is_stream(), "only streams complete more than once");
        op.place_in_line = 0;
        self.ready.push_back(Completion { context: op.context, op: id, kind: op.kind, more: true, result, payload });
    }

    /// A one-shot accept got a connection.
    pub(crate) fn finish_accept(&mut self, op: OpId, socket: Socket) {
        self.finish_with(op, Ok(0), Payload::Socket(socket));
    }

    /// The final completion of an operation. Of a send: all its bytes are out, or it failed.
    pub(crate) fn finish(&mut self, op: OpId, result: Result<u32>) {
        self.finish_with(op, result, Payload::None);
    }

    /// `bytes` more bytes of a send were taken by the system. Finishes the send when that was all, and says so.
    #[inline]
    pub(crate) fn sent(&mut self, id: OpId, bytes: u32) -> bool {
        let Some(op) = self.ops.get_mut(id.0) else { return true };
        self.counters.bytes_sent += u64::from(bytes);
        op.progress += bytes;
        let (progress, total) = (op.progress, op.length);
        debug_assert!(progress <= total, "the system took more than it was given");
        if progress < total {
            return false;
        }
        self.finish(id, Ok(progress));
        true
    }

    /// True if `bytes` more bytes would make a send whole.
    pub(crate) fn sends_rest(&self, id: OpId, bytes: u32) -> bool {
        self.ops.get(id.0).is_some_and(|op| op.progress + bytes == op.length)
    }

    /// A one-shot receive got `bytes` bytes.
    pub(crate) fn received(&mut self, id: OpId, bytes: u32) {
        self.counters.bytes_received += u64::from(bytes);
        if let Some(Op { work: Work::Receive(buffer), .. }) = self.ops.get_mut(id.0) {
            buffer.set_filled(bytes as usize);
        }
        self.finish(id, Ok(bytes));
    }

    /// A receive stream found no pool buffer. The driver has nothing of it in flight; it is started again when there are
    /// buffers, in the order of parking. One that tries again in vain keeps its place in line.
    pub(crate) fn park(&mut self, id: OpId) {
        let Some(op) = self.ops.get_mut(id.0) else { return };
        debug_assert_eq!(op.state, OpState::Started);
        if op.cancelled {
            return self.finish(id, Err(Error::plain(ErrorCode::Cancelled)));
        }
        op.state = OpState::Parked;
        if op.place_in_line == 0 {
            self.counters.buffer_waits += 1;
            op.place_in_line = self.counters.buffer_waits;
            return self.parked.push_back(id);
        }
        let place = op.place_in_line;
        let is_before = |other: &OpId| self.ops.get(other.0).is_none_or(|other| other.place_in_line < place);
        // Few steps: only those that tried in the same round can stand before it.
        let position = self.parked.iter().take_while(|other| is_before(other)).count();
        self.parked.insert(position, id);
    }

    fn finish_with(&mut self, id: OpId, result: Result<u32>, payload: Payload) {
        let Some(op) = self.ops.remove(id.0) else {
            debug_assert!(false, "an operation was finished twice");
            self.counters.stale += 1;
            return;
        };
        let result = match result {
            Ok(1..) => result,
            result => self.note_end_of_connection(&op, result),
        };
        if result.as_ref().is_err_and(|error| !error.is_cancelled()) {
            self.counters.errors += 1;
        }
        if op.kind == OpKind::Timeout {
            self.deadlines.note_finished();
        } else if !op.kind.is_stream() {
            self.latency.record(self.now_ns.saturating_sub(op.submitted_ns));
        }
        let payload = match op.work {
            // A stream's buffer is the pool's; only that of a one-shot receive goes back to its owner.
            Work::Receive(buffer) if op.kind == OpKind::Receive => Payload::Buffer(buffer),
            Work::Region { region, .. } => {
                self.regions.end_use(region);
                payload
            }
            _ => payload,
        };
        if !matches!(op.kind, OpKind::Timeout | OpKind::Close) {
            self.leave_lane(op.socket, op.kind, id.0.index, op.next);
        }
        self.ready_finals += 1;
        self.ready.push_back(Completion { context: op.context, op: id, kind: op.kind, more: false, result, payload });
    }

    /// Of the end of a transfer: keeps an error that ended the connection, and tells it in place of the end of the peer's
    /// data.
    fn note_end_of_connection(&mut self, op: &Op, result: Result<u32>) -> Result<u32> {
        if !matches!(op.kind, OpKind::Send | OpKind::Receive | OpKind::ReceiveStream) {
            return result;
        }
        if let Err(error) = &result {
            self.note_failure(op.socket, error);
            return result;
        }
        let failure = self.sockets.get(op.socket.0).and_then(|entry| entry.failure);
        failure.map_or(result, |os_code| Err(Error::from_os(os_code)))
    }

    /// A system tells an error that ended a connection once, to whichever direction asks first; after that a receive
    /// returns 0, which would look like the end of the peer's data. So the error is kept, to be told again.
    pub(super) fn note_failure(&mut self, socket: SocketId, error: &Error) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        if !error.ends_connection() || entry.failure.is_some() {
            return;
        }
        entry.failure = Some(error.os_code());
    }

    /// A send that needed no operation: the system took its bytes at once.
    #[inline]
    pub(super) fn count_sent_at_once(&mut self, bytes: usize) {
        self.counters.requests += 1;
        self.counters.bytes_sent += bytes as u64;
        self.latency.record(0);
    }

    /// A send that failed before it was an operation.
    #[cold]
    pub(super) fn count_failed_at_once(&mut self, socket: SocketId, error: &Error) {
        self.counters.requests += 1;
        self.counters.done_at_once += 1;
        self.counters.errors += 1;
        self.note_failure(socket, error);
    }

    /// The completion of such a send, where one is asked for.
    #[inline]
    pub(super) fn complete_send(&mut self, context: u64, bytes: u32) -> Result<OpId> {
        let op = OpId(self.ops.spent_key()?);
        self.ready_finals += 1;
        let (kind, result, payload) = (OpKind::Send, Ok(bytes), Payload::None);
        self.ready.push_back(Completion { context, op, kind, more: false, result, payload });
        Ok(op)
    }
}
