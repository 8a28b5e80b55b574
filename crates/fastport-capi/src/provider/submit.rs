//! The calls that begin operations. Each may come from any thread at any time, does not wait, and wakes the thread that
//! waits in `fp_provider_process`.
//!
//! What a call is told for certain (a dead handle, no memory, a limit) is refused at once. Everything else, a closed socket
//! for instance, is told by the completion. Operations of one socket in one direction are carried out in the order of
//! their submission; those of one thread are submitted in the order of its calls.

use std::ffi::c_void;
use std::time::{Duration, Instant};

use fastport_io::{Error, ErrorCode, Result};

use super::request::{AcceptTarget, Work};
use super::running::Running;
use super::socket::{self, FP_NO_SOCKET, fp_socket};
use super::{fp_provider, with_running};
use crate::error::{guard, invalid};

/// One send of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct fp_send {
    /// Where to.
    pub socket: fp_socket,
    /// The bytes, which stay as they are until the completion.
    pub data: *const c_void,
    /// How many.
    pub length: u32,
    /// A number that comes back in the completion.
    pub context: u64,
}

/// One receive of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct fp_receive {
    /// Where from.
    pub socket: fp_socket,
    /// Memory that nobody touches until the completion.
    pub buffer: *mut c_void,
    /// Its size.
    pub length: u32,
    /// A number that comes back in the completion.
    pub context: u64,
}

/// Sends all `length` bytes. A dead peer is an error of the completion and never a signal.
///
/// `data` must stay as it is until the completion; `context` comes back in it. `operation`, if it is not NULL, gets the id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_send(
    provider: fp_provider,
    socket: fp_socket,
    data: *const c_void,
    length: u32,
    context: u64,
    operation: *mut u32,
) -> i32 {
    submit(provider, operation, |running| running.submit(context, checked(socket)?, send(data, length)?))
}

/// Receives what is there, at least one byte and at most `length`, or 0 bytes at the end of the peer's data.
///
/// `buffer` must stay untouched until the completion; `context` comes back in it. `operation`, if it is not NULL, gets the
/// id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_receive(
    provider: fp_provider,
    socket: fp_socket,
    buffer: *mut c_void,
    length: u32,
    context: u64,
    operation: *mut u32,
) -> i32 {
    submit(provider, operation, |running| running.submit(context, checked(socket)?, receive(buffer, length)?))
}

/// Begins `count` sends. `operations`, if it is not NULL, is an array of `count` that gets the ids; `posted`, if it is not
/// NULL, gets the number of sends that were accepted, also when the call fails, which it does at the first one that is
/// refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_send_batch(
    provider: fp_provider,
    sends: *const fp_send,
    count: u32,
    operations: *mut u32,
    posted: *mut u32,
) -> i32 {
    let one = |entry: &fp_send| Ok((entry.context, checked(entry.socket)?, send(entry.data, entry.length)?));
    // SAFETY: the caller passes an array of `count`.
    unsafe { submit_batch(provider, sends, count, operations, posted, one) }
}

/// Begins `count` receives; see fp_provider_send_batch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_receive_batch(
    provider: fp_provider,
    receives: *const fp_receive,
    count: u32,
    operations: *mut u32,
    posted: *mut u32,
) -> i32 {
    let one = |entry: &fp_receive| Ok((entry.context, checked(entry.socket)?, receive(entry.buffer, entry.length)?));
    // SAFETY: the caller passes an array of `count`.
    unsafe { submit_batch(provider, receives, count, operations, posted, one) }
}

/// Accepts one connection. The completion carries it; it is the caller's, blocking, and not registered yet.
///
/// `accepted`, if it is not NULL, gets it too, before the completion is handed out. `address`, if it is not NULL, gets the
/// peer's address (a struct sockaddr), cut to `address_bytes` bytes. Both must stay valid until the completion.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_accept(
    provider: fp_provider,
    listener: fp_socket,
    accepted: *mut fp_socket,
    address: *mut c_void,
    address_bytes: u32,
    context: u64,
    operation: *mut u32,
) -> i32 {
    submit(provider, operation, |running| {
        let target = AcceptTarget { socket: accepted, address: address.cast(), address_bytes };
        running.submit(context, checked(listener)?, Work::Accept(Box::new(target)))
    })
}

/// Connects a socket to `address`, a struct sockaddr of `address_bytes` bytes, which is copied. For a time limit, begin a
/// timeout too and cancel the one that has not completed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_connect(
    provider: fp_provider,
    socket: fp_socket,
    address: *const c_void,
    address_bytes: u32,
    context: u64,
    operation: *mut u32,
) -> i32 {
    submit(provider, operation, |running| {
        // SAFETY: the caller passes NULL or as many bytes as said.
        let address = unsafe { socket::address(address.cast(), address_bytes) }?;
        running.submit(context, checked(socket)?, Work::Connect(Box::new(address)))
    })
}

