//! A request queue: one socket's sends and receives, from the call to the completion queue.
//!
//! ```text
//!   RIOSend ──▶ waiting ──start──▶ active (an overlapped call) ──harvest──▶ finished ──land──▶ completion queue
//!               held, or           one in each direction                    held
//!               until committed
//! ```

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::Arc;

use windows_sys::Win32::Foundation::{HANDLE, STATUS_PENDING, WAIT_OBJECT_0};
use windows_sys::Win32::Networking::WinSock::{
    SOCKET, WSA_IO_PENDING, WSA_OPERATION_ABORTED, WSABUF, WSAGetLastError, WSAGetOverlappedResult, WSARecv, WSASend,
};
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED};

use crate::guard::Guarded;
use crate::rules::Judge;

/// Which half of a request queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Receive = 0,
    Send = 1,
}

/// A request that was accepted.
pub(crate) struct Request {
    pub(crate) context: u64,
    pub(crate) notifies: bool,
    /// Deferred, and not committed yet.
    pub(crate) deferred: bool,
    /// Deferred, but started all the same, as Windows may do.
    pub(crate) early: bool,
    pub(crate) hold: u32,
    pub(crate) buffer: isize,
    pub(crate) range: Guarded,
    /// What it completes with, instead of being carried out.
    pub(crate) ordered_status: Option<i32>,
}

/// A request in an overlapped call.
struct Active {
    request: Request,
    overlapped: Box<UnsafeCell<OVERLAPPED>>,
    /// Received bytes, until the completion lets them into the caller's range.
    landing: Vec<u8>,
}

// SAFETY: the OVERLAPPED is written by the system, whichever thread looks at it; all looking happens under one lock.
unsafe impl Send for Active {}

/// A request that is done and was not told yet.
pub(crate) struct Finished {
    pub(crate) request: Request,
    pub(crate) status: i32,
    pub(crate) bytes: u32,
    pub(crate) received: Vec<u8>,
    pub(crate) hold: u32,
}

pub(crate) struct Lane {
    pub(crate) limit: u32,
    /// Requests that were accepted and whose completion was not dequeued.
    pub(crate) outstanding: u32,
    pub(crate) completion_queue: isize,
    pub(crate) waiting: VecDeque<Request>,
    active: Option<Active>,
    pub(crate) finished: VecDeque<Finished>,
}

impl Lane {
    pub(crate) const fn new(limit: u32, completion_queue: isize) -> Self {
        Self {
            limit,
            outstanding: 0,
            completion_queue,
            waiting: VecDeque::new(),
            active: None,
            finished: VecDeque::new(),
        }
    }

    pub(crate) const fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// The requests that were accepted and did not reach the completion queue.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &Request> {
        let active = self.active.as_ref().map(|active| &active.request);
        self.waiting.iter().chain(active).chain(self.finished.iter().map(|finished| &finished.request))
    }

    pub(crate) fn commit(&mut self) {
        let active = self.active.as_mut().map(|active| &mut active.request);
        let finished = self.finished.iter_mut().map(|finished| &mut finished.request);
        for request in self.waiting.iter_mut().chain(active).chain(finished) {
            request.deferred = false;
        }
    }
}

pub(crate) struct RequestQueue {
    pub(crate) judge: Arc<Judge>,
    pub(crate) socket: SOCKET,
    pub(crate) context: u64,
    pub(crate) closed: bool,
    pub(crate) lanes: [Lane; 2],
}

impl RequestQueue {
    pub(crate) fn outstanding(&self) -> u32 {
        self.lanes.iter().map(|lane| lane.outstanding).sum()
    }

