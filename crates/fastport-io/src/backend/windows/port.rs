//! The completion port: sockets join it, their packets are collected in batches, wakers post to it.

use std::io;
use std::os::windows::io::{AsRawHandle, AsRawSocket, FromRawHandle, OwnedHandle};
use std::sync::Arc;
use std::time::Duration;

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_COMPLETION_INFORMATION, FileIoCompletionNotificationInformation, FileReplaceCompletionInformation,
    NtQueryInformationFile, NtSetInformationFile,
};
use windows_sys::Win32::Foundation::{ERROR_ABANDONED_WAIT_0, HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::Networking::WinSock::{
    SO_PROTOCOL_INFOW, SOCKET, SOL_SOCKET, WSAPROTOCOL_INFOW, XP1_IFS_HANDLES, getsockopt,
};
use windows_sys::Win32::Storage::FileSystem::SetFileCompletionNotificationModes;
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, IO_STATUS_BLOCK, OVERLAPPED, OVERLAPPED_ENTRY,
    PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::Threading::INFINITE;
use windows_sys::Win32::System::WindowsProgramming::{
    FILE_SKIP_COMPLETION_PORT_ON_SUCCESS, FILE_SKIP_SET_EVENT_ON_HANDLE,
};

use crate::error::{Error, Result};
use crate::socket::Socket;
use crate::waker::WakeSignal;

/// The keys of packets: what a packet is about. A backend may use further ones for itself.
pub(crate) mod key {
    /// An overlapped operation of a socket; the packet names its block.
    pub(crate) const SOCKET: usize = 0;
    /// A waker.
    pub(crate) const WAKE: usize = 1;
    /// The first one that is free for a backend's own packets.
    pub(crate) const FIRST_OF_BACKEND: usize = 2;
}

/// An I/O completion port for one waiting thread.
pub(crate) struct CompletionPort {
    handle: OwnedHandle,
}

impl CompletionPort {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: no handle is passed; the call makes a port.
        let handle = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, std::ptr::null_mut(), 0, 1) };
        if handle.is_null() {
            return Err(Error::from(io::Error::last_os_error()).during("cannot create a completion port"));
        }
        // SAFETY: the handle is valid, and nobody else has it.
        Ok(Self { handle: unsafe { OwnedHandle::from_raw_handle(handle) } })
    }

    /// The port, for system calls.
    pub(crate) fn handle(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }

    /// From now on the socket's overlapped operations complete at this port. A socket is at one port at a time.
    pub(super) fn associate(&self, socket: &Socket) -> io::Result<()> {
        // SAFETY: both handles are open.
        let port = unsafe { CreateIoCompletionPort(socket_handle(socket), self.handle(), key::SOCKET, 0) };
        if port.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Posts a packet without an operation.
    pub(crate) fn post(&self, key: usize) -> io::Result<()> {
        self.post_packet(key, std::ptr::null())
    }

    /// Posts the packet of an operation on a socket that ended without one. The block stays in flight until then.
    pub(super) fn post_for(&self, overlapped: *const OVERLAPPED) -> io::Result<()> {
        self.post_packet(key::SOCKET, overlapped)
    }

    fn post_packet(&self, key: usize, overlapped: *const OVERLAPPED) -> io::Result<()> {
        // SAFETY: the port is open; the call does not look at what the packet points to.
        let posted = unsafe { PostQueuedCompletionStatus(self.handle(), 0, key, overlapped) };
        if posted == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits at most `wait` (`None`: for ever) and takes packets, at most as many as `packets` has room for, which must be
    /// one at least. What was in `packets` is overwritten.
    pub(super) fn collect(&self, packets: &mut [OVERLAPPED_ENTRY], wait: Option<Duration>) -> Result<usize> {
        let mut taken = 0;
        // SAFETY: the port is open, and the array has as many entries as the call is told.
        let ended = unsafe {
            GetQueuedCompletionStatusEx(
                self.handle(),
                packets.as_mut_ptr(),
                packets.len() as u32,
                &raw mut taken,
                milliseconds(wait),
                0,
            )
        };
        if ended != 0 {
            return Ok(taken as usize);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error().map(|code| code as u32) {
            Some(WAIT_TIMEOUT) => Ok(0),
            Some(ERROR_ABANDONED_WAIT_0) => Err(Error::from(error).during("the completion port was closed")),
            _ => Err(Error::from(error).during("cannot wait at the completion port")),
        }
    }
}

/// Takes a socket away from its port, so that it can join another one. Windows 8.1 or newer; Wine 8 cannot.
pub(super) fn dissociate(socket: &Socket) -> bool {
    let nothing = FILE_COMPLETION_INFORMATION { Port: std::ptr::null_mut(), Key: std::ptr::null_mut() };
    let mut status = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open; the call reads a structure of the size it is told, and writes the status block.
    let result = unsafe {
        NtSetInformationFile(
            socket_handle(socket),
            &raw mut status,
            (&raw const nothing).cast(),
            size_of::<FILE_COMPLETION_INFORMATION>() as u32,
            FileReplaceCompletionInformation,
        )
    };
    result >= 0
}

/// Operations that succeed at once post no packet from now on. This cannot be taken back.
pub(super) fn skip_packets_on_success(socket: &Socket) -> io::Result<()> {
    let modes = FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE;
    // SAFETY: the handle is open.
    let set = unsafe { SetFileCompletionNotificationModes(socket_handle(socket), modes as u8) };
    if set == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// True if the mode above was set for the socket, by whomever.
pub(super) fn skips_packets_on_success(socket: &Socket) -> bool {
    let mut modes = 0_u32;
    let mut status = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open; the call writes a number of the size it is told, and the status block.
    let result = unsafe {
        NtQueryInformationFile(
            socket_handle(socket),
            &raw mut status,
            (&raw mut modes).cast(),
            size_of::<u32>() as u32,
            FileIoCompletionNotificationInformation,
        )
    };
    result >= 0 && modes & FILE_SKIP_COMPLETION_PORT_ON_SUCCESS != 0
}

/// True if sockets are handles of the kernel's own, as they are without a layered provider in Winsock's catalogue. Only
/// then can packets be skipped (SetFileCompletionNotificationModes, "Remarks").
pub(super) fn packets_may_be_skipped(socket: &Socket) -> bool {
    // SAFETY: all zeros are a value of this plain structure.
    let mut info: WSAPROTOCOL_INFOW = unsafe { std::mem::zeroed() };
    let mut bytes = size_of::<WSAPROTOCOL_INFOW>() as i32;
    // SAFETY: the socket is open; the call writes a structure of the size it is told.
    let result = unsafe {
        getsockopt(
            socket.as_raw_socket() as SOCKET,
            SOL_SOCKET,
            SO_PROTOCOL_INFOW,
            (&raw mut info).cast(),
            &raw mut bytes,
        )
    };
    result == 0 && info.dwServiceFlags1 & XP1_IFS_HANDLES != 0
}

pub(super) fn socket_handle(socket: &Socket) -> HANDLE {
    socket.as_raw_socket() as HANDLE
}

/// Rounded up, because a wait of 0 ms for the last part of a millisecond would spin.
fn milliseconds(wait: Option<Duration>) -> u32 {
    let Some(wait) = wait else { return INFINITE };
    u32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(INFINITE).min(INFINITE - 1)
}

/// Posts to the port of a provider. It holds the port, so a waker may outlive its provider.
pub(super) struct PortSignal(pub(super) Arc<CompletionPort>);

impl WakeSignal for PortSignal {
    fn signal(&self) {
        if let Err(error) = self.0.post(key::WAKE) {
            tracing::error!(%error, "a provider could not be woken");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_and_never_become_endless() {
        assert_eq!(milliseconds(None), INFINITE);
        assert_eq!(milliseconds(Some(Duration::ZERO)), 0);
        assert_eq!(milliseconds(Some(Duration::from_nanos(1))), 1);
        assert_eq!(milliseconds(Some(Duration::from_micros(1001))), 2);
        assert_eq!(milliseconds(Some(Duration::MAX)), INFINITE - 1);
    }

    #[test]
    fn a_signal_ends_one_wait() {
        let port = Arc::new(CompletionPort::new().unwrap());
        let signal = PortSignal(Arc::clone(&port));
        let mut packets = [OVERLAPPED_ENTRY::default(); 4];
        signal.signal();
        assert_eq!(port.collect(&mut packets, Some(Duration::from_secs(10))).unwrap(), 1);
        assert_eq!(packets[0].lpCompletionKey, key::WAKE);
        assert_eq!(port.collect(&mut packets, Some(Duration::ZERO)).unwrap(), 0);
    }
}
