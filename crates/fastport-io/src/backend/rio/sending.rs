//! Sends by requests: deferred, and committed once for each socket and batch.
//!
//! | memory | way |
//! |---|---|
//! | registered (pool slots, byte rings over them, leases, regions) | one request for each part, in place |
//! | other, or in use by another request, and small | copied to a registered slot: one request |
//! | other, or in use by another request, and large | `WSASend`, which spares the copy |

use windows_sys::Win32::Networking::WinSock::{
    RIO_BUF, RIO_MSG_COMMIT_ONLY, RIO_MSG_DEFER, RIO_RQ, WSAECONNABORTED, WSAEFAULT, WSAENOBUFS,
};

use super::RioDriver;
use super::socket::{RequestQueue, RioSocket};
use super::tag::Tag;
use crate::backend::windows::{Posted, last_error};
use crate::error::{Error, ErrorCode};
use crate::operation::OpId;
use crate::proactor::{Core, Transfer};

/// The parts of a send that go out by requests.
#[derive(Default)]
struct Parts {
    slices: [RIO_BUF; 2],
    addresses: [(usize, usize); 2],
    count: usize,
}

impl Parts {
    fn push(&mut self, slice: RIO_BUF, address: (usize, usize)) {
        self.slices[self.count] = slice;
        self.addresses[self.count] = address;
        self.count += 1;
    }
}

impl RioDriver {
    /// Sends what an operation has still to send.
    pub(super) fn send(&mut self, core: &mut Core<RioSocket>, id: OpId) -> Posted {
        let Some(socket) = core.op(id).map(|op| op.socket) else { return Posted::Queued };
        let parts = self.request_queue(core, socket).and_then(|queue| {
            let transfer = core.transfer(id)?;
            let entry = core.socket_mut(socket)?;
            let parts = self.in_place(&transfer).or_else(|| self.copied(&transfer, &mut entry.state))?;
            Some((queue, parts))
        });
        let refused = match parts {
            Some((queue, parts)) => self.request_send(core, id, queue, &parts).err(),
            None => Some(WSAENOBUFS),
        };
        match refused {
            None => Posted::Queued,
            // No memory for requests, or none for this range: an ordinary send may have more luck, or tell why not.
            Some(WSAENOBUFS | WSAEFAULT) => {
                self.figures.counts.plain_sends += 1;
                self.io.send(core, id)
            }
            Some(code) => Posted::Failed(Error::from_os(code)),
        }
    }

    /// The parts of a send all of whose memory is registered and in no other request.
    fn in_place(&mut self, transfer: &Transfer) -> Option<Parts> {
        let mut parts = Parts::default();
        for (start, bytes) in [Some(transfer.first), transfer.second].into_iter().flatten() {
            parts.push(self.registry.find(start, bytes)?, (start as usize, bytes));
        }
        for claimed in 0..parts.count {
            let (start, bytes) = parts.addresses[claimed];
            if !self.ranges.claim(start, bytes) {
                parts.addresses[..claimed].iter().for_each(|&(start, _)| self.ranges.release(start));
                return None;
            }
        }
        Some(parts)
    }

    /// Copies a small send to a registered slot, which the socket keeps until its completion.
    fn copied(&mut self, transfer: &Transfer, state: &mut RioSocket) -> Option<Parts> {
        let pieces = [Some(transfer.first), transfer.second];
        let bytes: usize = pieces.iter().flatten().map(|piece| piece.1).sum();
        if bytes > self.copies.slot_bytes() {
            return None;
        }
        let mut slot = self.copies.acquire()?;
        let mut filled = 0;
        for (start, bytes) in pieces.into_iter().flatten() {
            // SAFETY: the operation keeps the piece alive and nobody writes to it; a fresh slot overlaps with nothing.
            let piece = unsafe { std::slice::from_raw_parts(start.cast_const(), bytes) };
            slot[filled..filled + bytes].copy_from_slice(piece);
            filled += bytes;
        }
        let start = slot.as_ptr().as_ptr();
        let mut parts = Parts::default();
        parts.push(self.registry.find(start, bytes)?, (start as usize, bytes));
        let claimed = self.ranges.claim(start as usize, bytes);
        debug_assert!(claimed, "a slot that was just acquired is in no request");
        state.sending.copy = Some(slot);
        self.figures.counts.copies += 1;
        Some(parts)
    }

