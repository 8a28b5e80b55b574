//! Overlapped operations of one provider: starting them, collecting their packets, cancelling them.

use std::collections::HashSet;
use std::os::windows::io::{AsRawSocket, RawSocket};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Type};
use windows_sys::Win32::Foundation::ERROR_INVALID_PARAMETER;
use windows_sys::Win32::Networking::WinSock::{
    SOCKET, WSA_IO_PENDING, WSABUF, WSAECONNABORTED, WSAGetOverlappedResult, WSARecv, WSASend,
};
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED, OVERLAPPED_ENTRY};

use super::accept::Listening;
use super::blocks::{Blocks, Place};
use super::extensions::{Extensions, any_tcp_socket};
use super::last_error;
use super::port::{self, CompletionPort, PortSignal, key};
use crate::config::ProviderConfig;
use crate::error::{Error, ErrorCode, Result};
use crate::operation::{OpId, OpKind, SocketId};
use crate::proactor::{Core, Transfer};
use crate::socket::Socket;
use crate::waker::Waker;

/// How soon a cancellation that found nothing is tried again, if no packet comes before. On Windows the operation's packet is
/// at the port then.
const MISSED_WAIT: Duration = Duration::from_millis(1);

/// How sockets are made, accepted ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketKind {
    /// For overlapped calls.
    Overlapped,
    /// For overlapped calls and for request queues (`WSA_FLAG_REGISTERED_IO`).
    Registered,
}

impl SocketKind {
    pub(super) fn socket(self, domain: Domain) -> Result<Socket> {
        let kind = match self {
            Self::Overlapped => Type::STREAM,
            Self::Registered => Type::STREAM.registered_io(),
        };
        socket2::Socket::new(domain, kind, Some(Protocol::TCP))
            .map(Socket::from)
            .map_err(|error| Error::from(error).during("cannot create a socket"))
    }
}

/// What is kept for a socket. A driver's own state for sockets hands it out by `AsMut`.
#[derive(Default)]
pub(crate) struct PortSocket {
    /// It is at the port.
    joined: bool,
    /// Operations that succeed at once post no packet.
    skips: bool,
    /// The accepts in flight, once it accepted.
    pub(super) listening: Option<Box<Listening>>,
}

impl AsMut<PortSocket> for PortSocket {
    fn as_mut(&mut self) -> &mut PortSocket {
        self
    }
}

/// What became of an operation that was started.
///
/// A driver must not finish an operation inside the call that started it, because its id is good until its completion was
/// handed over: it puts what ended at once in a queue of its own, and looks at that when it polls.
#[must_use]
pub(crate) enum Posted {
    /// Its packet will come.
    Queued,
    /// It is done, with so many bytes, and no packet will come.
    Done(u32),
    /// It was refused, and no packet will come.
    Failed(Error),
}

/// A packet of the port.
pub(crate) enum Packet {
    /// An overlapped operation ended.
    Completed(Completed),
    /// A waker.
    Wake,
    /// A packet with a key of the backend's own.
    Backend(usize),
}

/// How an overlapped operation ended.
pub(crate) struct Completed {
    pub(crate) op: OpId,
    pub(crate) kind: OpKind,
    /// Bytes, or why it failed. `Cancelled` only if the operation's end was asked for.
    pub(crate) result: Result<u32>,
    pub(super) place: Place,
    /// The socket that an accept was given.
    pub(super) accepting: Option<Socket>,
}

impl Completed {
    /// True if it goes to [`OverlappedIo::on_accept`].
    pub(crate) fn is_accept(&self) -> bool {
        matches!(self.kind, OpKind::Accept | OpKind::AcceptStream)
    }
}

/// See the module above.
pub(crate) struct OverlappedIo {
    pub(super) port: Arc<CompletionPort>,
    pub(super) extensions: Extensions,
    pub(super) blocks: Blocks,
    pub(super) kind: SocketKind,
    pub(super) preposted_accepts: usize,
    skip_packets: bool,
    /// The batch that was collected last: `packets[next..end]` is still to be looked at.
    packets: Box<[OVERLAPPED_ENTRY]>,
    next: usize,
    end: usize,
    /// What is in flight though its cancellation found nothing; see [`Self::cancel`].
    missed: Vec<(OpId, Place)>,
    /// Detached sockets that could not leave the port, so that they can come back.
    remained: HashSet<RawSocket>,
    waker: Waker,
}

