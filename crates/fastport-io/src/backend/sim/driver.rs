//! The provider's part of the simulation.
//!
//! Operations are tried when the provider polls, not when they are submitted: so memory is read and written as late as a
//! kernel may do it, and whoever touches it too early is found out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::errors::Failure;
use super::handle::SimSocket;
use super::lane::{Lane, Report};
use super::network::SimNetwork;
use super::plan::Fault;
use super::state::{Event, FOR_EVER, Participant};
use super::transfer::{self, Tried};
use crate::config::ProviderConfig;
use crate::error::{Error, ErrorCode, Result};
use crate::info::{Backend, Features, ProviderInfo};
use crate::operation::{OpId, OpKind, SendAtOnce, SocketId};
use crate::proactor::{Core, Driver, Work};
use crate::slab::Key;
use crate::socket::Socket;
use crate::waker::{WakeSignal, Waker};

/// The driver of [`Sim`](super::Sim); see the module.
pub struct SimDriver {
    network: SimNetwork,
    /// Which of the network's providers this is.
    number: usize,
    waker: Waker,
    info: ProviderInfo,
    /// Sockets with something to try or to tell, longest waiting first.
    ready: VecDeque<SocketId>,
    /// Operations that were started since the latest poll or flush.
    started: Vec<(SocketId, Direction)>,
    /// The operation that was finished last.
    latest_finished: Option<OpId>,
}

/// What the driver keeps for a socket.
#[derive(Default)]
pub(crate) struct SocketState {
    is_listed: bool,
    reading: Lane,
    writing: Lane,
}

/// The two directions of a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Reading,
    Writing,
}

impl SocketState {
    const fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Reading => &mut self.reading,
            Direction::Writing => &mut self.writing,
        }
    }
}

impl Driver for SimDriver {
    type SocketState = SocketState;

    fn open(config: &ProviderConfig) -> Result<Self> {
        let network = SimNetwork::current()?;
        let number = {
            let mut state = network.lock();
            state.participants.push(Participant::default());
            state.participants.len() - 1
        };
        let info = ProviderInfo {
            backend: Backend::Sim,
            features: Features::default(),
            queue_depth: config.queue_depth,
            completion_depth: config.queue_depth,
            max_operations: config.max_operations,
            notes: Vec::new(),
        };
        let waker = Waker::new(Box::new(Signal { network: network.clone(), number }));
        Ok(Self { network, number, waker, info, ready: VecDeque::new(), started: Vec::new(), latest_finished: None })
    }

    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    fn waker(&self) -> &Waker {
        &self.waker
    }

    fn now(&self) -> Instant {
        self.network.now()
    }

    fn create_socket(&mut self, address: &SocketAddr) -> Result<Socket> {
        self.network.socket(address)
    }

    fn check_socket(&self, socket: &Socket) -> Result<()> {
        let is_ours = socket.as_simulated().is_some_and(|socket| socket.network().is_same(&self.network));
        if is_ours {
            return Ok(());
        }
        Err(Error::new(ErrorCode::SocketNotRegistered, "the socket is not one of this provider's simulated network"))
    }

    fn attach(&mut self, core: &mut Core<SocketState>, socket: SocketId) -> Result<()> {
        let Some(endpoint) = endpoint(core, socket) else { return Err(Error::plain(ErrorCode::SocketNotRegistered)) };
        self.network.lock().attach(endpoint, self.number, socket)
    }

    fn detach(&mut self, core: &mut Core<SocketState>, socket: SocketId) {
        if let Some(endpoint) = endpoint(core, socket) {
            self.network.lock().detach(endpoint, self.number);
        }
    }

