//! I/O completion ports (Windows 8 or newer).
//!
//! Sends and one-shot receives are one overlapped call each. A receive stream waits by a receive of no bytes, which pins
//! no memory, and takes a pool buffer only when data is there:
//!
//! ```text
//!   start ──▶ await data ──▶ receive into a pool buffer ──▶ bytes delivered ──▶ await data …
//!                             ▲      │ no buffer
//!                             │      ▼
//!                             └─── parked
//! ```
//! Calls that end at once post no packet (`FILE_SKIP_COMPLETION_PORT_ON_SUCCESS`), which saves a way through the port.
//! Their ends stand in line in the driver ([`IocpDriver::ended`]) and are looked at once in each turn, beside the packets.
//! So nothing is reported inside the call that started it, and a stream that never has to wait receives once a turn, like
//! the others.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::windows::{OverlappedIo, Packet, PortSocket, Posted, SocketKind, end_of_data};
use crate::buffer::ReceiveBuffer;
use crate::config::ProviderConfig;
use crate::error::{Error, ErrorCode, Result};
use crate::info::{Backend, Features, ProviderInfo};
use crate::operation::{OpId, OpKind, SocketId};
use crate::proactor::{Core, Driver, Work};
use crate::socket::Socket;
use crate::waker::Waker;

/// The driver's note on a receive stream that was parked with data before it. Positive notes name the block in flight.
const NOTE_DATA_IS_THERE: i32 = -1;
const NOTE_NONE: i32 = 0;

/// The IOCP driver; see the module.
pub struct IocpDriver {
    io: OverlappedIo,
    /// Operations that ended without a packet, and how.
    ended: VecDeque<(OpId, Result<u32>)>,
    info: ProviderInfo,
}

impl Driver for IocpDriver {
    type SocketState = PortSocket;

    fn open(config: &ProviderConfig) -> Result<Self> {
        let io = OverlappedIo::open(config, SocketKind::Overlapped)?;
        let mut notes = Vec::new();
        if config.iocp.skip_completion_on_success && !io.skips_packets() {
            notes
                .push("a Winsock provider that is not the system's own is installed; every call posts a packet".into());
        }
        let info = ProviderInfo {
            backend: Backend::Iocp,
            features: Features::default(),
            queue_depth: config.queue_depth,
            completion_depth: config.queue_depth,
            max_operations: config.max_operations,
            notes,
        };
        Ok(Self { io, ended: VecDeque::new(), info })
    }

    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    fn waker(&self) -> &Waker {
        self.io.waker()
    }

    fn create_socket(&mut self, address: &SocketAddr) -> Result<Socket> {
        self.io.create_socket(address)
    }

    fn attach(&mut self, _core: &mut Core<PortSocket>, _socket: SocketId) -> Result<()> {
        // It joins the port with its first operation.
        Ok(())
    }

    fn detach(&mut self, core: &mut Core<PortSocket>, socket: SocketId) {
        self.io.leave(core, socket);
    }

    fn start(&mut self, core: &mut Core<PortSocket>, id: OpId) {
        let Some(op) = core.op(id) else { return };
        let posted = match op.kind {
            OpKind::ReceiveStream if op.note == NOTE_DATA_IS_THERE => return self.receive_available(core, id),
            OpKind::ReceiveStream => self.io.await_data(core, id),
            OpKind::Send => self.io.send(core, id),
            OpKind::Receive => self.io.receive(core, id),
            OpKind::Connect => self.io.start_connect(core, id),
            OpKind::Accept | OpKind::AcceptStream => self.io.start_accept(core, id),
            OpKind::Attach | OpKind::Timeout | OpKind::Close => return debug_assert!(false, "the proactor's own"),
        };
        self.note_end(id, posted);
    }

    fn cancel(&mut self, core: &mut Core<PortSocket>, op: OpId) {
        // If nothing of it is in flight, it has ended, and that is told with the next turn.
        self.io.cancel(core, op);
    }

    fn flush(&mut self, _core: &mut Core<PortSocket>) -> Result<usize> {
        // Every operation reached the system when it was started.
        Ok(0)
    }