/// A socket that is at the port.
pub(super) struct Joined {
    pub(super) socket: SOCKET,
    pub(super) skips: bool,
}

impl OverlappedIo {
    pub(crate) fn open(config: &ProviderConfig, kind: SocketKind) -> Result<Self> {
        let socket = any_tcp_socket()?;
        let extensions = Extensions::load(&socket)?;
        let port = Arc::new(CompletionPort::new()?);
        Ok(Self {
            waker: Waker::new(Box::new(PortSignal(Arc::clone(&port)))),
            port,
            extensions,
            blocks: Blocks::new(),
            kind,
            preposted_accepts: config.iocp.preposted_accepts as usize,
            skip_packets: config.iocp.skip_completion_on_success && port::packets_may_be_skipped(&socket),
            packets: vec![OVERLAPPED_ENTRY::default(); config.queue_depth as usize].into_boxed_slice(),
            next: 0,
            end: 0,
            missed: Vec::new(),
            remained: HashSet::new(),
        })
    }

    pub(crate) fn port(&self) -> &Arc<CompletionPort> {
        &self.port
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// True if operations that succeed at once end without a packet.
    pub(crate) fn skips_packets(&self) -> bool {
        self.skip_packets
    }

    /// A socket of the provider's kind.
    pub(crate) fn create_socket(&self, address: &std::net::SocketAddr) -> Result<Socket> {
        self.kind.socket(Domain::for_address(*address))
    }

    // Starting

    /// Sends what an operation has still to send. May take a part only; [`Core::sent`] tells.
    pub(crate) fn send<S: Default + AsMut<PortSocket>>(&mut self, core: &mut Core<S>, op: OpId) -> Posted {
        let Some(transfer) = core.transfer(op) else { return no_such_operation() };
        let (buffers, count) = wsabufs(&transfer);
        self.issue(core, op, |socket, overlapped, bytes| {
            // SAFETY: the operation keeps its bytes, and the pool the block, until the packet was taken. The array of
            // ranges is read before the call returns (WSASend, "lpBuffers").
            unsafe { WSASend(socket, buffers.as_ptr(), count, bytes, 0, overlapped, None) }
        })
    }

    /// Receives into the buffer of an operation.
    pub(crate) fn receive<S: Default + AsMut<PortSocket>>(&mut self, core: &mut Core<S>, op: OpId) -> Posted {
        let Some(transfer) = core.transfer(op) else { return no_such_operation() };
        let (buffers, count) = wsabufs(&transfer);
        self.receive_into(core, op, &buffers[..count as usize])
    }

    /// Completes, with 0 bytes, when a receive would not have to wait: data, the end of data, or an error is there.
    pub(crate) fn await_data<S: Default + AsMut<PortSocket>>(&mut self, core: &mut Core<S>, op: OpId) -> Posted {
        let nothing = WSABUF { len: 0, buf: NonNull::dangling().as_ptr() };
        self.receive_into(core, op, &[nothing])
    }

    fn receive_into<S: Default + AsMut<PortSocket>>(
        &mut self,
        core: &mut Core<S>,
        op: OpId,
        buffers: &[WSABUF],
    ) -> Posted {
        self.issue(core, op, |socket, overlapped, bytes| {
            let mut flags = 0;
            // SAFETY: the operation keeps its buffer, and the pool the block, until the packet was taken. The array of
            // ranges and the flags are read before the call returns (WSARecv, "lpBuffers").
            unsafe { WSARecv(socket, buffers.as_ptr(), buffers.len() as u32, bytes, &raw mut flags, overlapped, None) }
        })
    }

    /// Makes an overlapped call that returns 0 or sets the last error. What it is given must stay valid until its packet
    /// was taken. Notes the block on the operation, so that it can be cancelled.
    pub(super) fn issue<S: Default + AsMut<PortSocket>>(
        &mut self,
        core: &mut Core<S>,
        id: OpId,
        call: impl FnOnce(SOCKET, *mut OVERLAPPED, *mut u32) -> i32,
    ) -> Posted {
        let Some(op) = core.op(id) else { return no_such_operation() };
        let joined = match self.join(core, op.socket) {
            Ok(joined) => joined,
            Err(error) => return Posted::Failed(error),
        };
        let place = self.blocks.take(id);
        let mut bytes = 0;
        if call(joined.socket, self.blocks.overlapped(place), &raw mut bytes) == 0 {
            if joined.skips {
                self.blocks.put_back(place);
                return Posted::Done(bytes);
            }
        } else {
            let error = last_error();
            if error != WSA_IO_PENDING {
                self.blocks.put_back(place);
                return Posted::Failed(Error::from_os(error));
            }
        }
        if let Some(op) = core.op_mut(id) {
            op.note = place.to_note();
        }
        Posted::Queued
    }

    // Ports

    /// Brings a socket to the port, if it is not there yet.
    pub(super) fn join<S: Default + AsMut<PortSocket>>(&mut self, core: &mut Core<S>, id: SocketId) -> Result<Joined> {
        let entry = core.socket_mut(id).ok_or(Error::plain(ErrorCode::SocketNotRegistered))?;
        let (socket, state) = (&entry.socket, entry.state.as_mut());
        let raw = socket.as_raw_socket();
        if !state.joined {
            let remained = self.remained.remove(&raw);
            match self.port.associate(socket) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(ERROR_INVALID_PARAMETER as i32) => {
                    if !remained {
                        return Err(Error::new(
                            ErrorCode::InvalidSocket,
                            "the socket was used with another provider's completion port and cannot leave it; \
                             hand sockets over before their first operation",
                        ));
                    }
                }
                Err(error) => return Err(Error::from(error).during("cannot bring the socket to the completion port")),
            }
            state.joined = true;
            state.skips = if self.skip_packets {
                port::skip_packets_on_success(socket).is_ok()
            } else {
                // A provider that it belonged to before may have said so.
                port::skips_packets_on_success(socket)
            };
        }
        Ok(Joined { socket: raw as SOCKET, skips: state.skips })
    }

