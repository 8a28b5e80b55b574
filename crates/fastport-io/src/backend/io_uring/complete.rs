//! Completion entries, and what each means for its operation.

use std::os::fd::{AsRawFd, FromRawFd};

use ::io_uring::cqueue;
use rustix::io::Errno;

use super::tag::Tag;
use super::{IoUringDriver, NOTE_NONE, NOTE_READINESS, SocketState};
use crate::operation::{OpId, OpKind};
use crate::proactor::Core;
use crate::socket::Socket;

/// One completion entry.
#[derive(Clone, Copy)]
struct Entry {
    result: i32,
    flags: u32,
}

impl Entry {
    fn errno(self) -> Option<Errno> {
        (self.result < 0).then(|| Errno::from_raw_os_error(-self.result))
    }

    fn more(self) -> bool {
        cqueue::more(self.flags)
    }
}

impl IoUringDriver {
    /// Turns up to `room` completion entries into reports. Returns true if a waker was among them.
    pub(super) fn complete(&mut self, core: &mut Core<SocketState>, room: usize) -> bool {
        let mut woken = false;
        for _ in 0..room {
            let Some(entry) = self.queue.ring().completion().next() else { break };
            let tag = Tag::from_bits(entry.user_data());
            let entry = Entry { result: entry.result(), flags: entry.flags() };
            match tag {
                Tag::Op(id) => self.on_op(core, id, entry),
                Tag::Readiness(id) => self.on_ready(core, id, entry),
                Tag::Wake => woken |= self.on_wake(),
                Tag::Cancel(id) => self.on_cancel(core, id, entry),
                Tag::Ignored => {}
            }
        }
        woken
    }

    fn on_wake(&mut self) -> bool {
        // Clears the counter; the flag of the wakers is cleared after it, so that no wake falls between the two.
        let _ = rustix::io::read(&*self.wake_event, &mut [0u8; 8]);
        self.watch_wakers();
        self.waker.take()
    }

    /// A request to cancel was carried out, or has not found its target: either that is done, and was reported before this, or
    /// it was between two tries (`io_req_task_queue`), as a send is that has sent a part and found room again. Then it still
    /// goes on, and is looked for once more.
    fn on_cancel(&mut self, core: &mut Core<SocketState>, id: OpId, entry: Entry) {
        if entry.errno() == Some(Errno::NOENT) && core.op(id).is_some_and(|op| op.cancelled) {
            crate::proactor::Driver::cancel(self, core, id);
        }
    }

    #[inline]
    fn on_op(&mut self, core: &mut Core<SocketState>, id: OpId, entry: Entry) {
        if cqueue::notif(entry.flags) && self.lingering.remove(&id).is_some() {
            return;
        }
        let Some(op) = core.op_from_kernel(id) else { return self.on_stale(entry) };
        // A thread that exits takes along the requests that it handed to the kernel, where that may be any thread's part.
        // Nobody asked for this end, and nothing was transferred, so the operation goes on with the present thread.
        if entry.errno() == Some(Errno::CANCELED) && !op.cancelled && !entry.more() {
            // Of a connect, the handshake goes on; asked again, it tells the outcome.
            op.progress += u32::from(op.kind == OpKind::Connect);
            return self.go_on(core, id);
        }
        match op.kind {
            OpKind::ReceiveStream => self.on_receive_stream(core, id, entry),
            OpKind::Send => self.on_send(core, id, entry),
            OpKind::Receive => self.on_receive(core, id, entry),
            OpKind::Connect => self.on_connect(core, id, entry),
            OpKind::Accept | OpKind::AcceptStream => self.on_accept(core, id, entry),
            OpKind::Timeout | OpKind::Close | OpKind::Attach => debug_assert!(false, "never given to the kernel"),
        }
    }

    /// A completion without an operation may still carry a buffer of the ring.
    fn on_stale(&mut self, entry: Entry) {
        if let (Some(buffers), Some(slot)) = (&mut self.buffers, cqueue::buffer_select(entry.flags)) {
            buffers.put_back(slot);
        }
    }