    /// Hands the parts over, to be committed with the batch.
    ///
    /// # Errors
    /// The code of the refusal if not even the first was taken. If the second is refused, its bytes go out when the first
    /// part's completion has come.
    fn request_send(&mut self, core: &mut Core<RioSocket>, id: OpId, queue: RIO_RQ, parts: &Parts) -> Result<(), i32> {
        let mut refusal = 0;
        let mut accepted = 0;
        for (part, slice) in parts.slices[..parts.count].iter().enumerate() {
            let context = std::ptr::without_provenance(Tag::Send(id, part as u8).bits() as usize);
            // SAFETY: the queue is open and has room for both parts of the one send of its socket; the range is registered,
            // kept by the operation or its copy, and claimed, so that no other request names it.
            if unsafe { (self.functions.send)(queue, slice, 1, RIO_MSG_DEFER, context) } == 0 {
                refusal = last_error();
                break;
            }
            accepted += 1;
        }
        parts.addresses[accepted..parts.count].iter().for_each(|&(start, _)| self.ranges.release(start));
        let Some(socket) = core.op(id).map(|op| op.socket) else { return Ok(()) };
        let Some(entry) = core.socket_mut(socket) else { return Ok(()) };
        if accepted == 0 {
            tracing::debug!(error = refusal, "a send was refused by its request queue");
            entry.state.sending.copy = None;
            return Err(refusal);
        }
        let sending = &mut entry.state.sending;
        sending.outstanding = accepted as u8;
        sending.parts = parts.addresses;
        self.outstanding += accepted;
        self.figures.counts.requests += accepted as u64;
        self.deferred += 1;
        if !std::mem::replace(&mut entry.state.uncommitted, true) {
            self.uncommitted.push(socket);
        }
        Ok(())
    }

    /// Lets deferred sends go, by one call for each socket. Returns the number of sends.
    pub(super) fn commit(&mut self, core: &mut Core<RioSocket>) -> usize {
        if self.uncommitted.is_empty() {
            return 0;
        }
        self.figures.counts.flushes += 1;
        let mut sockets = std::mem::take(&mut self.uncommitted);
        for id in sockets.drain(..) {
            let Some(entry) = core.socket_mut(id) else { continue };
            let RequestQueue::Open(queue) = entry.state.queue else { continue };
            if !std::mem::take(&mut entry.state.uncommitted) {
                continue;
            }
            self.figures.counts.commits += 1;
            let nothing = std::ptr::null();
            // SAFETY: the queue is open; a commit has no buffer and no context.
            if unsafe { (self.functions.send)(queue, nothing, 0, RIO_MSG_COMMIT_ONLY, std::ptr::null()) } == 0 {
                let error = Error::from_os(last_error());
                tracing::warn!(%error, ?id, "deferred sends cannot be committed; their connection is given up");
                self.cancelled.push_back(id);
            }
        }
        self.uncommitted = sockets;
        std::mem::take(&mut self.deferred)
    }

    /// The completion of a part. The operation goes on when it was the last one outstanding: until then its memory is
    /// the system's.
    pub(super) fn on_part_sent(&mut self, core: &mut Core<RioSocket>, id: OpId, part: u8, status: i32, bytes: u32) {
        let Some(socket) = core.op_from_kernel(id).map(|op| op.socket) else { return };
        let Some(entry) = core.socket_mut(socket) else { return };
        let sending = &mut entry.state.sending;
        let (start, length) = sending.parts[part as usize];
        self.ranges.release(start);
        sending.outstanding -= 1;
        sending.bytes += bytes;
        let behind_a_gap = part > 0 && sending.is_short;
        if status != 0 {
            sending.failure.get_or_insert(status);
        } else if behind_a_gap || (sending.outstanding > 0 && (bytes as usize) < length) {
            sending.failure = Some(WSAECONNABORTED);
        }
        sending.is_short |= (bytes as usize) < length;
        if sending.outstanding == 0 {
            let sent = std::mem::take(sending);
            self.on_sent(core, id, sent.failure.map_or(Ok(sent.bytes), |code| Err(Error::from_os(code))));
        }
    }

    /// A send ended, whichever way it went: all bytes were taken, or a part, or it failed.
    pub(super) fn on_sent(&mut self, core: &mut Core<RioSocket>, id: OpId, result: Result<u32, Error>) {
        match result {
            Ok(bytes) if core.sent(id, bytes) => {}
            Ok(_) if core.op(id).is_some_and(|op| op.cancelled) => {
                core.finish(id, Err(Error::plain(ErrorCode::Cancelled)));
            }
            Ok(_) => {
                let posted = self.send(core, id);
                self.note_end(id, posted);
            }
            Err(error) => Self::fail(core, id, error),
        }
    }
}
