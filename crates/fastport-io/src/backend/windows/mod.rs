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

use std::io::ErrorKind;

use windows_sys::Win32::Networking::WinSock::{WSAECONNRESET, WSAGetLastError};

use crate::error::{Error, ErrorCode, Result};
use crate::socket::Socket;

/// What a receive of 0 bytes means. A reset that another operation was told of must not pass for the end of the data.
pub(crate) fn end_of_data(socket: &Socket) -> Result<u32> {
    let socket = socket.system();
    if let Ok(Some(error)) = socket.take_error() {
        let error = Error::from(error);
        if error.code() == ErrorCode::ConnectionReset {
            return Err(error);
        }
    }
    // Wine 8 forgets a reset that came before the receive. Only then, or after both sides have ended, has the socket no
    // peer any more, and a send of nothing tells the two apart. On Windows the address stays known.
    if socket.peer_addr().is_err() && socket.set_nonblocking(true).is_ok() {
        return match socket.send(&[]).map_err(|error| (error.kind(), error)) {
            Err((ErrorKind::ConnectionReset, error)) => Err(error.into()),
            // It stands behind a send that is in flight, so this side has not ended.
            Err((ErrorKind::WouldBlock, _)) => Err(Error::from_os(WSAECONNRESET)),
            _ => Ok(0),
        };
    }
    Ok(0)
}

/// Why the last call of Winsock on this thread failed.
pub(crate) fn last_error() -> i32 {
    // SAFETY: reads a value of this thread.
    unsafe { WSAGetLastError() }
}
