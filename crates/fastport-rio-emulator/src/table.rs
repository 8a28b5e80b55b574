//! The functions that the table carries, with the signatures of `mswsock.h`.

use std::ffi::c_void;

use windows_sys::Win32::Foundation::{FALSE, TRUE};
use windows_sys::Win32::Networking::WinSock::{
    RIO_BUF, RIO_BUFFERID, RIO_CORRUPT_CQ, RIO_CQ, RIO_EXTENSION_FUNCTION_TABLE, RIO_MSG_COMMIT_ONLY,
    RIO_NOTIFICATION_COMPLETION, RIO_RQ, RIORESULT, SOCKET, WSAEFAULT, WSAEINVAL, WSAEOPNOTSUPP, WSASetLastError,
};
use windows_sys::core::{BOOL, PCSTR};

use crate::emulator::current_judge;
use crate::exclusion::Inside;
use crate::kernel;
use crate::request_queue::Direction;
use crate::rules::Rule;
use crate::sockets;

/// `RIO_INVALID_CQ` and `RIO_INVALID_RQ`.
const INVALID_QUEUE: isize = 0;
/// `RIO_INVALID_BUFFERID`.
const INVALID_BUFFER: RIO_BUFFERID = 0xFFFF_FFFF;

/// Stands for `WSAIoctl(SIO_GET_MULTIPLE_EXTENSION_FUNCTION_POINTER, WSAID_MULTIPLE_RIO)`: fills the table, whose
/// `cbSize` the caller has set. Returns 0 or a Winsock code.
///
/// # Safety
/// `table` is valid for writing, or NULL.
pub unsafe fn query(_socket: SOCKET, table: *mut RIO_EXTENSION_FUNCTION_TABLE) -> i32 {
    sockets::intercept();
    // SAFETY: valid, or NULL, as the caller promised.
    let Some(table) = (unsafe { table.as_mut() }) else { return WSAEFAULT };
    if table.cbSize as usize != size_of::<RIO_EXTENSION_FUNCTION_TABLE>() {
        let what = format!("the table is asked for with cbSize {}", table.cbSize);
        current_judge().report(Rule::TableSize, what);
        return WSAEINVAL;
    }
    *table = RIO_EXTENSION_FUNCTION_TABLE {
        cbSize: table.cbSize,
        RIOReceive: Some(receive),
        RIOReceiveEx: Some(receive_ex),
        RIOSend: Some(send),
        RIOSendEx: Some(send_ex),
        RIOCloseCompletionQueue: Some(close_completion_queue),
        RIOCreateCompletionQueue: Some(create_completion_queue),
        RIOCreateRequestQueue: Some(create_request_queue),
        RIODequeueCompletion: Some(dequeue_completion),
        RIODeregisterBuffer: Some(deregister_buffer),
        RIONotify: Some(notify),
        RIORegisterBuffer: Some(register_buffer),
        RIOResizeCompletionQueue: Some(resize_completion_queue),
        RIOResizeRequestQueue: Some(resize_request_queue),
    };
    0
}

/// The result of a call as a Win32 BOOL, its error in the thread's last error.
fn answer(call: impl FnOnce() -> Result<(), i32>) -> BOOL {
    answer_with(FALSE, || call().map(|()| TRUE))
}

/// The error is set when the call has let go of its locks: letting go may change the last error.
fn answer_with<T>(failure: T, call: impl FnOnce() -> Result<T, i32>) -> T {
    call().unwrap_or_else(|code| {
        // SAFETY: no preconditions.
        unsafe { WSASetLastError(code) };
        failure
    })
}

unsafe extern "system" fn register_buffer(start: PCSTR, bytes: u32) -> RIO_BUFFERID {
    answer_with(INVALID_BUFFER, || kernel::lock().register_buffer(start.cast_mut(), bytes))
}

unsafe extern "system" fn deregister_buffer(buffer: RIO_BUFFERID) {
    kernel::lock().deregister_buffer(buffer);
}

unsafe extern "system" fn create_completion_queue(
    size: u32,
    notification: *const RIO_NOTIFICATION_COMPLETION,
) -> RIO_CQ {
    // SAFETY: NULL, or a valid structure, by the interface.
    let notification = unsafe { notification.as_ref() }.copied();
    answer_with(INVALID_QUEUE, || kernel::lock().create_completion_queue(size, notification))
}

unsafe extern "system" fn close_completion_queue(queue: RIO_CQ) {
    let _inside = enter_completion_queue(queue, "RIOCloseCompletionQueue");
    kernel::lock().close_completion_queue(queue);
}

unsafe extern "system" fn resize_completion_queue(queue: RIO_CQ, size: u32) -> BOOL {
    answer(|| {
        let _inside = enter_completion_queue(queue, "RIOResizeCompletionQueue");
        kernel::lock().resize_completion_queue(queue, size)
    })
}

