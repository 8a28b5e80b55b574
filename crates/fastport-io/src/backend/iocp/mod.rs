//! I/O completion ports (Windows 8 or newer).
//!
//! Sends and one-shot receives are one overlapped call each. A receive stream waits by a receive of no bytes, which pins
//! no memory, and takes a pool buffer only when data is there:
//!
//! ```text
//!   start ──▶ await data ──packet──▶ receive into a pool buffer ──▶ bytes delivered ──▶ await data …
//!               │                     ▲      │ no buffer
//!               │ data is there       │      ▼
//!               └──────▶ later ───────┘    parked
//! ```
//! Calls that end at once post no packet (`FILE_SKIP_COMPLETION_PORT_ON_SUCCESS`), which saves a way through the port. So
//! that a stream which never has to wait does not keep others from their turn, it then stands in line ([`IocpDriver::later`])
//! and receives once in each turn.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::windows::{Completed, OverlappedIo, Packet, PortSocket, Posted, SocketKind};
use crate::buffer::ReceiveBuffer;
use crate::config::ProviderConfig;
use crate::error::{Error, ErrorCode, Result};
use crate::info::{Backend, Features, ProviderInfo};
use crate::operation::{OpId, OpKind, SocketId};
use crate::proactor::{Core, Driver, Work};
use crate::socket::Socket;
use crate::waker::Waker;

/// The driver's note on an operation that has nothing in flight because its turn comes later. Positive notes name the
/// block in flight.
const NOTE_LATER: i32 = -1;
const NOTE_NONE: i32 = 0;

/// The IOCP driver; see the module.
pub struct IocpDriver {
    io: OverlappedIo,
    /// Operations that can go on without waiting, first come first served.
    later: VecDeque<OpId>,
    info: ProviderInfo,
}

impl Driver for IocpDriver {
    type SocketState = PortSocket;

    fn open(config: &ProviderConfig) -> Result<Self> {
        let io = OverlappedIo::open(config, SocketKind::Overlapped)?;
        let mut notes = Vec::new();
        if config.iocp.skip_completion_on_success && !io.skips_packets() {
            notes.push("a Winsock provider that is not the system's own is installed; every call posts a packet".into());
        }
        let info = ProviderInfo {
            backend: Backend::Iocp,
            features: Features::default(),
            queue_depth: config.queue_depth,
            completion_depth: config.queue_depth,
            max_operations: config.max_operations,
            notes,
        };
        Ok(Self { io, later: VecDeque::new(), info })
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
        match op.kind {
            // Parked with its turn before it: data is there, and now perhaps a buffer.
            OpKind::ReceiveStream if op.note == NOTE_LATER => self.receive_available(core, id),
            OpKind::ReceiveStream => self.await_data(core, id),
            OpKind::Send => self.send(core, id),
            OpKind::Receive => self.receive(core, id),
            OpKind::Connect => self.io.start_connect(core, id),
            OpKind::Accept | OpKind::AcceptStream => self.io.start_accept(core, id),
            OpKind::Attach | OpKind::Timeout | OpKind::Close => debug_assert!(false, "the proactor's own"),
        }
    }

    fn cancel(&mut self, core: &mut Core<PortSocket>, op: OpId) {
        if !self.io.cancel(core, op) {
            // Nothing of it is in flight: it is in line for a later turn.
            core.finish(op, Err(Error::plain(ErrorCode::Cancelled)));
        }
    }

    fn flush(&mut self, _core: &mut Core<PortSocket>) -> Result<usize> {
        // Every operation reached the system when it was started.
        Ok(0)
    }

    fn poll(&mut self, core: &mut Core<PortSocket>, wait: Option<Duration>, room: usize) -> Result<bool> {
        let wait = if self.later.is_empty() { wait } else { Some(Duration::ZERO) };
        self.io.collect(wait, room)?;
        let mut woken = false;
        while let Some(packet) = self.io.next_packet(core) {
            match packet {
                Packet::Completed(completed) => self.complete(core, completed),
                Packet::Wake => woken |= self.io.waker().take(),
                Packet::Backend(key) => debug_assert!(false, "nobody posts packets with key {key}"),
            }
        }
        for _ in 0..self.later.len().min(room) {
            let Some(id) = self.later.pop_front() else { break };
            // It may have been cancelled since.
            match core.op(id) {
                Some(op) if op.kind == OpKind::ReceiveStream => self.receive_available(core, id),
                Some(_) => self.send(core, id),
                None => {}
            }
        }
        Ok(woken)
    }
}

