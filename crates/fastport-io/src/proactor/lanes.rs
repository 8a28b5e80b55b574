//! The lanes of a socket: the operations of one direction, in the order of their submission. One of each lane is with the
//! driver, at its head; the others wait.

use super::core::Core;
use super::op::OpState;
use crate::error::{Error, ErrorCode, Result};
use crate::operation::{OpId, OpKind, SocketId};

const READ: usize = 0;
const WRITE: usize = 1;

/// The lane that operations of a kind belong to.
const fn lane_of(kind: OpKind) -> usize {
    match kind {
        OpKind::Connect | OpKind::Send => WRITE,
        _ => READ,
    }
}

impl<S: Default> Core<S> {
    /// The started operation of a socket that reads (accept or receive), if there is one.
    pub(crate) fn reader(&self, socket: SocketId) -> Option<OpId> {
        self.started(socket, READ)
    }

    /// The started operation of a socket that writes (connect or send), if there is one.
    pub(crate) fn writer(&self, socket: SocketId) -> Option<OpId> {
        self.started(socket, WRITE)
    }

    fn started(&self, socket: SocketId, lane: usize) -> Option<OpId> {
        let head = self.sockets.get(socket.0)?.lanes[lane].head?;
        let key = self.ops.key_at(head)?;
        (self.ops.get(key)?.state == OpState::Started).then_some(OpId(key))
    }

    /// Checks that an operation of that kind may join its lane. Returns whether the lane is empty.
    pub(super) fn check_lane(&self, socket: SocketId, kind: OpKind) -> Result<bool> {
        let lane = self.open_socket(socket)?.lanes[lane_of(kind)];
        let Some(tail) = lane.tail.and_then(|index| self.ops.key_at(index)).and_then(|key| self.ops.get(key)) else {
            return Ok(true);
        };
        if kind.is_stream() || tail.kind.is_stream() {
            return Err(Error::new(
                ErrorCode::OperationPending,
                "a stream needs the socket's whole receiving side; cancel what is in flight first",
            ));
        }
        Ok(false)
    }

    pub(super) fn is_idle(&self, socket: SocketId) -> Result<bool> {
        Ok(self.open_socket(socket)?.lanes.iter().all(|lane| lane.head.is_none()))
    }

    /// Puts an operation at the end of its lane. Returns whether that is its head.
    pub(super) fn join_lane(&mut self, socket: SocketId, kind: OpKind, index: u32) -> Result<bool> {
        let entry = self.sockets.get_mut(socket.0).ok_or(Error::plain(ErrorCode::SocketNotRegistered))?;
        let lane = &mut entry.lanes[lane_of(kind)];
        let before = lane.tail.replace(index);
        match before.and_then(|index| self.ops.key_at(index)).and_then(|key| self.ops.get_mut(key)) {
            Some(before) => before.next = Some(index),
            None => lane.head = Some(index),
        }
        Ok(before.is_none())
    }

    pub(super) fn mark_started(&mut self, op: OpId) {
        if let Some(op) = self.ops.get_mut(op.0) {
            op.state = OpState::Started;
        }
    }

    /// The next operation that can start: one that came to the head of its lane, or a parked stream if there are buffers.
    pub(super) fn next_to_start(&mut self) -> Option<OpId> {
        while let Some(id) = self.to_start.pop_front() {
            // It may have been cancelled since.
            if let Some(op) = self.ops.get_mut(id.0)
                && op.state == OpState::Waiting
            {
                op.state = OpState::Started;
                return Some(id);
            }
        }
        None
    }

    /// Takes a finished operation out of its lane; the one behind a head comes next.
    pub(super) fn leave_lane(&mut self, socket: SocketId, kind: OpKind, index: u32, next: Option<u32>) {
        let Some(entry) = self.sockets.get_mut(socket.0) else { return };
        let lane = &mut entry.lanes[lane_of(kind)];
        if lane.head == Some(index) {
            lane.head = next;
            match next.and_then(|next| self.ops.key_at(next)) {
                Some(key) => self.to_start.push_back(OpId(key)),
                None => lane.tail = None,
            }
            if entry.closing.is_some() && entry.lanes.iter().all(|lane| lane.head.is_none()) {
                self.closable.push_back(socket);
            }
            return;
        }
        // Cancelled while it waited: unlink it from the one before. Lanes are short.
        let mut before = lane.head;
        while let Some(at) = before {
            let Some(op) = self.ops.key_at(at).and_then(|key| self.ops.get_mut(key)) else { return };
            if op.next == Some(index) {
                op.next = next;
                if lane.tail == Some(index) {
                    lane.tail = Some(at);
                }
                return;
            }
            before = op.next;
        }
    }

    /// The operations of a socket's lanes, last first: those that wait must be cancelled before the head finishes and
    /// would make them start.
    pub(super) fn operations_of(&self, socket: SocketId) -> Vec<OpId> {
        let Some(entry) = self.sockets.get(socket.0) else { return Vec::new() };
        let mut ops = Vec::new();
        for lane in entry.lanes {
            let from = ops.len();
            let mut at = lane.head;
            while let Some(key) = at.and_then(|index| self.ops.key_at(index)) {
                ops.push(OpId(key));
                at = self.ops.get(key).and_then(|op| op.next);
            }
            ops[from..].reverse();
        }
        ops
    }
}