    /// Takes a socket without operations away from the port.
    pub(crate) fn leave<S: Default + AsMut<PortSocket>>(&mut self, core: &mut Core<S>, id: SocketId) {
        let Some(entry) = core.socket_mut(id) else { return };
        // One that is about to be closed leaves by that.
        if entry.is_closing() || !std::mem::take(&mut entry.state.as_mut().joined) {
            return;
        }
        if !port::dissociate(&entry.socket) {
            self.remained.insert(entry.socket.as_raw_socket());
        }
    }

    // Completing

    /// Waits at most `wait` (`None`: for ever) for packets and takes at most `room` of them, for `next_packet`.
    pub(crate) fn collect<S: Default>(&mut self, core: &Core<S>, wait: Option<Duration>, room: usize) -> Result<()> {
        debug_assert_eq!(self.next, self.end, "the packets of the last batch were looked at");
        let room = room.clamp(1, self.packets.len());
        let wait =
            if self.cancel_missed(core) { Some(wait.map_or(MISSED_WAIT, |wait| wait.min(MISSED_WAIT))) } else { wait };
        self.next = 0;
        self.end = self.port.collect(&mut self.packets[..room], wait)?;
        Ok(())
    }

    /// The next packet that was collected.
    pub(crate) fn next_packet<S: Default>(&mut self, core: &mut Core<S>) -> Option<Packet> {
        while self.next < self.end {
            let entry = self.packets[self.next];
            self.next += 1;
            match entry.lpCompletionKey {
                key::WAKE => return Some(Packet::Wake),
                key::SOCKET => {
                    let Some(overlapped) = NonNull::new(entry.lpOverlapped) else { continue };
                    if let Some(completed) = self.completed(core, overlapped, entry.dwNumberOfBytesTransferred) {
                        return Some(Packet::Completed(completed));
                    }
                }
                key => return Some(Packet::Backend(key)),
            }
        }
        None
    }