impl IocpDriver {
    fn complete(&mut self, core: &mut Core<PortSocket>, completed: Completed) {
        let id = completed.op;
        match completed.kind {
            OpKind::ReceiveStream => self.on_receive_stream(core, id, completed.result),
            OpKind::Send => match completed.result {
                Ok(bytes) => self.on_sent(core, id, bytes),
                Err(error) => core.finish(id, Err(error)),
            },
            OpKind::Receive => match completed.result {
                Ok(bytes) => core.received(id, bytes),
                Err(error) => core.finish(id, Err(error)),
            },
            OpKind::Connect => OverlappedIo::on_connect(core, completed),
            OpKind::Accept | OpKind::AcceptStream => self.io.on_accept(core, completed),
            OpKind::Attach | OpKind::Timeout | OpKind::Close => debug_assert!(false, "the proactor's own"),
        }
    }

    fn send(&mut self, core: &mut Core<PortSocket>, id: OpId) {
        match self.io.send(core, id) {
            Posted::Queued => {}
            Posted::Done(bytes) => self.on_sent(core, id, bytes),
            Posted::Failed(error) => core.finish(id, Err(error)),
        }
    }

    /// The system took `bytes` bytes: all, or a part, and then the rest goes out in a later turn.
    fn on_sent(&mut self, core: &mut Core<PortSocket>, id: OpId, bytes: u32) {
        if core.sent(id, bytes) {
            return;
        }
        if core.op(id).is_some_and(|op| op.cancelled) {
            return core.finish(id, Err(Error::plain(ErrorCode::Cancelled)));
        }
        self.stand_in_line(core, id);
    }

    fn receive(&mut self, core: &mut Core<PortSocket>, id: OpId) {
        match self.io.receive(core, id) {
            Posted::Queued => {}
            Posted::Done(bytes) => core.received(id, bytes),
            Posted::Failed(error) => core.finish(id, Err(error)),
        }
    }

    /// Waits for data without holding a buffer.
    fn await_data(&mut self, core: &mut Core<PortSocket>, id: OpId) {
        match self.io.await_data(core, id) {
            Posted::Queued => {}
            Posted::Done(_) => self.stand_in_line(core, id),
            Posted::Failed(error) => core.finish(id, Err(error)),
        }
    }

    fn stand_in_line(&mut self, core: &mut Core<PortSocket>, id: OpId) {
        if let Some(op) = core.op_mut(id) {
            op.note = NOTE_LATER;
            self.later.push_back(id);
        }
    }

    /// Receives what is there into a pool buffer, or parks the stream if there is none.
    fn receive_available(&mut self, core: &mut Core<PortSocket>, id: OpId) {
        let buffer = core.pool.acquire();
        let Some(op) = core.op_mut(id) else { return };
        let Some(buffer) = buffer else {
            op.note = NOTE_LATER;
            return core.park(id);
        };
        op.note = NOTE_NONE;
        op.work = Work::Receive(ReceiveBuffer::from(buffer));
        match self.io.receive(core, id) {
            Posted::Queued => {}
            Posted::Done(bytes) => self.on_stream_bytes(core, id, bytes),
            Posted::Failed(error) => Self::fail_stream(core, id, error),
        }
    }

    /// A step of a receive stream ended: data was awaited, or received.
    fn on_receive_stream(&mut self, core: &mut Core<PortSocket>, id: OpId, result: Result<u32>) {
        let Some(op) = core.op(id) else { return };
        match result {
            Err(error) => Self::fail_stream(core, id, error),
            Ok(bytes) if matches!(op.work, Work::Receive(_)) => self.on_stream_bytes(core, id, bytes),
            // Data was awaited, and the end asked for: what is there stays in the socket.
            Ok(_) if op.cancelled => core.finish(id, Err(Error::plain(ErrorCode::Cancelled))),
            Ok(_) => self.receive_available(core, id),
        }
    }

    fn on_stream_bytes(&mut self, core: &mut Core<PortSocket>, id: OpId, bytes: u32) {
        let lease = core.take_stream_buffer(id).and_then(|mut buffer| {
            buffer.set_filled(bytes as usize);
            buffer.into_lease()
        });
        let Some(lease) = lease.filter(|_| bytes > 0) else { return core.finish(id, Ok(0)) };
        core.deliver_bytes(id, lease);
        if core.op(id).is_some_and(|op| op.cancelled) {
            return core.finish(id, Err(Error::plain(ErrorCode::Cancelled)));
        }
        self.await_data(core, id);
    }

    fn fail_stream(core: &mut Core<PortSocket>, id: OpId, error: Error) {
        core.take_stream_buffer(id);
        core.finish(id, Err(error));
    }
}
