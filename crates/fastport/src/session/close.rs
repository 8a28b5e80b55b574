//! Why and how a session ends.

use std::fmt;

use fastport_io::{Error, ErrorCode};

use crate::framer::InvalidFrame;

/// Why a session ended. The first reason wins: a session that is closed for being idle and then reset was idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The application asked for it.
    Requested,
    /// The peer ended the stream.
    PeerClosed,
    /// The peer, or the system on its behalf, tore the connection down.
    Reset,
    /// The connection was not made in time, or the system gave the peer up.
    Timeout,
    /// The peer was silent for longer than the idle limit.
    Idle,
    /// The peer sent something that is no frame.
    Protocol,
    /// The peer announced a packet above the framer's maximum.
    PacketTooLarge,
    /// The peer sent more packets than its rate allows; see [`Limits`](crate::Limits), as for the next ones.
    PacketRate,
    /// The peer sent more bytes than its rate allows.
    ByteRate,
    /// The peer did not send its first packet in time.
    NoFirstPacket,
    /// The peer began a packet and did not finish it in time.
    SlowPacket,
    /// The peer read nothing of what waited for it for too long.
    SlowReader,
    /// All send queues together had reached their limit, and this session's was among the longest.
    QueueMemory,
    /// The peer did not read what was sent to it, and the send queue reached its limit.
    Backpressure,
    /// The handler panicked.
    HandlerPanic,
    /// The service stopped.
    Shutdown,
    /// Any other error: the stable number of its [`ErrorCode`], or the system's own (see [`Error::number`]).
    Error(i32),
}

impl CloseReason {
    /// Number of kinds, for tables of counters.
    pub(crate) const KINDS: usize = 17;

    /// A number for each kind, below [`CloseReason::KINDS`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Requested => 0,
            Self::PeerClosed => 1,
            Self::Reset => 2,
            Self::Timeout => 3,
            Self::Idle => 4,
            Self::Protocol => 5,
            Self::Backpressure => 6,
            Self::HandlerPanic => 7,
            Self::Shutdown => 8,
            Self::PacketTooLarge => 9,
            Self::PacketRate => 10,
            Self::ByteRate => 11,
            Self::NoFirstPacket => 12,
            Self::SlowPacket => 13,
            Self::QueueMemory => 14,
            Self::SlowReader => 15,
            Self::Error(_) => 16,
        }
    }

    /// The name of the kind, for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::PeerClosed => "peer_closed",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Idle => "idle",
            Self::Protocol => "protocol",
            Self::Backpressure => "backpressure",
            Self::HandlerPanic => "handler_panic",
            Self::Shutdown => "shutdown",
            Self::PacketTooLarge => "packet_too_large",
            Self::PacketRate => "packet_rate",
            Self::ByteRate => "byte_rate",
            Self::NoFirstPacket => "no_first_packet",
            Self::SlowPacket => "slow_packet",
            Self::SlowReader => "slow_reader",
            Self::QueueMemory => "queue_memory",
            Self::Error(_) => "error",
        }
    }

    /// The reason that bytes which are no frame give.
    pub(crate) const fn of_frame(fault: InvalidFrame) -> Self {
        match fault {
            InvalidFrame::TooLong { .. } => Self::PacketTooLarge,
            InvalidFrame::TooShort { .. } | InvalidFrame::Malformed(_) => Self::Protocol,
        }
    }

    /// The reason that a failed send or receive gives.
    pub(crate) fn of(error: &Error) -> Self {
        match error.code() {
            ErrorCode::ConnectionReset => Self::Reset,
            ErrorCode::ConnectionTimeout | ErrorCode::Timeout => Self::Timeout,
            _ => Self::Error(error.number()),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(number) => write!(f, "error {number}"),
            reason => f.pad(reason.name()),
        }
    }
}

/// How a session ends, gentlest first. A harder way may follow a gentler one, never the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CloseHow {
    /// Send what is queued, end the stream, wait for the peer to do the same, close.
    Drain,
    /// Drop what is queued and close; what the system has accepted is still delivered.
    AtOnce,
    /// Drop what is queued and reset the connection.
    Abort,
}
