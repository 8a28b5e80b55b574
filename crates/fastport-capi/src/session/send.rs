//! What is done with sessions: send, forward, broadcast, close; and the making of connections.
//!
//! Inside a callback of the session itself, packets are written straight into its send queue and go out together when the
//! batch of events is handled. From everywhere else they take the way through the mailbox of the session's thread. So the
//! packets of one thread to one session keep their order, with one exception: what a callback sends to its own session
//! overtakes what other callbacks on that thread have sent to it just before.

use std::ffi::{c_char, c_void};

use fastport::{Framer, PacketId, PacketView, SendError, SessionId};
use fastport_io::{Error, ErrorCode, Result};

use super::options::fp_connect_options;
use super::{SERVERS, current, fp_server, fp_session, growing, socket_address, with_handle};
use crate::error::{FP_INVALID_BUFFER, FP_NO_RESOURCES, FP_SOCKET_NOT_REGISTERED, guard, invalid};
use crate::pointer::text;

/// The session is closed, or is being closed.
pub const FP_SESSION_CLOSED: i32 = FP_SOCKET_NOT_REGISTERED;
/// The peer reads too slowly: the session's queue is full, or the one on the way to it. `writable` tells when to go on.
pub const FP_QUEUE_FULL: i32 = FP_NO_RESOURCES;
/// The payload does not fit into one packet.
pub const FP_PACKET_TOO_LARGE: i32 = FP_INVALID_BUFFER;

/// Sends a packet with a copy of `bytes` bytes from `payload` on, which may be NULL if there are none.
///
/// Any thread may call at any time, also inside callbacks. A packet that was accepted is sent, unless the session ends before.
/// Packets of one thread to one session keep their order; only what a callback sends to its own session goes out with that
/// callback, ahead of what other callbacks on the thread have sent to it just before.
///
/// FP_SESSION_CLOSED for a session that is gone or going, FP_QUEUE_FULL for one whose peer reads too slowly,
/// FP_PACKET_TOO_LARGE beyond the largest packet: nothing was sent then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_session_send(
    server: fp_server,
    session: fp_session,
    id: u16,
    payload: *const c_void,
    bytes: usize,
) -> i32 {
    guard(|| {
        // SAFETY: the caller passes as many bytes as said.
        let payload = unsafe { slice(payload, bytes, "the payload") }?;
        let session = SessionId::from_bits(session);
        match current::with_session(server, session, |context| context.send(id, payload)) {
            Some(sent) => sent.map_err(refused),
            None => with_handle(server, |handle| handle.send(session, id, payload).map_err(refused)),
        }
    })
}

/// Sends the packet that the `packet` callback on this thread was given, as it came, to a session of the same server. Back to
/// its own session a large one goes without a copy.
///
/// FP_INVALID_ARGUMENT outside a `packet` callback of the server; otherwise as fp_session_send.
#[unsafe(no_mangle)]
pub extern "C" fn fp_session_forward(server: fp_server, session: fp_session) -> i32 {
    guard(|| {
        let session = SessionId::from_bits(session);
        let forward =
            |packet: PacketView<'_>| match current::with_session(server, session, |context| context.forward(packet)) {
                Some(sent) => sent.map_err(refused),
                None => with_handle(server, |handle| handle.send_shared(session, packet.frame.into()).map_err(refused)),
            };
        let forwarded = current::with_packet(server, forward);
        forwarded.unwrap_or_else(|| Err(invalid("there is no packet at hand; forward inside a packet callback")))
    })
}

/// Sends one packet to `count` sessions. It is encoded once, and large ones are not copied for each. `reached`, if it is not
/// NULL, gets the number of sessions that take it; the others are gone, or full.
///
/// Any thread may call, also inside callbacks. FP_PACKET_TOO_LARGE beyond the largest packet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_server_broadcast(
    server: fp_server,
    sessions: *const fp_session,
    count: usize,
    id: u16,
    payload: *const c_void,
    bytes: usize,
    reached: *mut usize,
) -> i32 {
    guard(|| {
        // SAFETY: the caller passes arrays as long as said.
        let (sessions, payload) =
            unsafe { (slice(sessions, count, "the array of sessions")?, slice(payload, bytes, "the payload")?) };
        let found = SERVERS.get(server)?;
        let packet = found.framing.packet(PacketId(id), bytes, |place| place.copy_from_slice(payload));
        let frame = packet.map_err(|error| refused(error.into()))?.into_shared_frame();
        let mut taken = 0;
        let mut others = Vec::with_capacity(count);
        for session in sessions.iter().copied().map(SessionId::from_bits) {
            match current::with_session(server, session, |context| context.send_shared(frame.clone())) {
                Some(sent) => taken += usize::from(sent.is_ok()),
                None => others.push(session),
            }
        }
        taken += found.with_handle(|handle| Ok(handle.broadcast(&others, &frame)))?;
        if !reached.is_null() {
            // SAFETY: the caller passes a valid place.
            unsafe { reached.write(taken) };
        }
        Ok(())
    })
}