    fn poll(&mut self, core: &mut Core<PortSocket>, wait: Option<Duration>, room: usize) -> Result<bool> {
        let wait = if self.ended.is_empty() { wait } else { Some(Duration::ZERO) };
        self.io.collect(core, wait, room)?;
        // Only those that stand in line now: what ends at once while they are looked at has its turn later.
        for _ in 0..self.ended.len().min(room) {
            if let Some((op, result)) = self.ended.pop_front() {
                self.on_end(core, op, result);
            }
        }
        let mut woken = false;
        while let Some(packet) = self.io.next_packet(core) {
            match packet {
                Packet::Completed(completed) if completed.is_accept() => self.io.on_accept(core, completed),
                Packet::Completed(completed) => self.on_end(core, completed.op, completed.result),
                Packet::Wake => woken |= self.io.waker().take(),
                Packet::Backend(key) => debug_assert!(false, "nobody posts packets with key {key}"),
            }
        }
        Ok(woken)
    }
}

impl IocpDriver {
    /// Remembers an end without a packet for the next turn.
    fn note_end(&mut self, op: OpId, posted: Posted) {
        match posted {
            Posted::Queued => {}
            Posted::Done(bytes) => self.ended.push_back((op, Ok(bytes))),
            Posted::Failed(error) => self.ended.push_back((op, Err(error))),
        }
    }

    /// A call for an operation ended; of an accept, that it could not be made.
    fn on_end(&mut self, core: &mut Core<PortSocket>, id: OpId, result: Result<u32>) {
        let Some(kind) = core.op(id).map(|op| op.kind) else { return };
        match (kind, result) {
            (OpKind::ReceiveStream, result) => self.on_receive_stream(core, id, result),
            (OpKind::Connect, result) => OverlappedIo::on_connect(core, id, result),
            (OpKind::Send, Ok(bytes)) => self.on_sent(core, id, bytes),
            (OpKind::Receive, Ok(0)) => Self::finish_at_end_of_data(core, id),
            (OpKind::Receive, Ok(bytes)) => core.received(id, bytes),
            (_, result) => {
                debug_assert!(result.is_err(), "an accept succeeds by a packet");
                core.finish(id, result);
            }
        }
    }

    /// The system took `bytes` bytes: all, or a part.
    fn on_sent(&mut self, core: &mut Core<PortSocket>, id: OpId, bytes: u32) {
        if core.sent(id, bytes) {
            return;
        }
        if core.op(id).is_some_and(|op| op.cancelled) {
            return core.finish(id, Err(Error::plain(ErrorCode::Cancelled)));
        }
        let posted = self.io.send(core, id);
        self.note_end(id, posted);
    }

    /// A step of a receive stream ended: data was awaited, or received.
    fn on_receive_stream(&mut self, core: &mut Core<PortSocket>, id: OpId, result: Result<u32>) {
        let Some(op) = core.op(id) else { return };
        match result {
            Err(error) => {
                core.take_stream_buffer(id);
                core.finish(id, Err(error));
            }
            Ok(bytes) if matches!(op.work, Work::Receive(_)) => self.on_stream_bytes(core, id, bytes),
            // Data was awaited, and meanwhile the end asked for: what is there stays in the socket.
            Ok(_) if op.cancelled => core.finish(id, Err(Error::plain(ErrorCode::Cancelled))),
            Ok(_) => self.receive_available(core, id),
        }
    }

    /// Receives what is there into a pool buffer, or parks the stream if there is none.
    fn receive_available(&mut self, core: &mut Core<PortSocket>, id: OpId) {
        let buffer = core.pool.acquire();
        let Some(op) = core.op_mut(id) else { return };
        let Some(buffer) = buffer else {
            op.note = NOTE_DATA_IS_THERE;
            return core.park(id);
        };
        op.note = NOTE_NONE;
        op.work = Work::Receive(ReceiveBuffer::from(buffer));
        match self.io.receive(core, id) {
            // A stream's bytes are handed over here and now; it stands in line to await more.
            Posted::Done(bytes) => self.on_stream_bytes(core, id, bytes),
            posted => self.note_end(id, posted),
        }
    }

    fn on_stream_bytes(&mut self, core: &mut Core<PortSocket>, id: OpId, bytes: u32) {
        let lease = core.take_stream_buffer(id).and_then(|mut buffer| {
            buffer.set_filled(bytes as usize);
            buffer.into_lease()
        });
        let Some(lease) = lease.filter(|_| bytes > 0) else { return Self::finish_at_end_of_data(core, id) };
        core.deliver_bytes(id, lease);
        if core.op(id).is_some_and(|op| op.cancelled) {
            return core.finish(id, Err(Error::plain(ErrorCode::Cancelled)));
        }
        let posted = self.io.await_data(core, id);
        self.note_end(id, posted);
    }

    fn finish_at_end_of_data(core: &mut Core<PortSocket>, id: OpId) {
        let result = end_of_data(core, id);
        core.finish(id, result);
    }
}
