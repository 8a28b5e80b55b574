//! Errors: one code for each cause on every system, with the system's own number kept beside it.
//!
//! [`ErrorCode`] is what programs decide by; its numbers are stable and shared with the C and C++ headers.
//! [`Error`] adds the operating system's number and, for set-up errors, a sentence that says what to do.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A platform-independent cause.
///
/// The numbers ([`ErrorCode::number`]) never change. Codes from 1001 on describe a connection, codes from 2001 on a
/// buffer, codes from 3001 on a socket; negative codes describe the provider itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// Nobody listens at the peer's address (`ECONNREFUSED`, `WSAECONNREFUSED`).
    ConnectionRefused,
    /// The peer, or the system on its behalf, tore the connection down (`ECONNRESET`, `EPIPE`, `ECONNABORTED`,
    /// `WSAECONNRESET`, `ERROR_NETNAME_DELETED`).
    ConnectionReset,
    /// The peer did not answer in time (`ETIMEDOUT`, `WSAETIMEDOUT`).
    ConnectionTimeout,
    /// The system has no buffer space left (`ENOBUFS`, `WSAENOBUFS`).
    BufferTooSmall,
    /// The socket id is not attached to this provider, or the descriptor is closed (`EBADF`).
    SocketNotRegistered,
    /// The provider was shut down, or never started.
    NotInitialized,
    /// The socket cannot do this, for instance because it is being closed.
    InvalidSocket,
    /// The socket or the region is in use by another operation.
    OperationPending,
    /// The operation failed for a reason without a code of its own.
    OperationFailed,
    /// A range lies outside its buffer, or is empty.
    InvalidBuffer,
    /// A limit was reached: operations, sockets, buffers, descriptors or memory.
    NoResources,
    /// The time limit of the operation ran out.
    Timeout,
    /// This system, kernel or sandbox does not offer the feature.
    PlatformNotSupported,
    /// The provider runs already.
    AlreadyInitialized,
    /// The operation was cancelled before it had an effect.
    Cancelled,
    /// An argument is outside the documented range.
    InvalidArgument,
    /// Any other error of the operating system; its number is the code.
    Os,
}

impl ErrorCode {
    /// The stable number; for [`ErrorCode::Os`] it is 0, because [`Error::number`] has the system's own.
    pub const fn number(self) -> i32 {
        match self {
            Self::ConnectionRefused => 1001,
            Self::ConnectionReset => 1002,
            Self::ConnectionTimeout => 1003,
            Self::BufferTooSmall => 2001,
            Self::SocketNotRegistered => 3001,
            Self::NotInitialized => -1,
            Self::InvalidSocket => -2,
            Self::OperationPending => -3,
            Self::OperationFailed => -4,
            Self::InvalidBuffer => -5,
            Self::NoResources => -6,
            Self::Timeout => -7,
            Self::PlatformNotSupported => -8,
            Self::AlreadyInitialized => -9,
            Self::Cancelled => -10,
            Self::InvalidArgument => -11,
            Self::Os => 0,
        }
    }

    const fn describe(self) -> &'static str {
        match self {
            Self::ConnectionRefused => "connection refused",
            Self::ConnectionReset => "connection reset",
            Self::ConnectionTimeout => "connection timed out",
            Self::BufferTooSmall => "no buffer space left in the system",
            Self::SocketNotRegistered => "socket is not attached to this provider",
            Self::NotInitialized => "provider is not running",
            Self::InvalidSocket => "socket cannot do this",
            Self::OperationPending => "another operation is in the way",
            Self::OperationFailed => "operation failed",
            Self::InvalidBuffer => "range is empty or outside its buffer",
            Self::NoResources => "a limit was reached",
            Self::Timeout => "time limit ran out",
            Self::PlatformNotSupported => "not supported by this system",
            Self::AlreadyInitialized => "provider runs already",
            Self::Cancelled => "cancelled",
            Self::InvalidArgument => "argument out of range",
            Self::Os => "system error",
        }
    }
}

/// Why a call or an operation failed.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    /// 0 where the error did not come from the system.
    os_code: i32,
    /// Boxed, because errors travel in completions: those without words, the usual ones, stay small.
    detail: Option<Box<Cow<'static, str>>>,
}

