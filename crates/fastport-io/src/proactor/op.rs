//! An operation in flight, and the lane that it stands in.

use std::net::SocketAddr;

use crate::buffer::{ReceiveBuffer, SendBuffers};
use crate::operation::{OpKind, RegionId, SocketId};

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpState {
    /// Behind another one in its lane.
    Waiting,
    /// With the driver.
    Started,
    /// A receive stream that waits for a pool buffer; the driver has nothing of it in the kernel.
    Parked,
}

/// What an operation works on.
pub(crate) enum Work {
    Nothing,
    Send(SendBuffers),
    Receive(ReceiveBuffer),
    Region { region: RegionId, offset: u32, length: u32 },
    Connect(Box<SocketAddr>),
}

/// An operation whose final completion is still to come.
pub(crate) struct Op {
    pub(crate) kind: OpKind,
    pub(crate) state: OpState,
    /// Someone asked for its end; the driver knows.
    pub(crate) cancelled: bool,
    /// Bytes that a send has to transmit in all.
    pub(super) length: u32,
    /// Bytes sent so far.
    pub(crate) progress: u32,
    /// The driver's own note about the operation; 0 at first.
    pub(crate) note: i32,
    /// When a stream came to wait for a pool buffer: the number of that wait, or 0 if it does not wait.
    pub(super) place_in_line: u64,
    pub(crate) socket: SocketId,
    pub(super) context: u64,
    pub(super) submitted_ns: u64,
    /// The operation behind it in its lane.
    pub(super) next: Option<u32>,
    pub(crate) work: Work,
}

impl Work {
    /// Bytes that a send has to transmit in all.
    pub(super) fn send_length(&self) -> u32 {
        match self {
            Self::Send(buffers) => buffers.len() as u32,
            Self::Region { length, .. } => *length,
            Self::Nothing | Self::Receive(_) | Self::Connect(_) => 0,
        }
    }
}

/// The operations of one direction of a socket, by index.
#[derive(Clone, Copy, Default)]
pub(super) struct Lane {
    pub(super) head: Option<u32>,
    pub(super) tail: Option<u32>,
}

/// The range that a send or a receive has still to transfer.
#[derive(Clone, Copy)]
pub(crate) struct Transfer {
    pub(crate) first: (*mut u8, usize),
    pub(crate) second: Option<(*mut u8, usize)>,
    /// What the driver called the region of a registered transfer.
    pub(crate) registration: Option<u32>,
}