/// Completes successfully after `delay_ms` milliseconds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_timeout(
    provider: fp_provider,
    delay_ms: u32,
    context: u64,
    operation: *mut u32,
) -> i32 {
    submit(provider, operation, |running| {
        let deadline = Instant::now() + Duration::from_millis(u64::from(delay_ms));
        running.submit(context, FP_NO_SOCKET, Work::Timeout(deadline))
    })
}

/// Sends `length` bytes from `offset` on out of a registered buffer; otherwise like fp_provider_send. FP_INVALID_BUFFER if
/// they are not inside it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_send_registered(
    provider: fp_provider,
    socket: fp_socket,
    buffer: i32,
    offset: u32,
    length: u32,
    context: u64,
    operation: *mut u32,
) -> i32 {
    submit(provider, operation, |running| {
        let range = running.range(buffer, offset, length)?;
        running.submit(context, checked(socket)?, Work::SendRegistered(range))
    })
}

/// Receives into at most `length` bytes from `offset` on of a registered buffer; otherwise like fp_provider_receive.
/// FP_INVALID_BUFFER if they are not inside it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_receive_registered(
    provider: fp_provider,
    socket: fp_socket,
    buffer: i32,
    offset: u32,
    length: u32,
    context: u64,
    operation: *mut u32,
) -> i32 {
    submit(provider, operation, |running| {
        let range = running.range(buffer, offset, length)?;
        running.submit(context, checked(socket)?, Work::ReceiveRegistered(range))
    })
}

/// Asks for the end of an operation. It completes soon, as cancelled, or with what it achieved before: a connection or data
/// that came in time is handed out and never dropped. Nothing happens if there is no such operation (any more).
#[unsafe(no_mangle)]
pub extern "C" fn fp_provider_cancel(provider: fp_provider, operation: u32) -> i32 {
    guard(|| with_running(provider, |running| running.cancel(operation)))
}

fn submit(provider: fp_provider, operation: *mut u32, body: impl FnOnce(&Running) -> Result<u32>) -> i32 {
    guard(|| {
        let id = with_running(provider, |running| body(running))?;
        if !operation.is_null() {
            // SAFETY: the caller passes NULL or a valid place.
            unsafe { operation.write(id) };
        }
        Ok(())
    })
}

/// # Safety
/// `entries` is NULL or an array of `count`, so is `operations`, and `posted` is NULL or a valid place.
unsafe fn submit_batch<T>(
    provider: fp_provider,
    entries: *const T,
    count: u32,
    operations: *mut u32,
    posted: *mut u32,
    one: impl Fn(&T) -> Result<(u64, fp_socket, Work)>,
) -> i32 {
    let mut accepted = 0;
    let result = guard(|| {
        if count == 0 {
            return Ok(());
        }
        if entries.is_null() {
            return Err(invalid("the batch is NULL"));
        }
        // SAFETY: vouched for by the caller.
        let entries = unsafe { std::slice::from_raw_parts(entries, count as usize) };
        with_running(provider, |running| {
            let tell = |position: usize, id| {
                if !operations.is_null() {
                    // SAFETY: the array is as long as the batch.
                    unsafe { operations.add(position).write(id) };
                }
            };
            let (number, outcome) = running.submit_all(entries.iter().map(one), tell);
            accepted = number as u32;
            outcome
        })
    });
    if !posted.is_null() {
        // SAFETY: vouched for by the caller.
        unsafe { posted.write(accepted) };
    }
    result
}

fn checked(socket: fp_socket) -> Result<fp_socket> {
    if socket == FP_NO_SOCKET {
        return Err(Error::new(ErrorCode::InvalidSocket, "the socket is the invalid one, -1"));
    }
    Ok(socket)
}

fn send(data: *const c_void, length: u32) -> Result<Work> {
    check_memory(data, length)?;
    Ok(Work::Send { start: data.cast(), bytes: length })
}

fn receive(buffer: *mut c_void, length: u32) -> Result<Work> {
    check_memory(buffer, length)?;
    Ok(Work::Receive { start: buffer.cast(), bytes: length })
}

fn check_memory(start: *const c_void, length: u32) -> Result<()> {
    if start.is_null() || length == 0 {
        return Err(Error::new(ErrorCode::InvalidBuffer, "there is no memory: it is NULL, or its length is 0"));
    }
    Ok(())
}
