//! Error numbers, the last error of each thread, and the guard around every entry.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use fastport_io::{Error, ErrorCode, Result};

/// It was done.
pub const FP_OK: i32 = 0;
/// Nobody listens at the peer's address.
pub const FP_CONNECTION_REFUSED: i32 = 1001;
/// The connection was torn down.
pub const FP_CONNECTION_RESET: i32 = 1002;
/// The peer did not answer in time.
pub const FP_CONNECTION_TIMEOUT: i32 = 1003;
/// The system has no buffer space left.
pub const FP_BUFFER_TOO_SMALL: i32 = 2001;
/// The socket is closed, or no socket at all.
pub const FP_SOCKET_NOT_REGISTERED: i32 = 3001;
/// The provider or server does not run (any more).
pub const FP_NOT_INITIALIZED: i32 = -1;
/// The socket cannot do this.
pub const FP_INVALID_SOCKET: i32 = -2;
/// Another operation is in the way.
pub const FP_OPERATION_PENDING: i32 = -3;
/// The operation failed for a reason without a number of its own.
pub const FP_OPERATION_FAILED: i32 = -4;
/// A range is empty or lies outside its buffer.
pub const FP_INVALID_BUFFER: i32 = -5;
/// A limit was reached; try again later.
pub const FP_NO_RESOURCES: i32 = -6;
/// The time limit of the operation ran out.
pub const FP_TIMEOUT: i32 = -7;
/// This system does not offer it.
pub const FP_PLATFORM_NOT_SUPPORTED: i32 = -8;
/// The provider or server runs already.
pub const FP_ALREADY_INITIALIZED: i32 = -9;
/// The operation was cancelled before it had an effect.
pub const FP_CANCELLED: i32 = -10;
/// An argument is out of range, or a handle is dead.
pub const FP_INVALID_ARGUMENT: i32 = -11;

struct LastError {
    number: i32,
    system: i32,
    message: Option<CString>,
}

thread_local! {
    static LAST_ERROR: RefCell<LastError> = const {
        RefCell::new(LastError { number: FP_OK, system: 0, message: None })
    };
}

/// The number of the latest error on this thread; 0 if no call has failed on it yet. Calls that succeed leave it alone.
#[unsafe(no_mangle)]
pub extern "C" fn fp_last_error() -> i32 {
    LAST_ERROR.with_borrow(|last| last.number)
}

/// The system's own number (errno, or a Winsock code) of the latest error on this thread; 0 if it had none.
#[unsafe(no_mangle)]
pub extern "C" fn fp_last_system_error() -> i32 {
    LAST_ERROR.with_borrow(|last| last.system)
}

/// What the latest error on this thread was about, and what to do: a sentence in UTF-8, never NULL. The text stays valid
/// until the next call that fails on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn fp_last_error_message() -> *const c_char {
    LAST_ERROR.with_borrow(|last| last.message.as_deref().unwrap_or(c"").as_ptr())
}

/// The version of the library, such as "0.1.0". The text lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn fp_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no zero inside"),
    };
    VERSION.as_ptr()
}

/// Runs the body of an entry: its error becomes the last error of the thread and its number the result, and so does a panic.
pub(crate) fn guard(body: impl FnOnce() -> Result<()>) -> i32 {
    // Whatever a panic leaves behind is behind locks that say so, or is dropped with the body.
    let outcome = catch_unwind(AssertUnwindSafe(body));
    let error = match outcome {
        Ok(Ok(())) => return FP_OK,
        Ok(Err(error)) => error,
        Err(panic) => {
            let what = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            Error::new(ErrorCode::OperationFailed, format!("a bug in FastPort, please report it: {what}"))
        }
    };
    remember(&error)
}

/// Keeps an error as the last one of this thread and returns its number.
pub(crate) fn remember(error: &Error) -> i32 {
    // An error of the system without a number of its own has the system's, which is never 0.
    let number = error.number();
    let message = CString::new(error.to_string().replace('\0', " ")).ok();
    LAST_ERROR.with_borrow_mut(|last| *last = LastError { number, system: error.os_code(), message });
    number
}

/// The error for an argument that is out of range; `what` says which, and what it should be.
pub(crate) fn invalid(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorCode::InvalidArgument, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> String {
        // SAFETY: the text is valid until the next failure on this thread.
        unsafe { CStr::from_ptr(fp_last_error_message()) }.to_string_lossy().into_owned()
    }

    #[test]
    fn the_numbers_are_those_of_the_library() {
        for (number, code) in [
            (FP_CONNECTION_REFUSED, ErrorCode::ConnectionRefused),
            (FP_CONNECTION_RESET, ErrorCode::ConnectionReset),
            (FP_CONNECTION_TIMEOUT, ErrorCode::ConnectionTimeout),
            (FP_BUFFER_TOO_SMALL, ErrorCode::BufferTooSmall),
            (FP_SOCKET_NOT_REGISTERED, ErrorCode::SocketNotRegistered),
            (FP_NOT_INITIALIZED, ErrorCode::NotInitialized),
            (FP_INVALID_SOCKET, ErrorCode::InvalidSocket),
            (FP_OPERATION_PENDING, ErrorCode::OperationPending),
            (FP_OPERATION_FAILED, ErrorCode::OperationFailed),
            (FP_INVALID_BUFFER, ErrorCode::InvalidBuffer),
            (FP_NO_RESOURCES, ErrorCode::NoResources),
            (FP_TIMEOUT, ErrorCode::Timeout),
            (FP_PLATFORM_NOT_SUPPORTED, ErrorCode::PlatformNotSupported),
            (FP_ALREADY_INITIALIZED, ErrorCode::AlreadyInitialized),
            (FP_CANCELLED, ErrorCode::Cancelled),
            (FP_INVALID_ARGUMENT, ErrorCode::InvalidArgument),
        ] {
            assert_eq!(number, code.number(), "{code:?}");
        }
    }

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        assert_eq!(guard(|| panic!("the roof is on fire")), FP_OPERATION_FAILED);
        assert!(message().contains("the roof is on fire"));
    }

    #[test]
    fn each_thread_has_a_last_error_of_its_own() {
        assert_eq!(guard(|| Err(invalid("too small"))), FP_INVALID_ARGUMENT);
        std::thread::spawn(|| assert_eq!(fp_last_error(), FP_OK)).join().unwrap();
        assert_eq!(guard(|| Ok(())), FP_OK);
        assert_eq!((fp_last_error(), message().as_str()), (FP_INVALID_ARGUMENT, "too small"));
    }
}
