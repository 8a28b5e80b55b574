//! The loop: one ring, one thread, all sessions.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use fastport_peers::receive_ring::{ReceiveRing, receive};
use hdrhistogram::Histogram;
use io_uring::{IoUring, cqueue, squeue, types};

use crate::arguments::Arguments;
use crate::message::Message;
use crate::process::{cpu_time, machine_time};
use crate::session::Session;

/// Completions between two looks at the kernel.
const BATCH: usize = 128;
const RECEIVE_BUFFERS: u16 = 1024;
/// Nothing received for this long: the server hangs.
const STALL: Duration = Duration::from_secs(2);

// What a completion is of: the lowest bit of its user data; the session stands above it.
const SEND: u64 = 0;
const RECEIVE: u64 = 1;

/// All sessions, and what they have done since the measurement began.
pub(crate) struct Load<'a> {
    arguments: &'a Arguments,
    message: Message,
    ring: IoUring,
    receive_ring: ReceiveRing,
    sessions: Vec<Session>,
    random: u64,
    /// Sessions whose receive has ended, for instance for want of buffers.
    starved: Vec<usize>,
    measured: Measured,
}

pub(crate) struct Measured {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) flood_packets: u64,
    /// From request to reply, in nanoseconds.
    pub(crate) times: Histogram<u64>,
    pub(crate) elapsed: Duration,
    pub(crate) server_time: Duration,
    pub(crate) own_time: Duration,
    pub(crate) machine_time: Duration,
}

impl<'a> Load<'a> {
    pub(crate) fn new(arguments: &'a Arguments, streams: &[TcpStream]) -> Result<Self, String> {
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_clamp()
            .setup_cqsize(16 * 1024)
            .build(4096)
            .map_err(|error| format!("io_uring: {error}"))?;
        let message = Message::new(arguments);
        let buffer_bytes = if message.payload.len() > 2048 { 32 * 1024 } else { 4096 };
        let receive_ring = ReceiveRing::new(&ring, RECEIVE_BUFFERS, buffer_bytes)
            .map_err(|error| format!("a ring of receive buffers: {error}"))?;
        let depth = |index| if index < arguments.sessions { arguments.depth } else { arguments.flood };
        let sessions =
            streams.iter().enumerate().map(|(index, stream)| Session::new(stream.as_raw_fd(), depth(index))).collect();
        Ok(Self {
            arguments,
            message,
            ring,
            receive_ring,
            sessions,
            random: 0x9E37_79B9_7F4A_7C15,
            starved: Vec::new(),
            measured: Measured::none(),
        })
    }

    /// Loads the server for as long as was asked for.
    pub(crate) fn run(mut self) -> Result<Measured, String> {
        self.begin()?;
        let start = Instant::now();
        let begin = start + self.arguments.warmup;
        let end = begin + self.arguments.secs;
        let mut before = None;
        let mut last_received = start;
        let mut completions = Vec::with_capacity(BATCH);
        loop {
            self.enter()?;
            let now = Instant::now();
            if now >= begin && before.is_none() {
                before = Some(self.times());
                self.measured = Measured::none();
            }
            if now >= end {
                break;
            }
            completions.extend(self.ring.completion().take(BATCH));
            for completion in completions.drain(..) {
                if self.handle(&completion, now)? {
                    last_received = now;
                }
            }
            self.receive_ring.publish();
            while let Some(index) = self.starved.pop() {
                self.receive(index)?;
            }
            if now - last_received > STALL {
                return Err(format!("no reply for {STALL:?}"));
            }
        }
        let (now, before) = (self.times(), before.expect("set before the end"));
        let measured = &mut self.measured;
        measured.elapsed = now.clock - before.clock;
        measured.server_time = now.server.saturating_sub(before.server);
        measured.own_time = now.own.saturating_sub(before.own);
        measured.machine_time = now.machine.saturating_sub(before.machine);
        Ok(self.measured)
    }