    /// The socket is about to be closed: what was not started is aborted, what is active will be.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        for lane in &mut self.lanes {
            // Nobody can commit them any more.
            lane.commit();
            if let Some(active) = &lane.active {
                // SAFETY: the socket is open until this returns, and the OVERLAPPED is that of a call on it. A call that
                // is done already is no matter.
                unsafe { CancelIoEx(self.socket as HANDLE, active.overlapped.get()) };
            }
            while let Some(request) = lane.waiting.pop_front() {
                lane.finished.push_back(done(&self.judge, request, WSA_OPERATION_ABORTED, 0, Vec::new()));
            }
        }
    }

    /// Goes on with one direction as far as it can. Returns true if something is held and must be looked at again.
    pub(crate) fn turn(&mut self, direction: Direction, event: HANDLE) -> bool {
        self.harvest(direction);
        let lane = &mut self.lanes[direction as usize];
        let mut held = lane.finished.front().is_some_and(|finished| finished.hold > 0);
        if lane.active.is_some() {
            return held;
        }
        let Some(first) = lane.waiting.front_mut() else { return held };
        if first.deferred && !first.early {
            return held;
        }
        if first.hold > 0 {
            first.hold -= 1;
            return true;
        }
        if let Some(request) = lane.waiting.pop_front() {
            held |= !lane.waiting.is_empty();
            self.start(direction, request, event);
        }
        held
    }

    /// Takes the next completion that may be told.
    pub(crate) fn next_finished(&mut self, direction: Direction) -> Option<Finished> {
        let finished = &mut self.lanes[direction as usize].finished;
        let first = finished.front_mut()?;
        if first.hold > 0 {
            first.hold -= 1;
            return None;
        }
        finished.pop_front()
    }

    fn start(&mut self, direction: Direction, request: Request, event: HANDLE) {
        let lane = &mut self.lanes[direction as usize];
        if let Some(status) = request.ordered_status {
            return lane.finished.push_back(done(&self.judge, request, status, 0, Vec::new()));
        }
        let (start, bytes) = (request.range.start(), request.range.bytes());
        // The lowest bit keeps the completion off the port that the caller has associated with the socket.
        let overlapped = OVERLAPPED { hEvent: (event as usize | 1) as HANDLE, ..OVERLAPPED::default() };
        let landing = if direction == Direction::Receive { vec![0; bytes] } else { Vec::new() };
        let mut active = Active { request, overlapped: Box::new(UnsafeCell::new(overlapped)), landing };
        let no_count: *mut u32 = std::ptr::null_mut();
        let result = match direction {
            Direction::Send => {
                let buffer = WSABUF { len: bytes as u32, buf: start };
                // SAFETY: the range is registered and belongs to the request, the OVERLAPPED lives until the harvest.
                unsafe { WSASend(self.socket, &raw const buffer, 1, no_count, 0, active.overlapped.get(), None) }
            }
            Direction::Receive => {
                let buffer = WSABUF { len: bytes as u32, buf: active.landing.as_mut_ptr() };
                let mut flags = 0;
                // SAFETY: the landing place and the OVERLAPPED live until the harvest; the heap does not move them.
                unsafe {
                    let flags = &raw mut flags;
                    WSARecv(self.socket, &raw const buffer, 1, no_count, flags, active.overlapped.get(), None)
                }
            }
        };
        if result != 0 {
            // SAFETY: no preconditions.
            let code = unsafe { WSAGetLastError() };
            if code != WSA_IO_PENDING {
                return lane.finished.push_back(done(&self.judge, active.request, code, 0, Vec::new()));
            }
        }
        lane.active = Some(active);
        self.harvest(direction);
    }

    /// Looks whether the active request is done.
    fn harvest(&mut self, direction: Direction) {
        let lane = &mut self.lanes[direction as usize];
        let Some(active) = &lane.active else { return };
        let overlapped = active.overlapped.get();
        // SAFETY: valid memory; volatile, because the system writes to it.
        let status = unsafe { (&raw const (*overlapped).Internal).read_volatile() };
        if status == STATUS_PENDING as usize {
            return;
        }
        let Some(active) = lane.active.take() else { return };
        let (status, bytes) = if self.closed { (WSA_OPERATION_ABORTED, 0) } else { result_of(self.socket, overlapped) };
        let mut received = active.landing;
        received.truncate(bytes as usize);
        lane.finished.push_back(done(&self.judge, active.request, status, bytes, received));
    }
}

/// Status and bytes of a call that is done, on a socket that is open.
fn result_of(socket: SOCKET, overlapped: *mut OVERLAPPED) -> (i32, u32) {
    let (mut bytes, mut flags) = (0, 0);
    // SAFETY: the OVERLAPPED is that of a call on this socket, and is not pending.
    let succeeded = unsafe { WSAGetOverlappedResult(socket, overlapped, &raw mut bytes, 0, &raw mut flags) };
    match succeeded {
        // SAFETY: no preconditions.
        0 => (unsafe { WSAGetLastError() }, 0),
        _ => (WAIT_OBJECT_0 as i32, bytes),
    }
}

fn done(judge: &Judge, request: Request, status: i32, bytes: u32, received: Vec<u8>) -> Finished {
    Finished { request, status, bytes, received, hold: judge.hold() }
}