    fn start(&mut self, core: &mut Core<SocketState>, op: OpId) {
        let Some((kind, socket)) = core.op(op).map(|op| (op.kind, op.socket)) else { return };
        let Some(endpoint) = endpoint(core, socket) else { return };
        let mut state = self.network.lock();
        state.participants[self.number].resting_until = None;
        let refused = if state.strikes(Fault::FailedSubmission) {
            Some(Failure::NoMemory.into())
        } else if let Some(Work::Connect(address)) = core.op(op).map(|op| &op.work) {
            state.connect(endpoint, **address).err()
        } else {
            None
        };
        drop(state);
        if let Some(error) = refused {
            self.achieve(core, socket, direction_of(kind), Report::Finished(Err(error)));
        }
        self.list(core, socket);
        if kind == OpKind::ReceiveStream {
            // It may have waited in line for a buffer: now is its turn, before those that are listed already.
            self.step(core, socket, Direction::Reading);
        } else {
            self.started.push((socket, direction_of(kind)));
        }
    }

    const SENDS_AT_ONCE: usize = usize::MAX;

    fn send_at_once(&mut self, core: &mut Core<SocketState>, sends: &mut [SendAtOnce<'_>]) {
        for send in sends.iter_mut().filter(|send| !send.first.is_empty()) {
            if let Some(endpoint) = endpoint(core, send.socket) {
                send.taken = self.send_some(endpoint, send.first);
            }
        }
    }

    fn cancel(&mut self, core: &mut Core<SocketState>, op: OpId) {
        let Some((kind, socket)) = core.op(op).map(|op| (op.kind, op.socket)) else { return };
        let Some(endpoint) = endpoint(core, socket) else { return };
        let mut state = self.network.lock();
        state.participants[self.number].resting_until = None;
        let delay_ns = if state.strikes(Fault::LateCancel) { state.draw_delay_ns() } else { 0 };
        let effective_ns = state.clock_ns + delay_ns;
        let Some(entry) = core.socket_mut(socket) else { return };
        if entry.state.lane(direction_of(kind)).cancel_at(effective_ns) {
            state.at(effective_ns, Event::Look { provider: self.number, endpoint });
        }
    }

    fn flush(&mut self, core: &mut Core<SocketState>) -> Result<usize> {
        let mut started = std::mem::take(&mut self.started);
        let count = started.len();
        // Only what goes out: what comes in is asked for by a poll, as much as there is room for.
        for (socket, direction) in started.drain(..).filter(|(_, direction)| *direction == Direction::Writing) {
            self.step(core, socket, direction);
        }
        self.started = started;
        Ok(count)
    }

    fn poll(&mut self, core: &mut Core<SocketState>, wait: Option<Duration>, room: usize) -> Result<bool> {
        let mut state = self.network.lock();
        state.begin_call(self.number);
        // It gave its turn away and was not given another one: nobody schedules it, as when it is dropped.
        let is_alone = state.participants[self.number].resting_until.take().is_some() || !state.is_scheduled;
        if state.strikes(Fault::FailedWait) {
            return Err(Error::from(Failure::NoMemory).during("cannot wait for completions"));
        }
        if state.strikes(Fault::EmptyWait) {
            return Ok(true);
        }
        let wait_ns = wait.map(|wait| u64::try_from(wait.as_nanos()).unwrap_or(FOR_EVER));
        let until_ns = wait_ns.map_or(FOR_EVER, |wait_ns| state.clock_ns.saturating_add(wait_ns));
        let reorder = state.strikes(Fault::Reorder);
        let stale = self.latest_finished.filter(|_| state.strikes(Fault::StaleCompletion));
        drop(state);
        if let Some(op) = stale
            && core.op_from_kernel(op).is_some()
        {
            core.finish(op, Ok(0));
        }
        loop {
            let woken = self.look(core);
            let reports = self.take_turns(core, room, reorder);
            if reports > 0 || woken {
                return Ok(woken);
            }
            if !self.ready.is_empty() {
                continue;
            }
            let mut state = self.network.lock();
            if state.has_changes(self.number) || state.next_event_ns().is_some_and(|at_ns| at_ns <= state.clock_ns) {
                continue;
            }
            if state.clock_ns >= until_ns {
                return Ok(false);
            }
            if !is_alone {
                state.participants[self.number].resting_until = Some(until_ns);
                return Ok(true);
            }
            match state.next_event_ns().unwrap_or(FOR_EVER).min(until_ns) {
                FOR_EVER => {
                    drop(state);
                    self.network.wait_for_waker(self.number);
                }
                next_ns => state.advance_to(next_ns),
            }
        }
    }
}

impl SimDriver {
    /// Sends some of the bytes without an operation.
    fn send_some(&mut self, endpoint: Key, bytes: &[u8]) -> Result<usize> {
        let mut state = self.network.lock();
        state.participants[self.number].resting_until = None;
        // Both ways of sending are to be tried: half of the times it is a system that only takes operations.
        if state.random.chance(0.5) {
            return Ok(0);
        }
        match transfer::connection_of(&state, endpoint)? {
            Some((connection, side)) => {
                transfer::send_part(&mut state, connection, side, bytes).map(|taken| taken as usize)
            }
            None => Ok(0),
        }
    }

