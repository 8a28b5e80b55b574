//! What comes back from an operation, as C sees it.

use fastport_io::{Result, Status};

use super::socket::{FP_NO_SOCKET, fp_socket};

/// It was done.
pub const FP_STATUS_SUCCESS: u32 = 0;
/// It failed.
pub const FP_STATUS_ERROR: u32 = 1;
/// It was cancelled before it had an effect.
pub const FP_STATUS_CANCELLED: u32 = 2;
/// Its time ran out: the system has given the peer up.
pub const FP_STATUS_TIMEOUT: u32 = 3;

/// A completion of fp_provider_send or one of its kin.
pub const FP_KIND_SEND: u32 = 0;
/// A completion of fp_provider_receive or one of its kin.
pub const FP_KIND_RECEIVE: u32 = 1;
/// A completion of fp_provider_accept.
pub const FP_KIND_ACCEPT: u32 = 2;
/// A completion of fp_provider_connect.
pub const FP_KIND_CONNECT: u32 = 3;
/// A completion of fp_provider_timeout.
pub const FP_KIND_TIMEOUT: u32 = 4;

/// The outcome of one operation. Each operation that was accepted has exactly one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct fp_completion {
    /// The number that was given with the operation.
    pub context: u64,
    /// The number that the socket was registered with when the operation was submitted.
    pub socket_context: u64,
    /// When it was collected, in nanoseconds of a clock that never goes back and begins with the program.
    pub time_ns: u64,
    /// The socket that the operation was about; FP_NO_SOCKET for a timeout.
    pub socket: fp_socket,
    /// The connection that was accepted, which is the caller's now; FP_NO_SOCKET if there is none.
    pub accepted: fp_socket,
    /// The id that the submitting call returned.
    pub operation: u32,
    /// What it was: FP_KIND_...
    pub kind: u32,
    /// How it went: FP_STATUS_...
    pub status: u32,
    /// Bytes transferred. A receive that succeeds with 0 bytes is the end of the peer's data.
    pub bytes: u32,
    /// 0, or the error's number: one of FP_..., or the system's own for those without.
    pub error: i32,
    /// 0, or the system's own number of the error.
    pub system_error: i32,
}

/// What a completion is made of beside its outcome.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    pub(super) context: u64,
    pub(super) socket_context: u64,
    pub(super) socket: fp_socket,
    pub(super) operation: u32,
    pub(super) kind: u32,
}

impl Subject {
    pub(super) fn completed(&self, result: &Result<u32>, time_ns: u64) -> fp_completion {
        let status = match Status::of(result) {
            Status::Success => FP_STATUS_SUCCESS,
            Status::Error => FP_STATUS_ERROR,
            Status::Cancelled => FP_STATUS_CANCELLED,
            Status::Timeout => FP_STATUS_TIMEOUT,
        };
        let (bytes, error, system_error) = match result {
            Ok(bytes) => (*bytes, 0, 0),
            Err(error) => (0, error.number(), error.os_code()),
        };
        fp_completion {
            context: self.context,
            socket_context: self.socket_context,
            time_ns,
            socket: self.socket,
            accepted: FP_NO_SOCKET,
            operation: self.operation,
            kind: self.kind,
            status,
            bytes,
            error,
            system_error,
        }
    }
}