    #[inline]
    fn on_receive_stream(&mut self, core: &mut Core<SocketState>, id: OpId, entry: Entry) {
        let slot = cqueue::buffer_select(entry.flags);
        if entry.result > 0 {
            let bytes = entry.result as u32;
            let lease = match (&mut self.buffers, slot) {
                (Some(buffers), Some(slot)) => Some(buffers.take(slot, bytes)),
                _ => core.take_stream_buffer(id).and_then(|mut buffer| {
                    buffer.set_filled(bytes as usize);
                    buffer.into_lease()
                }),
            };
            debug_assert!(lease.is_some(), "received bytes lie in a pool buffer");
            if let Some(lease) = lease {
                core.deliver_bytes(id, lease);
            }
            if entry.more() {
                return;
            }
            // Others wait for a buffer longer than this one.
            return if core.has_parked() { core.park(id) } else { self.go_on(core, id) };
        }
        if let (Some(buffers), Some(slot)) = (&mut self.buffers, slot) {
            buffers.put_back(slot);
        }
        core.take_stream_buffer(id);
        match entry.errno() {
            None if Self::was_reset(core, id) => Self::fail(core, id, libc::ECONNRESET),
            None => core.finish(id, Ok(0)),
            Some(Errno::NOBUFS) => {
                if let Some(buffers) = &mut self.buffers {
                    buffers.note_starved();
                }
                core.park(id);
            }
            Some(Errno::INTR) => self.go_on(core, id),
            Some(Errno::AGAIN) => self.wait_until_ready(core, id, libc::POLLIN),
            Some(errno) => Self::fail(core, id, errno.raw_os_error()),
        }
    }

    /// The kernel ended a stream's request, the stream itself has not ended.
    fn go_on(&mut self, core: &mut Core<SocketState>, id: OpId) {
        let Some(op) = core.op_mut(id) else { return };
        op.note = NOTE_NONE;
        if op.cancelled {
            return Self::cancelled(core, id);
        }
        crate::proactor::Driver::start(self, core, id);
    }

    fn wait_until_ready(&mut self, core: &mut Core<SocketState>, id: OpId, events: i16) {
        if core.op(id).is_some_and(|op| op.cancelled) {
            return Self::cancelled(core, id);
        }
        self.submit_readiness(core, id, events);
    }

    /// A wait for readiness ended, or the operation found no room in the queue before.
    fn on_ready(&mut self, core: &mut Core<SocketState>, id: OpId, entry: Entry) {
        let Some(op) = core.op_from_kernel(id) else { return };
        let waited = op.note == NOTE_READINESS;
        op.note = NOTE_NONE;
        if op.cancelled {
            return Self::cancelled(core, id);
        }
        if let Some(errno) = entry.errno() {
            return Self::fail(core, id, errno.raw_os_error());
        }
        if waited && op.kind == OpKind::ReceiveStream && !self.rungs.buffer_ring {
            return self.submit_pool_receive(core, id);
        }
        crate::proactor::Driver::start(self, core, id);
    }

    fn on_send(&mut self, core: &mut Core<SocketState>, id: OpId, entry: Entry) {
        let Some(result) = self.result_of_send(core, id, entry) else { return };
        if result >= 0 {
            if !core.sent(id, result as u32) {
                self.go_on(core, id);
            }
            return;
        }
        match Errno::from_raw_os_error(-result) {
            Errno::INTR => self.go_on(core, id),
            Errno::AGAIN => self.wait_until_ready(core, id, libc::POLLOUT),
            errno => Self::fail(core, id, Self::send_error(core, id, errno).raw_os_error()),
        }
    }

    /// The result of a send, once the operation may be finished. A zero-copy send reports twice: its result (with more to
    /// come), then that its bytes are free again, which is when the peer has taken them. Bytes that FastPort owns need not
    /// hold up the operation; a region is the caller's as soon as the operation is finished, so that one waits.
    fn result_of_send(&mut self, core: &mut Core<SocketState>, id: OpId, entry: Entry) -> Option<i32> {
        let op = core.op_mut(id)?;
        if cqueue::notif(entry.flags) {
            return Some(std::mem::replace(&mut op.note, NOTE_NONE));
        }
        if !entry.more() {
            return Some(entry.result);
        }
        let (cancelled, socket) = (op.cancelled, op.socket);
        let is_whole = entry.result >= 0 && core.sends_rest(id, entry.result as u32);
        if (is_whole || cancelled || entry.result < 0)
            && let Some(buffers) = core.take_send_buffers(id)
        {
            self.lingering.insert(id, buffers);
            return Some(entry.result);
        }
        if let Some(op) = core.op_mut(id) {
            op.note = entry.result;
        }
        if cancelled {
            Self::discard_unsent(core, socket);
        }
        None
    }

