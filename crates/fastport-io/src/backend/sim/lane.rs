//! One direction of a socket in the simulation: what its operation has achieved, and when that is told.
//!
//! ```text
//!   start ──▶ try … try ──achieved──▶ (slow completion) ──▶ told
//!               │                        ▲
//!             cancel ──▶ (late cancel) ──┘ whatever comes first
//! ```
//! What was achieved is told in its order, and a cancellation never overtakes it.

use std::collections::VecDeque;

use super::state::State;
use crate::buffer::Lease;
use crate::error::Result;
use crate::operation::OpId;
use crate::proactor::Core;
use crate::socket::Socket;

/// Steps of a stream that may wait to be told at once.
const LONGEST_QUEUE: usize = 8;

/// What an operation has achieved.
pub(super) enum Report {
    /// Bytes of a stream.
    Bytes(Lease),
    /// A connection of a stream.
    Connection(Socket),
    /// A connection, the only one that was asked for.
    Accepted(Socket),
    /// This many bytes of a one-shot receive.
    Received(u32),
    /// The last bytes of a send were taken, this many.
    Sent(u32),
    Finished(Result<u32>),
}

impl Report {
    pub(super) const fn is_final(&self) -> bool {
        !matches!(self, Self::Bytes(_) | Self::Connection(_))
    }

    /// Hands it over to the proactor.
    pub(super) fn tell<S: Default>(self, core: &mut Core<S>, op: OpId) {
        match self {
            Self::Bytes(lease) => core.deliver_bytes(op, lease),
            Self::Connection(socket) => core.deliver_socket(op, socket),
            Self::Accepted(socket) => core.finish_accept(op, socket),
            Self::Received(bytes) => core.received(op, bytes),
            Self::Sent(bytes) => {
                let is_finished = core.sent(op, bytes);
                debug_assert!(is_finished, "only the last bytes are told late");
            }
            Self::Finished(result) => core.finish(op, result),
        }
    }
}

/// The lane's part of a socket's state.
#[derive(Default)]
pub(super) struct Lane {
    /// What is still to be told, and when.
    untold: VecDeque<(u64, Report)>,
    /// The final one is among them: the operation has nothing more to do.
    is_ending: bool,
    /// When a cancellation takes effect.
    cancelled_at: Option<u64>,
}

impl Lane {
    /// Takes up what the operation has achieved. Returns it if it is to be told at once; otherwise returns when.
    pub(super) fn put(&mut self, state: &State, delay_ns: u64, report: Report) -> Result<Report, u64> {
        let latest_ns = self.untold.back().map_or(0, |(at_ns, _)| *at_ns);
        let at_ns = (state.clock_ns + delay_ns).max(latest_ns);
        let is_final = report.is_final();
        if self.untold.is_empty() && at_ns <= state.clock_ns {
            if is_final {
                self.cancelled_at = None;
            }
            return Ok(report);
        }
        self.is_ending |= is_final;
        self.untold.push_back((at_ns, report));
        Err(at_ns)
    }

    /// What is to be told by now, oldest first.
    pub(super) fn take_due(&mut self, clock_ns: u64) -> Option<Report> {
        let &(at_ns, _) = self.untold.front()?;
        if at_ns > clock_ns {
            return None;
        }
        let (_, report) = self.untold.pop_front()?;
        if report.is_final() {
            self.is_ending = false;
            self.cancelled_at = None;
        }
        Some(report)
    }

    /// True if the operation may go on.
    pub(super) fn may_try(&self) -> bool {
        !self.is_ending && self.untold.len() < LONGEST_QUEUE
    }

    /// True if all is told that was achieved.
    pub(super) fn is_told(&self) -> bool {
        self.untold.is_empty()
    }

    /// Asks for the end of the operation from that time on. False if it is at its end already.
    pub(super) fn cancel_at(&mut self, time_ns: u64) -> bool {
        if self.is_ending {
            return false;
        }
        self.cancelled_at = Some(time_ns);
        true
    }

    pub(super) fn is_cancelled(&self, clock_ns: u64) -> bool {
        self.cancelled_at.is_some_and(|at_ns| at_ns <= clock_ns)
    }
}