impl Error {
    /// An error that this crate found itself, with a sentence that says what to do.
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, os_code: 0, detail: Some(Box::new(detail.into())) }
    }

    /// An error that needs no more words than its code.
    pub const fn plain(code: ErrorCode) -> Self {
        Self { code, os_code: 0, detail: None }
    }

    /// The error for a code of the operating system (errno, or a Win32/WSA code).
    pub fn from_os(os_code: i32) -> Self {
        Self { code: code_of(os_code), os_code, detail: None }
    }

    /// Says in the message what was being done.
    #[must_use]
    pub fn during(mut self, what: impl fmt::Display) -> Self {
        let detail = match self.detail.take() {
            Some(detail) => format!("{what}: {detail}"),
            None if self.os_code == 0 => format!("{what}: {}", self.code.describe()),
            None => what.to_string(),
        };
        self.detail = Some(Box::new(detail.into()));
        self
    }

    /// The cause.
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The system's own number, or 0 where the error did not come from the system.
    pub const fn os_code(&self) -> i32 {
        self.os_code
    }

    /// The number for callers in other languages: the stable number of the code, or the system's for all others.
    pub const fn number(&self) -> i32 {
        match self.code {
            ErrorCode::Os => self.os_code,
            code => code.number(),
        }
    }

    /// True if the operation was cancelled before it had an effect.
    pub fn is_cancelled(&self) -> bool {
        self.code == ErrorCode::Cancelled
    }

    /// True for an error of the system after which a connection transfers nothing more. A full system may recover, and a
    /// direction that was shut down (`EPIPE`) says nothing about the other one.
    pub(crate) fn ends_connection(&self) -> bool {
        self.os_code != 0 && !self.is_cancelled() && !self.is_exhaustion() && !os::ONE_DIRECTION.contains(&self.os_code)
    }

    /// True if the process or the system has no descriptors or memory left (`EMFILE`, `ENFILE`, `ENOMEM`, `ENOBUFS`
    /// and their Winsock kin): waiting helps, trying at once does not.
    pub fn is_exhaustion(&self) -> bool {
        matches!(self.code, ErrorCode::NoResources | ErrorCode::BufferTooSmall)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.os_code == 0 {
            // A sentence of this crate's own says more than its code.
            return f.write_str(self.detail.as_deref().map_or(self.code.describe(), |detail| detail));
        }
        if let Some(detail) = &self.detail {
            write!(f, "{detail}: ")?;
        }
        if self.code != ErrorCode::Os {
            write!(f, "{}, ", self.code.describe())?;
        }
        write!(f, "{}", io::Error::from_raw_os_error(self.os_code))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.code)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(os_code) => Self::from_os(os_code),
            None => Self::new(ErrorCode::OperationFailed, error.to_string()),
        }
    }
}

/// A refused call that gives back what it was handed, so that nothing is lost.
#[derive(Debug)]
pub struct Rejected<T> {
    /// Why it was refused.
    pub error: Error,
    /// What the caller had handed over.
    pub returned: T,
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}

/// The table from system codes. `std` already knows the connection errors of every system; the rest is listed by number
/// in [`os`].
fn code_of(os_code: i32) -> ErrorCode {
    if os_code == os::CANCELLED {
        return ErrorCode::Cancelled;
    }
    if os::RESET.contains(&os_code) {
        return ErrorCode::ConnectionReset;
    }
    if os::NO_BUFFERS.contains(&os_code) {
        return ErrorCode::BufferTooSmall;
    }
    if os::NOT_A_SOCKET.contains(&os_code) {
        return ErrorCode::SocketNotRegistered;
    }
    if os::EXHAUSTED.contains(&os_code) {
        return ErrorCode::NoResources;
    }
    match io::Error::from_raw_os_error(os_code).kind() {
        io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            ErrorCode::ConnectionReset
        }
        io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
        _ => ErrorCode::Os,
    }
}

/// The numbers that `std::io::ErrorKind` does not tell apart.
#[cfg(unix)]
mod os {
    use rustix::io::Errno;

    pub(super) const CANCELLED: i32 = Errno::CANCELED.raw_os_error();
    pub(super) const RESET: [i32; 0] = [];
    pub(super) const NO_BUFFERS: [i32; 1] = [Errno::NOBUFS.raw_os_error()];
    pub(super) const NOT_A_SOCKET: [i32; 2] = [Errno::BADF.raw_os_error(), Errno::NOTSOCK.raw_os_error()];
    pub(super) const ONE_DIRECTION: [i32; 2] = [Errno::PIPE.raw_os_error(), Errno::NOTCONN.raw_os_error()];
    pub(super) const EXHAUSTED: [i32; 3] =
        [Errno::MFILE.raw_os_error(), Errno::NFILE.raw_os_error(), Errno::NOMEM.raw_os_error()];
}

