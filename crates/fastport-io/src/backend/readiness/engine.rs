//! The engine: a [`Driver`] that makes the calls itself, when they can succeed.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use socket2::Socket;

use super::{Readiness, Selector, calls};
use crate::config::ProviderConfig;
use crate::error::{Error, ErrorCode, Result};
use crate::info::ProviderInfo;
use crate::operation::{OpId, OpKind, SendAtOnce, SocketId};
use crate::proactor::{BATCH_BYTES, Core, Driver, Work};
use crate::socket::unix;
use crate::waker::Waker;

/// The readiness engine over one selector.
///
/// # Fairness
/// Sockets that have something to try stand in the ready list, each once. A turn makes at most one call in each
/// direction; who can go on stands behind all others. The selector is asked again after one round of turns, so a few
/// busy sockets can neither starve each other nor keep new arrivals from being seen.
///
/// # Calls
/// A receive that leaves room in its buffer has emptied a stream socket, and new data makes a new edge, so no call is
/// spent on `EAGAIN`: an echoed packet costs one receive and one send. Receives are made one by one as completions are
/// asked for, so that a handler that drops its lease gives a hot buffer to the next of them. Most sends are taken whole at
/// once, and need no operation; those of many sockets are made together ([`Selector::send_each`]). Every other poll hands
/// completions that are there over without asking the selector, which saves half of its calls.
pub struct ReadinessDriver<S> {
    selector: S,
    waker: Waker,
    info: ProviderInfo,
    /// Sockets with something to try, longest waiting first.
    ready: VecDeque<SocketId>,
    /// Turns left until the selector is asked again.
    turns: usize,
    /// The latest poll passed the selector over, so the next one asks it.
    passed_over: bool,
}

/// What the engine knows of a socket.
#[derive(Default)]
pub(crate) struct SocketState {
    /// A receive or an accept is worth trying. False at first: the selector tells the present state of a new socket.
    readable: bool,
    /// A send is not worth trying, or a connect is not decided. False at first: a new connection takes bytes.
    write_blocked: bool,
    /// A receive that leaves room does not prove that the socket is empty; see [`Readiness::more_behind`].
    more_behind: bool,
    /// An accept was tried, which shows whether the socket listens at all. kqueue is silent about one that does not.
    accept_tried: bool,
    /// It stands in the ready list.
    listed: bool,
    mode: BlockingMode,
    /// The error that ended the connection, if the selector took it off the socket. A receive then returns 0, which is
    /// not the end of the peer's data.
    failure: Option<Errno>,
}

/// Whether accept and connect may block; see the module.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum BlockingMode {
    /// As it was when the socket was attached; nobody looked.
    #[default]
    Unknown,
    /// The socket was non-blocking when it was attached.
    WasNonblocking,
    /// It was blocking, and has to be again when it leaves.
    WasBlocking,
}

impl<S: Selector> Driver for ReadinessDriver<S> {
    type SocketState = SocketState;

    fn open(config: &ProviderConfig) -> Result<Self> {
        let mut notes = Vec::new();
        let selector = S::open(config, &mut notes)?;
        let waker = Waker::new(selector.wake_signal());
        let info = ProviderInfo {
            backend: S::BACKEND,
            features: selector.features(),
            queue_depth: config.queue_depth,
            completion_depth: config.queue_depth,
            max_operations: config.max_operations,
            notes,
        };
        Ok(Self { selector, waker, info, ready: VecDeque::new(), turns: 0, passed_over: false })
    }

    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    fn waker(&self) -> &Waker {
        &self.waker
    }

    fn attach(&mut self, core: &mut Core<SocketState>, socket: SocketId) -> Result<()> {
        let Some(entry) = core.socket_mut(socket) else { return Err(Error::plain(ErrorCode::SocketNotRegistered)) };
        self.selector.add(entry.socket.system().as_fd(), socket.to_bits())?;
        let prepared = calls::prepare(entry.socket.system()).and_then(|()| {
            if S::NEEDS_NONBLOCKING { entry.state.make_nonblocking(entry.socket.system()) } else { Ok(()) }
        });
        prepared.map_err(|errno| {
            self.selector.remove(entry.socket.system().as_fd());
            error(errno)
        })
    }

    fn detach(&mut self, core: &mut Core<SocketState>, socket: SocketId) {
        let Some(entry) = core.socket(socket) else { return };
        self.selector.remove(entry.socket.system().as_fd());
        if entry.state.mode == BlockingMode::WasBlocking
            && let Err(error) = entry.socket.set_nonblocking(false)
        {
            tracing::debug!(%error, "a socket stays non-blocking");
        }
    }

