//! The errors of a simulated system: those of the real one, with their numbers.

use crate::error::Error;

#[cfg(unix)]
mod number {
    use rustix::io::Errno;

    pub(super) const REFUSED: i32 = Errno::CONNREFUSED.raw_os_error();
    pub(super) const RESET: i32 = Errno::CONNRESET.raw_os_error();
    pub(super) const ENDED: i32 = Errno::PIPE.raw_os_error();
    pub(super) const TIMED_OUT: i32 = Errno::TIMEDOUT.raw_os_error();
    pub(super) const NOT_CONNECTED: i32 = Errno::NOTCONN.raw_os_error();
    pub(super) const IS_CONNECTED: i32 = Errno::ISCONN.raw_os_error();
    pub(super) const ALREADY: i32 = Errno::ALREADY.raw_os_error();
    pub(super) const INVALID: i32 = Errno::INVAL.raw_os_error();
    pub(super) const ADDRESS_IN_USE: i32 = Errno::ADDRINUSE.raw_os_error();
    pub(super) const WRONG_FAMILY: i32 = Errno::AFNOSUPPORT.raw_os_error();
    pub(super) const NO_DESCRIPTORS: i32 = Errno::MFILE.raw_os_error();
    pub(super) const NO_BUFFERS: i32 = Errno::NOBUFS.raw_os_error();
    pub(super) const NO_MEMORY: i32 = Errno::NOMEM.raw_os_error();
    pub(super) const BAD_SOCKET: i32 = Errno::BADF.raw_os_error();
}

/// winsock2.h, winerror.h.
#[cfg(windows)]
mod number {
    pub(super) const REFUSED: i32 = 10061;
    pub(super) const RESET: i32 = 10054;
    pub(super) const ENDED: i32 = 10058;
    pub(super) const TIMED_OUT: i32 = 10060;
    pub(super) const NOT_CONNECTED: i32 = 10057;
    pub(super) const IS_CONNECTED: i32 = 10056;
    pub(super) const ALREADY: i32 = 10037;
    pub(super) const INVALID: i32 = 10022;
    pub(super) const ADDRESS_IN_USE: i32 = 10048;
    pub(super) const WRONG_FAMILY: i32 = 10047;
    pub(super) const NO_DESCRIPTORS: i32 = 10024;
    pub(super) const NO_BUFFERS: i32 = 10055;
    pub(super) const NO_MEMORY: i32 = 8;
    pub(super) const BAD_SOCKET: i32 = 10038;
}

/// What a call or an operation in the network fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Failure {
    Refused = number::REFUSED,
    Reset = number::RESET,
    /// The program itself has ended the direction.
    Ended = number::ENDED,
    TimedOut = number::TIMED_OUT,
    NotConnected = number::NOT_CONNECTED,
    IsConnected = number::IS_CONNECTED,
    Already = number::ALREADY,
    Invalid = number::INVALID,
    AddressInUse = number::ADDRESS_IN_USE,
    WrongFamily = number::WRONG_FAMILY,
    NoDescriptors = number::NO_DESCRIPTORS,
    NoBuffers = number::NO_BUFFERS,
    NoMemory = number::NO_MEMORY,
    BadSocket = number::BAD_SOCKET,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::from_os(failure as i32)
    }
}

impl From<Failure> for std::io::Error {
    fn from(failure: Failure) -> Self {
        Self::from_raw_os_error(failure as i32)
    }
}