unsafe extern "system" fn dequeue_completion(queue: RIO_CQ, results: *mut RIORESULT, count: u32) -> u32 {
    let _inside = enter_completion_queue(queue, "RIODequeueCompletion");
    if results.is_null() {
        return 0;
    }
    // SAFETY: an array of `count` results, by the interface.
    let results = unsafe { std::slice::from_raw_parts_mut(results, count as usize) };
    kernel::lock().dequeue(queue, results).unwrap_or(RIO_CORRUPT_CQ)
}

/// Returns the error itself, not through the last error.
unsafe extern "system" fn notify(queue: RIO_CQ) -> i32 {
    let _inside = enter_completion_queue(queue, "RIONotify");
    kernel::lock().notify(queue).err().unwrap_or(0)
}

fn enter_completion_queue(queue: RIO_CQ, call: &str) -> Option<Inside> {
    let judge = kernel::lock().completion_judge(queue);
    let Some(judge) = judge else {
        current_judge().report(Rule::QueueTeardown, format!("{call} on a completion queue that is closed"));
        return None;
    };
    Some(Inside::enter(queue, &judge, Rule::QueueExclusion, call))
}

unsafe extern "system" fn create_request_queue(
    socket: SOCKET,
    receives: u32,
    receive_buffers: u32,
    sends: u32,
    send_buffers: u32,
    receive_queue: RIO_CQ,
    send_queue: RIO_CQ,
    context: *const c_void,
) -> RIO_RQ {
    answer_with(INVALID_QUEUE, || {
        kernel::lock().create_request_queue(
            socket,
            [receives, sends],
            [receive_buffers, send_buffers],
            [receive_queue, send_queue],
            context as u64,
        )
    })
}

unsafe extern "system" fn resize_request_queue(queue: RIO_RQ, receives: u32, sends: u32) -> BOOL {
    answer(|| {
        let _inside = enter_request_queue(queue, "RIOResizeRequestQueue");
        kernel::lock().resize_request_queue(queue, [receives, sends])
    })
}

unsafe extern "system" fn send(
    queue: RIO_RQ,
    slice: *const RIO_BUF,
    buffers: u32,
    flags: u32,
    context: *const c_void,
) -> BOOL {
    // SAFETY: as the interface has it.
    unsafe { request(queue, Direction::Send, slice, buffers, flags, context) }
}

unsafe extern "system" fn receive(
    queue: RIO_RQ,
    slice: *const RIO_BUF,
    buffers: u32,
    flags: u32,
    context: *const c_void,
) -> BOOL {
    // SAFETY: as the interface has it.
    unsafe { request(queue, Direction::Receive, slice, buffers, flags, context) }
}

/// # Safety
/// `slice` is valid or NULL.
unsafe fn request(
    queue: RIO_RQ,
    direction: Direction,
    slice: *const RIO_BUF,
    buffers: u32,
    flags: u32,
    context: *const c_void,
) -> BOOL {
    // SAFETY: valid or NULL, as the caller promised.
    let slice = unsafe { slice.as_ref() }.copied();
    answer(|| {
        // A commit is the one call that needs no exclusion.
        let _inside = (flags & RIO_MSG_COMMIT_ONLY == 0).then(|| enter_request_queue(queue, "a request"));
        kernel::lock().request(queue, direction, slice, buffers, flags, context as u64)
    })
}

/// A dead queue is reported by the call itself, which knows what was tried.
fn enter_request_queue(queue: RIO_RQ, call: &str) -> Option<Inside> {
    let judge = kernel::lock().request_judge(queue)?;
    Some(Inside::enter(queue, &judge, Rule::RequestExclusion, call))
}

/// For datagrams with addresses; not emulated.
unsafe extern "system" fn receive_ex(
    _queue: RIO_RQ,
    _slice: *const RIO_BUF,
    _buffers: u32,
    _local: *const RIO_BUF,
    _remote: *const RIO_BUF,
    _control: *const RIO_BUF,
    _flags_out: *const RIO_BUF,
    _flags: u32,
    _context: *const c_void,
) -> i32 {
    answer(|| Err(WSAEOPNOTSUPP))
}

/// For datagrams with addresses; not emulated.
unsafe extern "system" fn send_ex(
    _queue: RIO_RQ,
    _slice: *const RIO_BUF,
    _buffers: u32,
    _local: *const RIO_BUF,
    _remote: *const RIO_BUF,
    _control: *const RIO_BUF,
    _flags_out: *const RIO_BUF,
    _flags: u32,
    _context: *const c_void,
) -> BOOL {
    answer(|| Err(WSAEOPNOTSUPP))
}