    fn start(&mut self, core: &mut Core<SocketState>, op: OpId) {
        let Some((kind, socket)) = core.op(op).map(|op| (op.kind, op.socket)) else { return };
        match kind {
            OpKind::Connect => self.connect(core, op, socket),
            OpKind::Accept | OpKind::AcceptStream => self.start_accept(core, op, socket),
            OpKind::Send if Self::may_write(core, socket) => self.send(core, op, socket),
            OpKind::ReceiveStream if Self::may_read(core, socket) => self.receive_from_stream(core, op, socket),
            OpKind::Receive if Self::may_read(core, socket) => Self::receive_once(core, op, socket),
            OpKind::Send | OpKind::Receive | OpKind::ReceiveStream => 0,
            OpKind::Timeout | OpKind::Close | OpKind::Attach => {
                debug_assert!(false, "never given to a driver");
                0
            }
        };
    }

    const SENDS_AT_ONCE: usize = usize::MAX;

    #[inline]
    fn send_at_once(&mut self, core: &mut Core<SocketState>, sends: &mut [SendAtOnce<'_>]) {
        self.selector.send_each(sends, |socket| {
            let entry = core.socket(socket).filter(|entry| !entry.state.write_blocked)?;
            Some(entry.socket.system().as_fd())
        });
        for send in sends {
            if matches!(&send.taken, Err(error) if error.os_code() == Errno::AGAIN.raw_os_error()) {
                send.taken = self.watch_for_room(core, send.socket).map(|()| 0);
            }
        }
    }

    fn cancel(&mut self, core: &mut Core<SocketState>, op: OpId) {
        core.finish(op, Err(Error::plain(ErrorCode::Cancelled)));
    }

    /// Calls are made as operations start; there is nothing to hand over.
    fn flush(&mut self, _core: &mut Core<SocketState>) -> Result<usize> {
        Ok(0)
    }

    fn poll(&mut self, core: &mut Core<SocketState>, wait: Option<Duration>, room: usize) -> Result<bool> {
        let mut woken = false;
        let completed = core.ready() > 0 && wait == Some(Duration::ZERO);
        self.passed_over = completed && self.turns == 0 && !self.passed_over;
        if self.turns == 0 && !self.passed_over {
            let wait = if self.ready.is_empty() { wait } else { Some(Duration::ZERO) };
            woken = self.ask_selector(core, wait)?;
            self.turns = self.ready.len();
        }
        let mut reports = 0;
        let enough_bytes = core.bytes_received() + BATCH_BYTES as u64;
        while reports < room && self.turns > 0 && core.bytes_received() < enough_bytes {
            self.turns -= 1;
            let Some(socket) = self.ready.pop_front() else { break };
            reports += self.take_turn(core, socket);
        }
        Ok(woken)
    }
}

/// The steps below return how many completions they reported: 0 or 1.
#[allow(private_bounds, reason = "the type is public only as a part of the provider's; its driver is this crate's own")]
impl<S: Selector> ReadinessDriver<S> {
    /// Waits, and notes what became ready. Returns true if a waker ended the wait.
    fn ask_selector(&mut self, core: &mut Core<SocketState>, wait: Option<Duration>) -> Result<bool> {
        let ready = &mut self.ready;
        let signalled = self.selector.wait(wait, |readiness: Readiness| {
            let socket = SocketId::from_bits(readiness.token);
            let Some(entry) = core.socket_mut(socket) else { return };
            let state = &mut entry.state;
            let unblocked = readiness.writable && std::mem::take(&mut state.write_blocked);
            state.readable |= readiness.readable;
            state.more_behind |= readiness.more_behind;
            if let Some(errno) = readiness.failure {
                state.note_failure(errno);
            }
            if readiness.readable || unblocked {
                state.list(ready, socket);
            }
        })?;
        Ok(signalled && self.waker.take())
    }

    /// Tries what the socket's operations wait for, once in each direction.
    fn take_turn(&mut self, core: &mut Core<SocketState>, socket: SocketId) -> usize {
        // Detached since, or nothing to do: the next operation finds what is known in the state.
        let Some(entry) = core.socket_mut(socket) else { return 0 };
        entry.state.listed = false;
        self.write(core, socket) + self.read(core, socket)
    }

    // The writing lane

    #[inline]
    fn may_write(core: &Core<SocketState>, socket: SocketId) -> bool {
        core.socket(socket).is_some_and(|entry| !entry.state.write_blocked)
    }

    #[inline]
    fn write(&mut self, core: &mut Core<SocketState>, socket: SocketId) -> usize {
        if !Self::may_write(core, socket) {
            return 0;
        }
        let Some(id) = core.writer(socket) else { return 0 };
        match core.op(id).map(|op| op.kind) {
            Some(OpKind::Connect) => self.finish_connect(core, id, socket),
            _ => self.send(core, id, socket),
        }
    }