/// The numbers that `std::io::ErrorKind` does not tell apart (winerror.h, winsock2.h).
#[cfg(windows)]
mod os {
    /// ERROR_OPERATION_ABORTED.
    pub(super) const CANCELLED: i32 = 995;
    /// ERROR_NETNAME_DELETED, ERROR_CONNECTION_ABORTED, WSAENETRESET, WSAESHUTDOWN.
    pub(super) const RESET: [i32; 4] = [64, 1236, 10052, 10058];
    /// WSAENOBUFS.
    pub(super) const NO_BUFFERS: [i32; 1] = [10055];
    /// WSAEBADF, WSAEINVAL (an unregistered socket), WSAENOTSOCK, ERROR_INVALID_HANDLE.
    pub(super) const NOT_A_SOCKET: [i32; 4] = [10009, 10022, 10038, 6];
    /// WSAESHUTDOWN, WSAENOTCONN.
    pub(super) const ONE_DIRECTION: [i32; 2] = [10058, 10057];
    /// WSAEMFILE, ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_QUOTA.
    pub(super) const EXHAUSTED: [i32; 5] = [10024, 8, 14, 1450, 1816];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_numbers_are_the_documented_ones() {
        assert_eq!(ErrorCode::ConnectionRefused.number(), 1001);
        assert_eq!(ErrorCode::ConnectionReset.number(), 1002);
        assert_eq!(ErrorCode::ConnectionTimeout.number(), 1003);
        assert_eq!(ErrorCode::BufferTooSmall.number(), 2001);
        assert_eq!(ErrorCode::SocketNotRegistered.number(), 3001);
        assert_eq!(ErrorCode::NotInitialized.number(), -1);
        assert_eq!(ErrorCode::AlreadyInitialized.number(), -9);
    }

    #[cfg(unix)]
    #[test]
    fn system_codes_map_to_their_cause_and_keep_their_number() {
        use rustix::io::Errno;
        for (errno, code) in [
            (Errno::CONNREFUSED, ErrorCode::ConnectionRefused),
            (Errno::CONNRESET, ErrorCode::ConnectionReset),
            (Errno::PIPE, ErrorCode::ConnectionReset),
            (Errno::TIMEDOUT, ErrorCode::ConnectionTimeout),
            (Errno::NOBUFS, ErrorCode::BufferTooSmall),
            (Errno::BADF, ErrorCode::SocketNotRegistered),
            (Errno::MFILE, ErrorCode::NoResources),
            (Errno::CANCELED, ErrorCode::Cancelled),
        ] {
            let error = Error::from_os(errno.raw_os_error());
            assert_eq!(error.code(), code);
            assert_eq!(error.os_code(), errno.raw_os_error());
        }
    }

    #[test]
    fn messages_say_everything_once() {
        assert_eq!(Error::plain(ErrorCode::Timeout).to_string(), "time limit ran out");
        assert_eq!(Error::plain(ErrorCode::Timeout).during("connect").to_string(), "connect: time limit ran out");
        let explained = Error::new(ErrorCode::InvalidArgument, "queue depth 31 is outside 32 ..= 4096");
        assert_eq!(explained.during("worker 0").to_string(), "worker 0: queue depth 31 is outside 32 ..= 4096");
    }

    #[cfg(unix)]
    #[test]
    fn an_unknown_system_code_is_its_own_number() {
        let error = Error::from_os(rustix::io::Errno::ACCESS.raw_os_error());
        assert_eq!(error.code(), ErrorCode::Os);
        assert_eq!(error.number(), rustix::io::Errno::ACCESS.raw_os_error());
    }
    #[cfg(windows)]
    #[test]
    fn system_codes_map_to_their_cause_and_keep_their_number() {
        use windows_sys::Win32::Foundation as win32;
        use windows_sys::Win32::Networking::WinSock as winsock;
        for (number, code) in [
            (winsock::WSAECONNREFUSED, ErrorCode::ConnectionRefused),
            (winsock::WSAECONNRESET, ErrorCode::ConnectionReset),
            (winsock::WSAECONNABORTED, ErrorCode::ConnectionReset),
            (winsock::WSAESHUTDOWN, ErrorCode::ConnectionReset),
            (win32::ERROR_NETNAME_DELETED as i32, ErrorCode::ConnectionReset),
            (win32::ERROR_CONNECTION_ABORTED as i32, ErrorCode::ConnectionReset),
            (winsock::WSAETIMEDOUT, ErrorCode::ConnectionTimeout),
            (win32::ERROR_SEM_TIMEOUT as i32, ErrorCode::ConnectionTimeout),
            (winsock::WSAENOBUFS, ErrorCode::BufferTooSmall),
            (winsock::WSAENOTSOCK, ErrorCode::SocketNotRegistered),
            (winsock::WSAEMFILE, ErrorCode::NoResources),
            (win32::ERROR_NO_SYSTEM_RESOURCES as i32, ErrorCode::NoResources),
            (win32::ERROR_OPERATION_ABORTED as i32, ErrorCode::Cancelled),
            (winsock::WSAEACCES, ErrorCode::Os),
        ] {
            let error = Error::from_os(number);
            assert_eq!(error.code(), code, "{number}");
            assert_eq!(error.os_code(), number);
        }
    }
}
