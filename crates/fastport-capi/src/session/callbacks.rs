//! The program's callbacks, and the handler that calls them.

use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use fastport::{CloseReason, Context, Handler, PacketView, Refusal, SessionId, SessionStats};

use super::framing::Framing;
use super::growing::Growing;
use super::report::fp_session_statistics;
use super::server::Server;
use super::{current, fp_server, fp_session, reason};

/// What a server tells the program. Set `struct_bytes` to sizeof(fp_server_callbacks); what is NULL is not told.
///
/// `user` is the pointer that was given to fp_server_create. All events of a session come one after another, `accepted` or
/// `connected` first, `closed` last, each exactly once. Events of different sessions come at the same time if there are
/// several threads (see `workers` and `handler_threads`): then what callbacks share needs locks.
///
/// A callback on an I/O thread holds up all sessions of that thread, so it must not wait for anything. It may make any call
/// of this library except those that wait for the server: fp_server_stop, fp_server_wait and fp_server_destroy answer
/// FP_OPERATION_PENDING inside a callback of the same server.
///
/// Texts, payloads and structs that a callback is given are valid until it returns. No C++ exception and no longjmp may leave
/// a callback; layers for languages that have exceptions catch them and call fp_callback_failed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct fp_server_callbacks {
    /// sizeof(fp_server_callbacks).
    pub struct_bytes: usize,
    /// A client has connected; `peer` is its address, such as `192.0.2.7:4711` or `[2001:db8::7]:4711`.
    pub accepted: Option<unsafe extern "C" fn(user: *mut c_void, session: fp_session, peer: *const c_char)>,
    /// A connection stands that fp_server_connect asked for with this `token`.
    pub connected: Option<unsafe extern "C" fn(user: *mut c_void, session: fp_session, token: u64)>,
    /// An attempt to connect has failed; `error` is one of the error numbers, `message` says it in words. If reconnecting was
    /// asked for, the next attempt follows by itself.
    pub connect_failed: Option<unsafe extern "C" fn(user: *mut c_void, token: u64, error: i32, message: *const c_char)>,
    /// A whole packet has arrived.
    pub packet: Option<
        unsafe extern "C" fn(user: *mut c_void, session: fp_session, id: u16, payload: *const c_void, bytes: usize),
    >,
    /// The system has taken `bytes` more bytes of what was sent, headers included.
    pub sent: Option<unsafe extern "C" fn(user: *mut c_void, session: fp_session, bytes: usize)>,
    /// The session was full and takes packets again.
    pub writable: Option<unsafe extern "C" fn(user: *mut c_void, session: fp_session)>,
    /// The session is over. `reason` is one of FP_CLOSED_…; `error` is the number of the error for FP_CLOSED_ERROR,
    /// otherwise 0.
    pub closed: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            session: fp_session,
            reason: u32,
            error: i32,
            statistics: *const fp_session_statistics,
        ),
    >,
    /// The period `tick_ms` is over. Each thread that makes callbacks ticks for itself; `thread` is its number, from 0 on. A
    /// server with one thread has one tick. Late ticks are not made up for.
    pub tick: Option<unsafe extern "C" fn(user: *mut c_void, thread: u32)>,
    /// A client was accepted and closed at once, because of a limit: `reason` is "sessions", "address", "rate" or
    /// "exhausted".
    pub refused: Option<unsafe extern "C" fn(user: *mut c_void, peer: *const c_char, reason: *const c_char)>,
}

// SAFETY: function pointers and the size, which is first.
unsafe impl Growing for fp_server_callbacks {
    const NAME: &'static str = "fp_server_callbacks";
}

/// The program's callbacks together with its pointer.
#[derive(Clone, Copy)]
pub(super) struct Callbacks {
    pub(super) table: fp_server_callbacks,
    pub(super) user: *mut c_void,
}

// SAFETY: the pointer is never followed here. That callbacks come on several threads is what the program agrees to.
unsafe impl Send for Callbacks {}
// SAFETY: as above.
unsafe impl Sync for Callbacks {}

/// One thread's handler.
pub(super) struct Caller {
    server: Arc<Server>,
    handle: fp_server,
    callbacks: Callbacks,
    thread: u32,
    /// The server knows its service; see [`Server::runs_with`].
    is_known: bool,
}

impl Caller {
    pub(super) fn new(server: Arc<Server>, handle: fp_server, thread: usize) -> Self {
        let callbacks = server.callbacks;
        Self { server, handle, callbacks, thread: thread as u32, is_known: false }
    }

    /// Makes a callback for a session, if the program wants it.
    fn call<C>(
        &mut self,
        callback: Option<C>,
        context: &mut Context<'_, Framing>,
        packet: Option<PacketView<'_>>,
        make: impl FnOnce(C, *mut c_void, fp_session),
    ) {
        if !self.is_known {
            self.is_known = true;
            self.server.runs_with(context.handle());
        }
        let Some(callback) = callback else { return };
        let user = self.callbacks.user;
        current::run_with(self.handle, context, packet, |session| make(callback, user, session));
    }
}