    fn connect(&mut self, core: &mut Core<SocketState>, id: OpId, socket: SocketId) -> usize {
        let Some(Work::Connect(address)) = core.op(id).map(|op| &op.work) else { return 0 };
        let address = **address;
        let Some(entry) = core.socket_mut(socket) else { return 0 };
        // What was told before is about the socket without a connection: hung up, as epoll says.
        entry.state.readable = false;
        entry.state.more_behind = false;
        entry.state.failure = None;
        let connected = entry
            .state
            .make_nonblocking(entry.socket.system())
            .and_then(|()| calls::connect(entry.socket.system(), &address));
        match connected {
            Ok(true) => core.finish(id, Ok(0)),
            Ok(false) => return self.await_room(core, id, socket),
            Err(errno) => core.finish(id, Err(error(errno))),
        }
        1
    }

    /// The socket became writable: the connect is decided.
    fn finish_connect(&mut self, core: &mut Core<SocketState>, id: OpId, socket: SocketId) -> usize {
        let Some(entry) = core.socket_mut(socket) else { return 0 };
        match entry.state.failure.map_or_else(|| calls::connected(entry.socket.system()), Err) {
            Ok(true) => core.finish(id, Ok(0)),
            Ok(false) if entry.state.more_behind => core.finish(id, Err(error(Errno::NOTCONN))),
            Ok(false) => return self.await_room(core, id, socket),
            Err(errno) => core.finish(id, Err(error(errno))),
        }
        1
    }

    #[inline]
    fn send(&mut self, core: &mut Core<SocketState>, id: OpId, socket: SocketId) -> usize {
        let Some(transfer) = core.transfer(id) else { return 0 };
        let Some(entry) = core.socket_mut(socket) else { return 0 };
        let bytes_of = |(start, bytes): (*mut u8, usize)| {
            // SAFETY: the operation keeps its ranges alive until it is finished, which is after this call, and nothing else
            // runs on this thread, to which the memory belongs, while it lasts.
            unsafe { std::slice::from_raw_parts(start.cast_const(), bytes) }
        };
        let (first, second) = (bytes_of(transfer.first), transfer.second.map_or(&[][..], bytes_of));
        match unix::send(entry.socket.system(), first, second) {
            Ok(bytes) => {
                if core.sent(id, bytes as u32) {
                    return 1;
                }
                // The next turn goes on, or finds the socket full.
                self.list(core, socket);
                0
            }
            Err(Errno::AGAIN) => self.await_room(core, id, socket),
            Err(errno) => {
                core.finish(id, Err(error(errno)));
                1
            }
        }
    }

    /// The operation goes on when the selector tells that there is room.
    fn await_room(&mut self, core: &mut Core<SocketState>, id: OpId, socket: SocketId) -> usize {
        let Err(error) = self.watch_for_room(core, socket) else { return 0 };
        core.finish(id, Err(error));
        1
    }

    fn watch_for_room(&mut self, core: &mut Core<SocketState>, socket: SocketId) -> Result<()> {
        let Some(entry) = core.socket_mut(socket) else { return Ok(()) };
        self.selector.await_room(entry.socket.system().as_fd(), socket.to_bits())?;
        entry.state.write_blocked = true;
        Ok(())
    }

    // The reading lane

    #[inline]
    fn may_read(core: &Core<SocketState>, socket: SocketId) -> bool {
        core.socket(socket).is_some_and(|entry| entry.state.readable)
    }

    #[inline]
    fn read(&mut self, core: &mut Core<SocketState>, socket: SocketId) -> usize {
        if !Self::may_read(core, socket) {
            return 0;
        }
        let Some(id) = core.reader(socket) else { return 0 };
        match core.op(id).map(|op| op.kind) {
            Some(OpKind::ReceiveStream) => self.receive_from_stream(core, id, socket),
            Some(OpKind::Receive) => Self::receive_once(core, id, socket),
            Some(kind) => self.accept(core, id, kind, socket),
            None => 0,
        }
    }

    fn receive_from_stream(&mut self, core: &mut Core<SocketState>, id: OpId, socket: SocketId) -> usize {
        let Some(mut buffer) = core.pool.acquire() else {
            // Still readable: the operation is started again, and so comes here, when there is a buffer.
            core.park(id);
            return 0;
        };
        let Some(entry) = core.socket_mut(socket) else { return 0 };
        match entry.state.receive(entry.socket.system(), &mut buffer) {
            Received::Bytes(bytes) => {
                if entry.state.readable {
                    entry.state.list(&mut self.ready, socket);
                }
                core.deliver_bytes(id, buffer.freeze(bytes));
            }
            Received::Nothing => return 0,
            Received::End => core.finish(id, Ok(0)),
            Received::Failed(errno) => core.finish(id, Err(error(errno))),
        }
        1
    }

