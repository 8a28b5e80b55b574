//! Connecting by `ConnectEx`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::windows::io::AsRawSocket;

use socket2::SockAddr;
use windows_sys::Win32::Networking::WinSock::{
    SO_REUSE_UNICASTPORT, SO_UPDATE_CONNECT_CONTEXT, SOCKET, SOL_SOCKET, WSAEINVAL, setsockopt,
};

use super::last_error;
use super::overlapped::{OverlappedIo, PortSocket, Posted, no_such_operation};
use crate::error::{Error, Result};
use crate::operation::OpId;
use crate::proactor::{Core, Work};
use crate::socket::Socket;

impl OverlappedIo {
    /// Starts a connect.
    pub(crate) fn start_connect<S: Default + AsMut<PortSocket>>(&mut self, core: &mut Core<S>, id: OpId) -> Posted {
        let Some(op) = core.op(id) else { return no_such_operation() };
        let Work::Connect(address) = &op.work else { return no_such_operation() };
        let address = **address;
        let Some(entry) = core.socket(op.socket) else { return no_such_operation() };
        if let Err(error) = bind(&entry.socket, &address) {
            return Posted::Failed(error.during("cannot bind the socket that shall connect"));
        }
        let connect = self.extensions.connect;
        let address = SockAddr::from(address);
        self.issue(core, id, |socket, overlapped, sent| {
            // SAFETY: the socket is open and the block kept until the packet was taken; the address is read before the
            // call returns; nothing is sent.
            let connected = unsafe {
                connect(socket, address.as_ptr().cast(), address.len(), std::ptr::null(), 0, sent, overlapped)
            };
            i32::from(connected == 0)
        })
    }

    /// A connect ended.
    pub(crate) fn on_connect<S: Default + AsMut<PortSocket>>(core: &mut Core<S>, id: OpId, result: Result<u32>) {
        let socket = core.op(id).and_then(|op| core.socket(op.socket)).map(|entry| &entry.socket);
        let Some(socket) = socket else { return };
        let result = result.and_then(|_| settle(socket)).map(|()| 0);
        core.finish(id, result);
    }
}

/// `ConnectEx` wants a bound socket: binds it to any address, unless it is bound already.
fn bind(socket: &Socket, address: &SocketAddr) -> Result<()> {
    let reuse: i32 = 1;
    // Lets ports of this kind be shared by connections to different peers, as a connect without a bind does. Windows 10
    // or newer, and not vital, so the answer is left alone.
    // SAFETY: the socket is open, and the value has the size told.
    unsafe {
        setsockopt(
            socket.as_raw_socket() as SOCKET,
            SOL_SOCKET,
            SO_REUSE_UNICASTPORT,
            (&raw const reuse).cast(),
            size_of::<i32>() as i32,
        );
    }
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    match socket.bind(&any) {
        Err(error) if error.raw_os_error() != Some(WSAEINVAL) => Err(error.into()),
        // WSAEINVAL: it is bound.
        _ => Ok(()),
    }
}

/// Makes a connected socket one like any other: it knows its addresses and can be shut down.
fn settle(socket: &Socket) -> Result<()> {
    // SAFETY: the socket is open, and the option has no value.
    let result = unsafe {
        setsockopt(socket.as_raw_socket() as SOCKET, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, std::ptr::null(), 0)
    };
    if result == 0 { Ok(()) } else { Err(Error::from_os(last_error())) }
}