/// Ends a session gracefully: what is queued is sent, then the stream is ended, and the peer gets time to end its own. No
/// packet of it is handed to the program any more. Any thread may call. FP_SESSION_CLOSED if it was gone or going already.
#[unsafe(no_mangle)]
pub extern "C" fn fp_session_close(server: fp_server, session: fp_session) -> i32 {
    guard(|| {
        let session = SessionId::from_bits(session);
        let at_hand = current::with_session(server, session, |context| {
            context.close();
        });
        at_hand.map_or_else(|| with_handle(server, |handle| ended(handle.close(session))), Ok)
    })
}

/// Ends a session at once by a reset; what is queued is dropped. Any thread may call. FP_SESSION_CLOSED if it was gone or
/// going already.
#[unsafe(no_mangle)]
pub extern "C" fn fp_session_abort(server: fp_server, session: fp_session) -> i32 {
    guard(|| {
        let session = SessionId::from_bits(session);
        let at_hand = current::with_session(server, session, |context| {
            context.abort();
        });
        at_hand.map_or_else(|| with_handle(server, |handle| ended(handle.abort(session))), Ok)
    })
}

/// Whether packets can be sent to a session: it is neither closed nor being closed. False for dead handles too.
#[unsafe(no_mangle)]
pub extern "C" fn fp_session_is_open(server: fp_server, session: fp_session) -> bool {
    let mut is_open = false;
    guard(|| {
        is_open = with_handle(server, |handle| Ok(handle.is_open(SessionId::from_bits(session))))?;
        Ok(())
    });
    is_open
}

/// Makes a connection, which becomes a session of the server: `address` is like "192.0.2.7:6628", names are not looked up. The
/// outcome comes to `connected` or `connect_failed`, with `token`. `options` may be NULL for the defaults.
///
/// Any thread may call. FP_QUEUE_FULL at the limit of sessions; FP_SESSION_CLOSED when the server stops; FP_NOT_INITIALIZED
/// before it was started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_server_connect(
    server: fp_server,
    address: *const c_char,
    token: u64,
    options: *const fp_connect_options,
) -> i32 {
    guard(|| {
        // SAFETY: the caller passes NULL, or a text that ends with a zero and a struct as long as it says.
        let (address, options) = unsafe { (socket_address(address)?, growing::read(options)?) };
        let options = options.to_connect()?;
        with_handle(server, |handle| handle.connect(address, token, options).map_err(refused))
    })
}

/// Makes no connection any more that fp_server_connect was asked for with `token`. An attempt that is under way, or waits for its
/// time, ends with `connect_failed` and FP_CANCELLED. A connection that stands lives on, and is not made again when it is
/// lost.
///
/// Any thread may call.
#[unsafe(no_mangle)]
pub extern "C" fn fp_server_cancel_connect(server: fp_server, token: u64) -> i32 {
    guard(|| {
        with_handle(server, |handle| {
            handle.cancel_connect(token);
            Ok(())
        })
    })
}

/// Says inside a callback that it has failed, for layers over this one whose language has exceptions: when the callback
/// returns, `what` is logged and counted, and the session, if the callback had one, is reset with reason
/// FP_CLOSED_CALLBACK_FAILED. `what` may be NULL.
///
/// FP_INVALID_ARGUMENT outside callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_callback_failed(what: *const c_char) -> i32 {
    guard(|| {
        // SAFETY: the caller passes NULL or a text that ends with a zero.
        let what = unsafe { text(what) }?.unwrap_or("no reason was given");
        if current::fail(what.to_owned()) { Ok(()) } else { Err(invalid("no callback runs on this thread")) }
    })
}

fn refused(error: SendError) -> Error {
    let code = match error {
        SendError::Closed => ErrorCode::SocketNotRegistered,
        SendError::Full => ErrorCode::NoResources,
        SendError::TooLarge => ErrorCode::InvalidBuffer,
        _ => ErrorCode::OperationFailed,
    };
    Error::new(code, error.to_string())
}

fn ended(was_open: bool) -> Result<()> {
    if was_open { Ok(()) } else { Err(refused(SendError::Closed)) }
}

/// An array of C's; NULL is an empty one.
///
/// # Safety
/// `start` is NULL or an array of `count`.
unsafe fn slice<'a, T>(start: *const impl Sized, count: usize, what: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if start.is_null() || count > isize::MAX as usize / size_of::<T>() {
        return Err(invalid(format!("{what} is NULL, or longer than any memory")));
    }
    // SAFETY: vouched for by the caller.
    Ok(unsafe { std::slice::from_raw_parts(start.cast(), count) })
}