    /// The kernel keeps an error to itself that comes after a part of the bytes was sent; asked again, it only says that
    /// the pipe is broken. If it was not broken from here, the peer has reset the connection.
    fn send_error(core: &Core<SocketState>, id: OpId, errno: Errno) -> Errno {
        let reset = errno == Errno::PIPE
            && core
                .op(id)
                .is_some_and(|op| op.progress > 0 && core.socket(op.socket).is_some_and(|entry| !entry.write_ended));
        if reset { Errno::CONNRESET } else { errno }
    }

    /// Tells a reset from the end of the peer's data when a receive brought 0 bytes. A send may have met the reset and not
    /// told yet (see [`Self::send_error`]). But a connection whose peer has ended its data stays open until this side
    /// ends its own.
    fn was_reset(core: &Core<SocketState>, id: OpId) -> bool {
        let Some(entry) = core.op(id).and_then(|op| core.socket(op.socket)) else { return false };
        if entry.write_ended {
            return false;
        }
        // `tcpi_state` is the first byte of `struct tcp_info` (tcp(7)).
        let mut state = 0u8;
        let mut bytes: libc::socklen_t = 1;
        // SAFETY: the descriptor is open, and the kernel writes no more than the one byte that it is offered.
        let result = unsafe {
            let state = (&raw mut state).cast();
            libc::getsockopt(entry.socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, state, &raw mut bytes)
        };
        result == 0 && state == TCP_CLOSE
    }

    fn on_connect(&mut self, core: &mut Core<SocketState>, id: OpId, entry: Entry) {
        let Some(op) = core.op_mut(id) else { return };
        // A non-blocking socket of the caller's says that the handshake goes on; asked again, it tells the outcome.
        let asked_before = op.progress > 0;
        match entry.errno() {
            None => core.finish(id, Ok(0)),
            Some(Errno::ISCONN) if asked_before => core.finish(id, Ok(0)),
            Some(Errno::AGAIN | Errno::INPROGRESS | Errno::ALREADY) => {
                op.progress = 1;
                self.wait_until_ready(core, id, libc::POLLOUT);
            }
            Some(Errno::INTR) => self.go_on(core, id),
            Some(errno) => Self::fail(core, id, errno.raw_os_error()),
        }
    }

    fn on_receive(&mut self, core: &mut Core<SocketState>, id: OpId, entry: Entry) {
        if let Some(socket) = core.op(id).map(|op| op.socket).and_then(|socket| core.socket_mut(socket)) {
            socket.state.is_drained = !cqueue::sock_nonempty(entry.flags);
        }
        match entry.errno() {
            None if entry.result == 0 && Self::was_reset(core, id) => Self::fail(core, id, libc::ECONNRESET),
            None => core.received(id, entry.result as u32),
            Some(Errno::INTR) => self.go_on(core, id),
            Some(Errno::AGAIN) => self.wait_until_ready(core, id, libc::POLLIN),
            Some(errno) => Self::fail(core, id, errno.raw_os_error()),
        }
    }

    fn on_accept(&mut self, core: &mut Core<SocketState>, id: OpId, entry: Entry) {
        let stream = core.op(id).is_some_and(|op| op.kind == OpKind::AcceptStream);
        match entry.errno() {
            None => {
                // SAFETY: the kernel made this descriptor for this completion; nobody else has it.
                let socket = unsafe { Socket::from_raw_fd(entry.result) };
                if !stream {
                    return core.finish_accept(id, socket);
                }
                core.deliver_socket(id, socket);
                if !entry.more() {
                    self.go_on(core, id);
                }
            }
            // The connection was gone before it was accepted; the listener is well.
            Some(Errno::CONNABORTED | Errno::INTR) => {
                if !entry.more() {
                    self.go_on(core, id);
                }
            }
            Some(Errno::AGAIN) => self.wait_until_ready(core, id, libc::POLLIN),
            Some(errno) => Self::fail(core, id, errno.raw_os_error()),
        }
    }
}

/// The state of a TCP socket without a connection (`enum` in netinet/tcp.h).
const TCP_CLOSE: u8 = 7;