    /// Notes that a socket has something to try or to tell.
    fn list(&mut self, core: &mut Core<SocketState>, socket: SocketId) {
        if let Some(entry) = core.socket_mut(socket)
            && !std::mem::replace(&mut entry.state.is_listed, true)
        {
            self.ready.push_back(socket);
        }
    }

    /// Lists the sockets that have changed. Returns true if a waker was used.
    fn look(&mut self, core: &mut Core<SocketState>) -> bool {
        let network = self.network.clone();
        let mut state = network.lock();
        state.run_due();
        while let Some(socket) = state.next_changed(self.number) {
            self.list(core, socket);
        }
        let signalled = std::mem::take(&mut state.participants[self.number].is_woken);
        drop(state);
        signalled && self.waker.take()
    }

    /// Gives each listed socket a turn; returns the number of completions that were told.
    fn take_turns(&mut self, core: &mut Core<SocketState>, room: usize, reorder: bool) -> usize {
        self.started.clear();
        let mut reports = 0;
        for _ in 0..self.ready.len() {
            if reports >= room {
                break;
            }
            if reorder && self.ready.len() > 1 {
                let chosen = self.network.lock().random.below(self.ready.len() as u64) as usize;
                self.ready.swap(0, chosen);
            }
            let Some(socket) = self.ready.pop_front() else { break };
            // Detached since, or nothing to do: the next operation lists it again.
            let Some(entry) = core.socket_mut(socket) else { continue };
            entry.state.is_listed = false;
            for direction in [Direction::Writing, Direction::Reading] {
                reports += self.step(core, socket, direction);
            }
        }
        reports
    }

    /// Tells what is due in a lane, or else lets its operation try. Returns how many completions were told: 0 or 1.
    fn step(&mut self, core: &mut Core<SocketState>, socket: SocketId, direction: Direction) -> usize {
        let op = match direction {
            Direction::Reading => core.reader(socket),
            Direction::Writing => core.writer(socket),
        };
        let Some(op) = op else { return 0 };
        let Some(endpoint) = endpoint(core, socket) else { return 0 };
        let clock_ns = self.network.lock().clock_ns;
        let Some(entry) = core.socket_mut(socket) else { return 0 };
        let lane = entry.state.lane(direction);
        if let Some(report) = lane.take_due(clock_ns) {
            self.tell(core, op, report);
            self.list(core, socket);
            return 1;
        }
        if !lane.may_try() {
            return 0;
        }
        let is_told = lane.is_told();
        if lane.is_cancelled(clock_ns) {
            return self.achieve(core, socket, direction, Report::Finished(Err(Error::plain(ErrorCode::Cancelled))));
        }
        match self.attempt(core, op, endpoint) {
            Tried::Achieved(report) => {
                self.list(core, socket);
                self.achieve(core, socket, direction, report)
            }
            Tried::SentPart(bytes) => {
                core.sent(op, bytes);
                self.list(core, socket);
                0
            }
            // What was achieved before is told first: a parked operation has nothing under way.
            Tried::NoBuffer if is_told => {
                core.park(op);
                0
            }
            Tried::Nothing | Tried::NoBuffer => 0,
        }
    }