    /// Starts all receives, then all requests, not all at the same moment.
    fn begin(&mut self) -> Result<(), String> {
        for index in 0..self.sessions.len() {
            self.receive(index)?;
        }
        for index in 0..self.sessions.len() {
            self.send(index, Instant::now())?;
            if index % 64 == 63 {
                self.submit()?;
            }
        }
        Ok(())
    }

    /// Handles a completion; true if it brought something.
    fn handle(&mut self, completion: &cqueue::Entry, now: Instant) -> Result<bool, String> {
        let index = (completion.user_data() >> 1) as usize;
        let (result, flags) = (completion.result(), completion.flags());
        let named = |fault: String| format!("session {index}: {fault}");
        if completion.user_data() & 1 == SEND {
            self.sessions[index].sent(result).map_err(named)?;
        } else {
            if let Some(buffer) = cqueue::buffer_select(flags) {
                self.received(index, buffer, result, now).map_err(named)?;
            } else if result != -libc::ENOBUFS {
                return Err(named(format!("receiving ended with {result}")));
            }
            if !cqueue::more(flags) {
                self.starved.push(index);
            }
        }
        let session = &self.sessions[index];
        if session.due > 0 && !session.is_sending {
            self.send(index, now)?;
        }
        Ok(result > 0)
    }

    fn received(&mut self, index: usize, buffer: u16, result: i32, now: Instant) -> Result<(), String> {
        let len = usize::try_from(result).map_err(|_| format!("receiving ended with {result}"))?;
        let bytes = self.receive_ring.bytes(buffer, len);
        let measured = &mut self.measured;
        let is_flood = index >= self.arguments.sessions;
        self.sessions[index].received(bytes, &self.message, |reply| {
            if is_flood {
                measured.flood_packets += 1;
                return;
            }
            measured.packets += 1;
            measured.bytes += reply.frame_bytes as u64;
            measured.times.saturating_record((now - reply.sent).as_nanos() as u64);
        })?;
        self.receive_ring.give_back(buffer);
        Ok(())
    }

    fn send(&mut self, index: usize, now: Instant) -> Result<(), String> {
        let (least, most) = (self.message.least_bytes, self.message.payload.len());
        let random = &mut self.random;
        let entry = self.sessions[index].send(&self.message, now, || {
            if least == most { least } else { least + (next(random) % (most - least + 1) as u64) as usize }
        });
        self.push(&entry.user_data((index as u64) << 1 | SEND))
    }

    fn receive(&mut self, index: usize) -> Result<(), String> {
        self.push(&receive(self.sessions[index].descriptor()).user_data((index as u64) << 1 | RECEIVE))
    }

    fn push(&mut self, entry: &squeue::Entry) -> Result<(), String> {
        // SAFETY: what it refers to belongs to a session, which neither moves nor changes it before the completion, or to
        // the receive ring.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.submit()?;
        }
        Ok(())
    }

    fn submit(&self) -> Result<(), String> {
        self.ring.submit().map(drop).map_err(|error| format!("io_uring_enter: {error}"))
    }

    /// Submits; waits for a moment if nothing has completed.
    fn enter(&mut self) -> Result<(), String> {
        if !self.ring.completion().is_empty() {
            return self.submit();
        }
        let limit = types::Timespec::from(Duration::from_millis(100));
        match self.ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&limit)) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {
                Err(format!("io_uring_enter: {error}"))
            }
            _ => Ok(()),
        }
    }

    fn times(&self) -> Times {
        Times {
            clock: Instant::now(),
            server: cpu_time(self.arguments.server_pid),
            own: cpu_time(Some(std::process::id())),
            machine: machine_time(),
        }
    }
}

struct Times {
    clock: Instant,
    server: Duration,
    own: Duration,
    machine: Duration,
}

impl Measured {
    fn none() -> Self {
        Self {
            packets: 0,
            bytes: 0,
            flood_packets: 0,
            times: Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("valid bounds"),
            elapsed: Duration::ZERO,
            server_time: Duration::ZERO,
            own_time: Duration::ZERO,
            machine_time: Duration::ZERO,
        }
    }
}

/// The next number of an xorshift generator.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