    fn receive_once(core: &mut Core<SocketState>, id: OpId, socket: SocketId) -> usize {
        let Some(transfer) = core.transfer(id) else { return 0 };
        let Some(entry) = core.socket_mut(socket) else { return 0 };
        let (start, bytes) = transfer.first;
        // SAFETY: the range is initialised memory that belongs to the operation alone until it is finished, which is
        // after this call.
        let buffer = unsafe { std::slice::from_raw_parts_mut(start, bytes) };
        match entry.state.receive(entry.socket.system(), buffer) {
            Received::Bytes(bytes) => core.received(id, bytes as u32),
            Received::Nothing => return 0,
            Received::End => core.received(id, 0),
            Received::Failed(errno) => core.finish(id, Err(error(errno))),
        }
        1
    }

    fn start_accept(&mut self, core: &mut Core<SocketState>, id: OpId, socket: SocketId) -> usize {
        let Some(entry) = core.socket_mut(socket) else { return 0 };
        if let Err(errno) = entry.state.make_nonblocking(entry.socket.system()) {
            core.finish(id, Err(error(errno)));
            return 1;
        }
        // In a turn, not here: a listener under load must not outrun the room for completions.
        entry.state.readable |= !std::mem::replace(&mut entry.state.accept_tried, true);
        if entry.state.readable {
            entry.state.list(&mut self.ready, socket);
        }
        0
    }

    fn accept(&mut self, core: &mut Core<SocketState>, id: OpId, kind: OpKind, socket: SocketId) -> usize {
        let Some(entry) = core.socket_mut(socket) else { return 0 };
        match calls::accept(entry.socket.system()) {
            Ok(connection) if kind == OpKind::AcceptStream => {
                entry.state.list(&mut self.ready, socket);
                core.deliver_socket(id, connection.into());
            }
            Ok(connection) => core.finish_accept(id, connection.into()),
            Err(Errno::AGAIN) => {
                entry.state.readable = false;
                return 0;
            }
            Err(errno) if calls::died_before_accept(errno) => {
                tracing::debug!(%errno, "a connection died before it was accepted");
                entry.state.list(&mut self.ready, socket);
                return 0;
            }
            // The connection still waits (EMFILE, say): the listener stays readable, and the next accept tries at once.
            Err(errno) => core.finish(id, Err(error(errno))),
        }
        1
    }

    fn list(&mut self, core: &mut Core<SocketState>, socket: SocketId) {
        if let Some(entry) = core.socket_mut(socket) {
            entry.state.list(&mut self.ready, socket);
        }
    }
}

/// What one call to receive brought.
enum Received {
    /// This many, at least one.
    Bytes(usize),
    /// The peer has ended its data.
    End,
    /// Not now.
    Nothing,
    Failed(Errno),
}

impl SocketState {
    #[inline]
    fn list(&mut self, ready: &mut VecDeque<SocketId>, socket: SocketId) {
        if !std::mem::replace(&mut self.listed, true) {
            ready.push_back(socket);
        }
    }

    /// Receives once, and notes what that says about the socket.
    #[inline]
    fn receive(&mut self, socket: &Socket, buffer: &mut [u8]) -> Received {
        match calls::receive(socket, buffer) {
            // The end stays: every later receive finds it again.
            Ok(0) => self.failure.map_or(Received::End, Received::Failed),
            Ok(bytes) => {
                self.readable = bytes == buffer.len() || self.more_behind;
                Received::Bytes(bytes)
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                self.more_behind = false;
                Received::Nothing
            }
            Err(errno) => Received::Failed(errno),
        }
    }

    /// Keeps an error that is on the socket no more.
    fn note_failure(&mut self, errno: Errno) {
        // The first two may pass. The third says that there is no connection yet. After the last one the other direction
        // is as it was: a peer that had ended its data before it reset the connection is at its end.
        if !matches!(errno, Errno::NOBUFS | Errno::NOMEM | Errno::NOTCONN | Errno::PIPE) {
            self.failure.get_or_insert(errno);
        }
    }

    fn make_nonblocking(&mut self, socket: &Socket) -> calls::CallResult<()> {
        if self.mode == BlockingMode::Unknown {
            let was_blocking = calls::make_nonblocking(socket)?;
            self.mode = if was_blocking { BlockingMode::WasBlocking } else { BlockingMode::WasNonblocking };
        }
        Ok(())
    }
}

fn error(errno: Errno) -> Error {
    Error::from_os(errno.raw_os_error())
}