// SAFETY of all calls: what is passed lives until the callback returns, and the program promised callbacks of these types.
impl Handler<Framing> for Caller {
    fn accepted(&mut self, session: &mut Context<'_, Framing>) {
        let peer = AddressText::new(session.peer_address());
        // SAFETY: see above.
        let make = |callback: unsafe extern "C" fn(_, _, _), user, session| unsafe {
            callback(user, session, peer.as_ptr());
        };
        self.call(self.callbacks.table.accepted, session, None, make);
    }

    fn connected(&mut self, session: &mut Context<'_, Framing>, token: u64) {
        // SAFETY: see above.
        let make = |callback: unsafe extern "C" fn(_, _, _), user, session| unsafe { callback(user, session, token) };
        self.call(self.callbacks.table.connected, session, None, make);
    }

    fn packet(&mut self, session: &mut Context<'_, Framing>, packet: PacketView<'_>) {
        let (start, bytes) = (packet.payload.as_ptr().cast(), packet.payload.len());
        // SAFETY: see above.
        let make = |callback: unsafe extern "C" fn(_, _, _, _, _), user, session| unsafe {
            callback(user, session, packet.id.0, start, bytes);
        };
        self.call(self.callbacks.table.packet, session, Some(packet), make);
    }

    fn sent(&mut self, session: &mut Context<'_, Framing>, bytes: usize) {
        // SAFETY: see above.
        let make = |callback: unsafe extern "C" fn(_, _, _), user, session| unsafe { callback(user, session, bytes) };
        self.call(self.callbacks.table.sent, session, None, make);
    }

    fn writable(&mut self, session: &mut Context<'_, Framing>) {
        // SAFETY: see above.
        let make = |callback: unsafe extern "C" fn(_, _), user, session| unsafe { callback(user, session) };
        self.call(self.callbacks.table.writable, session, None, make);
    }

    fn closed(&mut self, session: SessionId, reason: CloseReason, stats: &SessionStats) {
        let Some(callback) = self.callbacks.table.closed else { return };
        let statistics = fp_session_statistics::from(stats);
        let (reason, error) = reason::number_of(reason);
        // SAFETY: see above.
        current::run(self.handle, || unsafe {
            callback(self.callbacks.user, session.to_bits(), reason, error, &raw const statistics);
        });
    }

    fn connect_failed(&mut self, token: u64, _: SocketAddr, error: &fastport_io::Error) {
        let Some(callback) = self.callbacks.table.connect_failed else { return };
        let message = CString::new(error.to_string().replace('\0', " ")).unwrap_or_default();
        // SAFETY: see above.
        current::run(self.handle, || unsafe {
            callback(self.callbacks.user, token, error.number(), message.as_ptr());
        });
    }

    fn refused(&mut self, peer: SocketAddr, reason: Refusal) {
        let Some(callback) = self.callbacks.table.refused else { return };
        let peer = AddressText::new(peer);
        let reason = refusal_name(reason);
        // SAFETY: see above.
        current::run(self.handle, || unsafe { callback(self.callbacks.user, peer.as_ptr(), reason.as_ptr()) });
    }

    fn tick(&mut self, _: Instant) {
        let Some(callback) = self.callbacks.table.tick else { return };
        // Before that there is nothing that a tick could do with the server.
        if !self.server.is_running() {
            return;
        }
        // SAFETY: see above.
        current::run(self.handle, || unsafe { callback(self.callbacks.user, self.thread) });
    }
}

fn refusal_name(reason: Refusal) -> &'static CStr {
    match reason {
        Refusal::Sessions => c"sessions",
        Refusal::Address => c"address",
        Refusal::Rate => c"rate",
        // Exhausted, and whatever else may keep clients out one day.
        _ => c"exhausted",
    }
}

/// An address as a text of C's, without an allocation.
pub(super) struct AddressText {
    /// The longest: an IPv6 address with a scope and a port has 58 characters. The rest stays zero.
    bytes: [u8; 64],
    length: usize,
}

impl AddressText {
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut text = Self { bytes: [0; 64], length: 0 };
        let written = write!(text, "{address}");
        debug_assert!(written.is_ok(), "there is room for every address");
        text
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    fn as_ptr(&self) -> *const c_char {
        self.as_c_str().as_ptr()
    }
}

impl Write for AddressText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        // One byte stays for the zero.
        let place = self.bytes[..63].get_mut(self.length..end).ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_fits_its_text() {
        let longest = "[1111:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535";
        for text in ["127.0.0.1:80", "[::1]:443", longest] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(AddressText::new(address).as_c_str().to_str().unwrap(), text);
        }
    }
}