    /// Looks at an operation that ended, and frees its block.
    fn completed<S: Default>(
        &mut self,
        core: &mut Core<S>,
        overlapped: NonNull<OVERLAPPED>,
        bytes: u32,
    ) -> Option<Completed> {
        // SAFETY: packets with this key are those of sockets that joined by `join`, and every operation on those that
        // makes packets was given a block of this pool, which lives.
        let place = unsafe { Blocks::place_of(overlapped) };
        // SAFETY: the block's packet was taken, so the system has let go of it.
        let status = unsafe { (*overlapped.as_ptr()).Internal } as i32;
        let id = self.blocks.op(place)?;
        let accepting = self.blocks.take_accepting(place);
        let Some(op) = core.op_from_kernel(id) else {
            self.blocks.put_back(place);
            return None;
        };
        op.note = 0;
        let (kind, cancelled, socket) = (op.kind, op.cancelled, op.socket);
        let result = if status >= 0 {
            Ok(bytes)
        } else {
            let raw = core.socket(socket).map(|entry| entry.socket.as_raw_socket() as SOCKET);
            let error = Error::from_os(raw.map_or(WSAECONNABORTED, |raw| error_of(raw, overlapped)));
            // Windows aborts operations for reasons of its own too, which is no cancellation for whoever waits.
            if error.is_cancelled() && !cancelled { Err(Error::from_os(WSAECONNABORTED)) } else { Err(error) }
        };
        self.blocks.put_back(place);
        Some(Completed { op: id, kind, result, place, accepting })
    }

    // Cancelling

    /// Asks the system to end what an operation has in flight. False if that is nothing, so that no packet will come.
    pub(crate) fn cancel<S: Default + AsMut<PortSocket>>(&mut self, core: &mut Core<S>, id: OpId) -> bool {
        let Some(op) = core.op(id) else { return false };
        let (kind, note, socket) = (op.kind, op.note, op.socket);
        let Some(entry) = core.socket_mut(socket) else { return false };
        if matches!(kind, OpKind::Accept | OpKind::AcceptStream) {
            let Some(listening) = &entry.state.as_mut().listening else { return false };
            for &place in &listening.in_flight {
                if !cancel_place(&self.blocks, &entry.socket, place) {
                    self.missed.push((id, place));
                }
            }
            return !listening.in_flight.is_empty();
        }
        let Some(place) = Place::from_note(note) else { return false };
        if !cancel_place(&self.blocks, &entry.socket, place) {
            self.missed.push((id, place));
        }
        true
    }

    /// Cancels once more what was missed and has not ended since. True if something is still missed.
    fn cancel_missed<S: Default>(&mut self, core: &Core<S>) -> bool {
        let blocks = &self.blocks;
        self.missed.retain(|&(id, place)| {
            let socket = core.op(id).and_then(|op| core.socket(op.socket));
            blocks.op(place) == Some(id) && socket.is_some_and(|entry| !cancel_place(blocks, &entry.socket, place))
        });
        !self.missed.is_empty()
    }
}

/// False if the system finds nothing to cancel: the operation has ended, and its packet is on its way. Wine does not find
/// either what it is just trying again, such as a send of which a part is out, and goes on with it afterwards.
fn cancel_place(blocks: &Blocks, socket: &Socket, place: Place) -> bool {
    // SAFETY: the handle is open, and the block in flight.
    unsafe { CancelIoEx(port::socket_handle(socket), blocks.overlapped(place)) != 0 }
}

/// Why an operation failed, as a code of Winsock. The status itself maps to codes that say less.
fn error_of(socket: SOCKET, overlapped: NonNull<OVERLAPPED>) -> i32 {
    let (mut bytes, mut flags) = (0, 0);
    // SAFETY: the socket is open, the block is valid and its operation has ended, so the call does not wait.
    let succeeded = unsafe { WSAGetOverlappedResult(socket, overlapped.as_ptr(), &raw mut bytes, 0, &raw mut flags) };
    // A failed operation is not told as a success; should it be, the connection is unusable all the same.
    if succeeded == 0 { last_error() } else { WSAECONNABORTED }
}

/// The ranges of a transfer, and how many they are.
fn wsabufs(transfer: &Transfer) -> ([WSABUF; 2], u32) {
    let wsabuf = |(start, bytes): (*mut u8, usize)| WSABUF { len: bytes as u32, buf: start };
    let empty = WSABUF { len: 0, buf: std::ptr::null_mut() };
    match transfer.second {
        Some(second) => ([wsabuf(transfer.first), wsabuf(second)], 2),
        None => ([wsabuf(transfer.first), empty], 1),
    }
}

pub(super) fn no_such_operation() -> Posted {
    Posted::Failed(Error::plain(ErrorCode::OperationFailed))
}
