//! Receives: waiting for data without a buffer, then a request into registered memory.
//!
//! ```text
//!   start ──▶ await data (WSARecv of no bytes) ──▶ request into a slice ──▶ bytes delivered ──▶ await data …
//!                                                   ▲     │ no slice
//!                                                   │     ▼
//!                                                   └── parked
//! ```
//! A request cannot be cancelled, an overlapped receive can: that is one reason to wait by the latter. The other is that a
//! silent socket holds no slice. A receive into memory that is not registered is one overlapped call.

use windows_sys::Win32::Networking::WinSock::{WSAEFAULT, WSAENOBUFS};

use super::socket::{Reading, RioSocket};
use super::tag::Tag;
use super::{NOTE_DATA_IS_THERE, NOTE_NONE, RioDriver};
use crate::backend::windows::{Posted, end_of_data, last_error};
use crate::buffer::ReceiveBuffer;
use crate::error::{Error, ErrorCode};
use crate::operation::{OpId, OpKind};
use crate::proactor::{Core, Work};

/// What became of a request to receive.
enum Requested {
    /// Its completion will come.
    Yes,
    /// It is to be an overlapped call.
    Plain,
    /// It failed.
    Refused(Error),
}

impl RioDriver {
    /// Starts a one-shot receive.
    pub(super) fn receive(&mut self, core: &mut Core<RioSocket>, id: OpId) -> Posted {
        let Some(socket) = core.op(id).map(|op| op.socket) else { return Posted::Queued };
        let registered =
            core.transfer(id).is_some_and(|transfer| self.registry.find(transfer.first.0, transfer.first.1).is_some());
        if registered && self.request_queue(core, socket).is_some() {
            return self.await_data(core, id);
        }
        self.io.receive(core, id)
    }

    /// Waits for data without holding a slice.
    pub(super) fn await_data(&mut self, core: &mut Core<RioSocket>, id: OpId) -> Posted {
        Self::set_reading(core, id, Reading::Awaiting);
        self.io.await_data(core, id)
    }

    /// A receive stream that was parked goes on.
    pub(super) fn resume(&mut self, core: &mut Core<RioSocket>, id: OpId) {
        self.receive_available(core, id);
    }

    /// An overlapped call of a receive ended: data was awaited, or received.
    pub(super) fn on_read_end(&mut self, core: &mut Core<RioSocket>, id: OpId, result: Result<u32, Error>) {
        let Some(op) = core.op(id) else { return };
        let (cancelled, socket) = (op.cancelled, op.socket);
        let awaited =
            core.socket_mut(socket).is_some_and(|entry| std::mem::take(&mut entry.state.reading) == Reading::Awaiting);
        match result {
            Err(error) => Self::fail(core, id, error),
            Ok(bytes) if !awaited => self.on_bytes(core, id, bytes),
            // The end was asked for meanwhile: what is there stays in the socket.
            Ok(_) if cancelled => Self::fail(core, id, Error::plain(ErrorCode::Cancelled)),
            Ok(_) => self.receive_available(core, id),
        }
    }

    /// The completion of a request.
    pub(super) fn on_received(&mut self, core: &mut Core<RioSocket>, id: OpId, status: i32, bytes: u32) {
        let Some(socket) = core.op_from_kernel(id).map(|op| op.socket) else { return };
        if let Some(transfer) = core.transfer(id) {
            self.ranges.release(transfer.first.0 as usize);
        }
        if let Some(entry) = core.socket_mut(socket) {
            entry.state.reading = Reading::Plain;
        }
        match status {
            0 => self.on_bytes(core, id, bytes),
            code => Self::fail(core, id, Error::from_os(code)),
        }
    }

    /// Receives what is there. A stream takes a slice for it, or parks if there is none.
    fn receive_available(&mut self, core: &mut Core<RioSocket>, id: OpId) {
        let Some(op) = core.op_mut(id) else { return };
        if op.kind == OpKind::ReceiveStream {
            op.note = NOTE_NONE;
            let Some(slot) = core.pool.acquire() else {
                if let Some(op) = core.op_mut(id) {
                    op.note = NOTE_DATA_IS_THERE;
                }
                return core.park(id);
            };
            if let Some(op) = core.op_mut(id) {
                op.work = Work::Receive(ReceiveBuffer::from(slot));
            }
        }
        let posted = match self.request_receive(core, id) {
            Requested::Yes => return,
            Requested::Refused(error) => Posted::Failed(error),
            Requested::Plain => self.io.receive(core, id),
        };
        self.note_end(id, posted);
    }

    fn request_receive(&mut self, core: &mut Core<RioSocket>, id: OpId) -> Requested {
        let Some(socket) = core.op(id).map(|op| op.socket) else { return Requested::Yes };
        let Some(queue) = self.request_queue(core, socket) else { return Requested::Plain };
        let Some((start, bytes)) = core.transfer(id).map(|transfer| transfer.first) else { return Requested::Plain };
        let Some(slice) = self.registry.find(start, bytes) else { return Requested::Plain };
        if !self.ranges.claim(start as usize, bytes) {
            return Requested::Plain;
        }
        let context = std::ptr::without_provenance(Tag::Receive(id).bits() as usize);
        // SAFETY: the queue is open and has room for the one receive of its socket; the range is registered, kept by the
        // operation, and claimed, so that no other request names it.
        if unsafe { (self.functions.receive)(queue, &raw const slice, 1, 0, context) } == 0 {
            let code = last_error();
            tracing::debug!(error = code, "a receive was refused by its request queue");
            self.ranges.release(start as usize);
            return match code {
                // No memory for requests, or none for this range: an ordinary receive may have more luck, or tell why not.
                WSAENOBUFS | WSAEFAULT => Requested::Plain,
                code => Requested::Refused(Error::from_os(code)),
            };
        }
        self.outstanding += 1;
        self.figures.counts.requests += 1;
        Self::set_reading(core, id, Reading::Requested);
        Requested::Yes
    }

    fn on_bytes(&mut self, core: &mut Core<RioSocket>, id: OpId, bytes: u32) {
        let Some(op) = core.op(id) else { return };
        if bytes == 0 {
            let result = end_of_data(core, id);
            if op.kind == OpKind::ReceiveStream {
                core.take_stream_buffer(id);
            }
            return core.finish(id, result);
        }
        if op.kind == OpKind::Receive {
            return core.received(id, bytes);
        }
        let lease = core.take_stream_buffer(id).and_then(|mut buffer| {
            buffer.set_filled(bytes as usize);
            buffer.into_lease()
        });
        debug_assert!(lease.is_some(), "a stream receives into a slot of its pool");
        if let Some(lease) = lease {
            core.deliver_bytes(id, lease);
        }
        if core.op(id).is_some_and(|op| op.cancelled) {
            return core.finish(id, Err(Error::plain(ErrorCode::Cancelled)));
        }
        let posted = self.await_data(core, id);
        self.note_end(id, posted);
    }

    fn set_reading(core: &mut Core<RioSocket>, id: OpId, reading: Reading) {
        let socket = core.op(id).map(|op| op.socket);
        if let Some(entry) = socket.and_then(|socket| core.socket_mut(socket)) {
            entry.state.reading = reading;
        }
    }
}
