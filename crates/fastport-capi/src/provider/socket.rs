//! Sockets and addresses of the caller's.

use std::net::SocketAddr;

use fastport_io::{Error, ErrorCode, Result, Socket};
use socket2::{SockAddr, SockAddrStorage};

use crate::error::invalid;

/// A socket of the system: a descriptor, or a SOCKET on Windows. It stays the caller's.
pub type fp_socket = isize;

/// No socket: -1, which is INVALID_SOCKET on Windows.
pub const FP_NO_SOCKET: fp_socket = -1;

/// A socket for the provider to work with. Whoever takes it must not let it be dropped, which would close it: it goes
/// back by [`give_back`].
///
/// # Errors
/// `InvalidSocket` for a number that no socket has.
pub(super) fn borrow(socket: fp_socket) -> Result<Socket> {
    if socket == FP_NO_SOCKET || !is_possible(socket) {
        return Err(Error::new(ErrorCode::InvalidSocket, format!("{socket} is no socket")));
    }
    // SAFETY: the number is in range. That nobody closes the socket while the provider has it is the caller's part; one
    // who does meets errors, since what is done with it are system calls only.
    Ok(unsafe { from_raw(socket) })
}

/// The caller's socket again; nothing is closed.
#[cfg(unix)]
pub(super) fn give_back(socket: Socket) -> fp_socket {
    use std::os::fd::IntoRawFd;
    socket.into_raw_fd() as fp_socket
}

/// The caller's socket again; nothing is closed.
#[cfg(windows)]
pub(super) fn give_back(socket: Socket) -> fp_socket {
    use std::os::windows::io::IntoRawSocket;
    socket.into_raw_socket() as fp_socket
}

#[cfg(unix)]
fn is_possible(socket: fp_socket) -> bool {
    i32::try_from(socket).is_ok_and(|descriptor| descriptor >= 0)
}

#[cfg(windows)]
fn is_possible(_socket: fp_socket) -> bool {
    true
}

#[cfg(unix)]
unsafe fn from_raw(socket: fp_socket) -> Socket {
    use std::os::fd::FromRawFd;
    // SAFETY: vouched for by the caller.
    unsafe { Socket::from_raw_fd(socket as i32) }
}

#[cfg(windows)]
unsafe fn from_raw(socket: fp_socket) -> Socket {
    use std::os::windows::io::FromRawSocket;
    // SAFETY: vouched for by the caller.
    unsafe { Socket::from_raw_socket(socket as u64) }
}

/// Which socket a number names now, to notice that it was closed and its number given to another one. The inode of a
/// socket is its own for as long as the system runs.
#[cfg(unix)]
pub(super) fn identity(socket: fp_socket) -> Option<u64> {
    // SAFETY: zeros are a valid `struct stat`.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one `struct stat` to the place that it is given.
    let result = unsafe { libc::fstat(socket as i32, &raw mut status) };
    (result == 0).then_some(status.st_ino)
}

/// Which socket a number names now. Windows does not tell.
#[cfg(windows)]
#[allow(clippy::unnecessary_wraps, reason = "on other systems it may fail")]
pub(super) fn identity(_socket: fp_socket) -> Option<u64> {
    Some(0)
}

/// An address of C's.
///
/// # Safety
/// `address` is NULL or points to `bytes` readable bytes.
pub(super) unsafe fn address(address: *const u8, bytes: u32) -> Result<SocketAddr> {
    let mut storage = SockAddrStorage::zeroed();
    let room = storage.size_of() as usize;
    let bytes = bytes as usize;
    if address.is_null() || bytes < size_of::<u16>() || bytes > room {
        return Err(invalid(format!("an address has 2 ..= {room} bytes, not {bytes}, and is not NULL")));
    }
    // SAFETY: both ranges are valid for `bytes` bytes, and a storage of zeros and an address in it is a valid one.
    let address = unsafe {
        std::ptr::copy_nonoverlapping(address, (&raw mut storage).cast::<u8>(), bytes);
        SockAddr::new(storage, bytes as _)
    };
    let known = address.as_socket().filter(|known| bytes >= SockAddr::from(*known).len() as usize);
    known.ok_or_else(|| invalid("the address is not a whole one of IPv4 or IPv6"))
}

/// Writes an address for C, as far as there is room.
///
/// # Safety
/// `room` bytes from `place` on can be written.
pub(super) unsafe fn write_address(address: SocketAddr, place: *mut u8, room: u32) {
    let address = SockAddr::from(address);
    let bytes = (address.len() as usize).min(room as usize);
    // SAFETY: `bytes` is within both.
    unsafe { std::ptr::copy_nonoverlapping(address.as_ptr().cast::<u8>(), place, bytes) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_both_ways() {
        for text in ["127.0.0.1:80", "[::1]:443"] {
            let known: SocketAddr = text.parse().unwrap();
            let mut bytes = [0u8; 128];
            // SAFETY: the array is as long as said.
            let read = unsafe {
                write_address(known, bytes.as_mut_ptr(), 128);
                address(bytes.as_ptr(), 128)
            };
            assert_eq!(read.unwrap(), known);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let bytes = [0u8; 128];
        // SAFETY: the array is as long as said.
        unsafe {
            assert!(address(std::ptr::null(), 16).is_err());
            assert!(address(bytes.as_ptr(), 1).is_err());
            assert!(address(bytes.as_ptr(), 128).is_err(), "family 0");
            assert!(address(bytes.as_ptr(), 4096).is_err());
        }
    }

    #[test]
    fn numbers_that_no_socket_has_are_refused() {
        assert!(borrow(FP_NO_SOCKET).is_err());
        #[cfg(unix)]
        assert!(borrow(-7).is_err() && borrow(1 << 40).is_err());
    }
}