    /// Tells what an operation has achieved, now or later. Returns how many completions were told: 0 or 1.
    fn achieve(
        &mut self,
        core: &mut Core<SocketState>,
        socket: SocketId,
        direction: Direction,
        report: Report,
    ) -> usize {
        let op = match direction {
            Direction::Reading => core.reader(socket),
            Direction::Writing => core.writer(socket),
        };
        let (Some(op), Some(endpoint)) = (op, endpoint(core, socket)) else { return 0 };
        let network = self.network.clone();
        let mut state = network.lock();
        let delay_ns = if state.strikes(Fault::SlowCompletion) { state.draw_delay_ns() } else { 0 };
        let Some(entry) = core.socket_mut(socket) else { return 0 };
        match entry.state.lane(direction).put(&state, delay_ns, report) {
            Ok(report) => {
                drop(state);
                self.tell(core, op, report);
                1
            }
            Err(at_ns) => {
                state.at(at_ns, Event::Look { provider: self.number, endpoint });
                0
            }
        }
    }

    fn tell(&mut self, core: &mut Core<SocketState>, op: OpId, report: Report) {
        if report.is_final() {
            self.latest_finished = Some(op);
        }
        report.tell(core, op);
    }

    // Trying

    fn attempt(&mut self, core: &mut Core<SocketState>, id: OpId, endpoint: Key) -> Tried {
        let Some(kind) = core.op(id).map(|op| op.kind) else { return Tried::Nothing };
        let network = self.network.clone();
        let mut state = network.lock();
        match kind {
            OpKind::Connect => match state.connect_outcome(endpoint) {
                Some(outcome) => Tried::Achieved(Report::Finished(outcome.map(|()| 0))),
                None => Tried::Nothing,
            },
            OpKind::Accept | OpKind::AcceptStream => {
                let accepted = state.accept(endpoint);
                drop(state);
                self.accepted(kind, accepted)
            }
            OpKind::Send | OpKind::Receive | OpKind::ReceiveStream => match transfer::connection_of(&state, endpoint) {
                Err(error) => Tried::Achieved(Report::Finished(Err(error))),
                Ok(None) => Tried::Nothing,
                Ok(Some((connection, side))) if kind == OpKind::Send => {
                    transfer::send(&mut state, core, id, connection, side)
                }
                Ok(Some((connection, side))) => transfer::receive(&mut state, core, id, connection, side),
            },
            OpKind::Timeout | OpKind::Close | OpKind::Attach => {
                debug_assert!(false, "{kind:?} is the proactor's own");
                Tried::Nothing
            }
        }
    }

    fn accepted(&self, kind: OpKind, accepted: Option<Result<Key>>) -> Tried {
        match accepted {
            None => Tried::Nothing,
            Some(Err(error)) => Tried::Achieved(Report::Finished(Err(error))),
            Some(Ok(endpoint)) => {
                let socket = Socket::from(SimSocket::new(self.network.clone(), endpoint));
                let is_stream = kind == OpKind::AcceptStream;
                Tried::Achieved(if is_stream { Report::Connection(socket) } else { Report::Accepted(socket) })
            }
        }
    }
}

impl Drop for SimDriver {
    fn drop(&mut self) {
        self.network.lock().participants[self.number].is_gone = true;
    }
}

fn endpoint(core: &Core<SocketState>, socket: SocketId) -> Option<Key> {
    core.socket(socket)?.socket.as_simulated().map(SimSocket::endpoint)
}

const fn direction_of(kind: OpKind) -> Direction {
    match kind {
        OpKind::Connect | OpKind::Send => Direction::Writing,
        _ => Direction::Reading,
    }
}

/// Wakes a provider of the network.
struct Signal {
    network: SimNetwork,
    number: usize,
}

impl WakeSignal for Signal {
    fn signal(&self) {
        self.network.wake(self.number);
    }
}
