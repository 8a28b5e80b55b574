//! Winsock's extension functions, which have to be asked for at run time.

use std::ffi::c_void;
use std::os::windows::io::AsRawSocket;

use socket2::{Domain, Protocol, Type};
use windows_sys::Win32::Networking::WinSock::{
    SIO_GET_EXTENSION_FUNCTION_POINTER, SOCKADDR, SOCKET, WSAID_ACCEPTEX, WSAID_CONNECTEX, WSAIoctl,
};
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::core::{BOOL, GUID};

use super::last_error;
use crate::error::{Error, ErrorCode, Result};
use crate::socket::Socket;

/// `LPFN_ACCEPTEX` (mswsock.h).
pub(super) type AcceptEx = unsafe extern "system" fn(
    listener: SOCKET,
    accepting: SOCKET,
    output: *mut c_void,
    receive_bytes: u32,
    local_address_bytes: u32,
    remote_address_bytes: u32,
    received: *mut u32,
    overlapped: *mut OVERLAPPED,
) -> BOOL;

/// `LPFN_CONNECTEX` (mswsock.h).
pub(super) type ConnectEx = unsafe extern "system" fn(
    socket: SOCKET,
    address: *const SOCKADDR,
    address_bytes: i32,
    send: *const c_void,
    send_bytes: u32,
    sent: *mut u32,
    overlapped: *mut OVERLAPPED,
) -> BOOL;

/// The extension functions of TCP.
#[derive(Clone, Copy)]
pub(super) struct Extensions {
    pub(super) accept: AcceptEx,
    pub(super) connect: ConnectEx,
}

impl Extensions {
    /// Asks the provider of `socket`, which is TCP's of either family.
    pub(super) fn load(socket: &Socket) -> Result<Self> {
        // SAFETY: each type is the one that the function of that id has.
        let (accept, connect) = unsafe {
            (
                load::<AcceptEx>(socket, WSAID_ACCEPTEX, "AcceptEx")?,
                load::<ConnectEx>(socket, WSAID_CONNECTEX, "ConnectEx")?,
            )
        };
        Ok(Self { accept, connect })
    }
}

/// A socket to ask the TCP provider of either family by.
pub(crate) fn any_tcp_socket() -> Result<Socket> {
    socket2::Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
        .or_else(|_| socket2::Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)))
        .map(Socket::from)
        .map_err(|error| Error::from(error).during("cannot create a TCP socket"))
}

/// # Safety
/// `F` is the type of the function with that id, a function pointer.
unsafe fn load<F: Copy>(socket: &Socket, id: GUID, name: &str) -> Result<F> {
    let mut function: Option<F> = None;
    let mut written = 0;
    // SAFETY: the input is a GUID and the output a function pointer, each of the size told; `None` of a function pointer
    // is the null pointer, and the call is not overlapped.
    let result = unsafe {
        WSAIoctl(
            socket.as_raw_socket() as SOCKET,
            SIO_GET_EXTENSION_FUNCTION_POINTER,
            (&raw const id).cast(),
            size_of::<GUID>() as u32,
            (&raw mut function).cast(),
            size_of::<Option<F>>() as u32,
            &raw mut written,
            std::ptr::null_mut(),
            None,
        )
    };
    if result != 0 {
        return Err(Error::from_os(last_error()).during(format_args!("cannot load {name}")));
    }
    function
        .filter(|_| written as usize == size_of::<Option<F>>())
        .ok_or_else(|| Error::new(ErrorCode::PlatformNotSupported, format!("the system's TCP provider has no {name}")))
}
