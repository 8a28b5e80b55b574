//! What IOCP and Registered I/O share: a completion port, overlapped operations on it, accepting and connecting.
//!
//! A driver owns one [`OverlappedIo`] and calls it from its own methods:
//!
//! | driver | calls |
//! |---|---|
//! | `start` | [`OverlappedIo::start_accept`], [`OverlappedIo::start_connect`], [`OverlappedIo::send`], [`OverlappedIo::receive`], [`OverlappedIo::await_data`]; each says what became of it by a [`Posted`] |
//! | `cancel` | [`OverlappedIo::cancel`] |
//! | `poll` | [`OverlappedIo::collect`], then [`OverlappedIo::next_packet`] until there is none |
//! | … a [`Packet::Completed`] of an accept or a connect | [`OverlappedIo::on_accept`], [`OverlappedIo::on_connect`] |
//! | … a receive of 0 bytes | [`end_of_data`] |
//! | `detach` | [`OverlappedIo::leave`] |
//!
//! # Ports
//! A socket joins the port with its first operation, not when it is attached: Windows lets a socket be at one port only,
//! and so accepted and fresh ones can still be detached and given to another provider. A used socket leaves its port when
//! it is detached, which needs Windows 8.1; before that (and under Wine 8) it can be attached to the same provider again
//! but to no other one.

mod accept;
mod blocks;
mod connect;
mod extensions;
mod overlapped;
mod port;

pub(crate) use self::extensions::any_tcp_socket;
pub(crate) use self::overlapped::{OverlappedIo, Packet, PortSocket, Posted, SocketKind};
pub(crate) use self::port::{CompletionPort, key};

use windows_sys::Win32::Networking::WinSock::{WSAECONNRESET, WSAGetLastError};

use crate::error::{Error, ErrorCode, Result};
use crate::operation::OpId;
use crate::proactor::Core;

/// What a receive of 0 bytes means. A reset that another operation was told of must not pass for the end of the data.
pub(crate) fn end_of_data<S: Default>(core: &Core<S>, op: OpId) -> Result<u32> {
    let Some(entry) = core.op(op).and_then(|op| core.socket(op.socket)) else { return Ok(0) };
    let socket = entry.socket.system();
    if let Ok(Some(error)) = socket.take_error() {
        let error = Error::from(error);
        if error.code() == ErrorCode::ConnectionReset {
            return Err(error);
        }
    }
    // Wine 8 forgets a reset that came before the receive. Only then, or after both sides have ended, has the socket no
    // peer any more. On Windows the address stays known. To ask by a send of nothing would not do: Wine forgets an
    // overlapped send for good that comes to stand behind it.
    if !entry.write_ended && socket.peer_addr().is_err() {
        return Err(Error::from_os(WSAECONNRESET));
    }
    Ok(0)
}

/// Why the last call of Winsock on this thread failed.
pub(crate) fn last_error() -> i32 {
    // SAFETY: reads a value of this thread.
    unsafe { WSAGetLastError() }
}
