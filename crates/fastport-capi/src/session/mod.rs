//! `fp_server_*` and `fp_session_*`: framed servers, and the connections that they make.
//!
//! ```text
//!   I/O threads ──▶ Caller ──▶ the program's callbacks ──▶ fp_session_send … ──▶ the session at hand
//!   any thread  ─────────────────────────────────────────▶ fp_session_send … ──▶ mailbox of the session's I/O thread
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `send.rs` | what is done with sessions: send, forward, broadcast, close |
//! | `callbacks.rs` | what the program is told, and the handler that tells it |
//! | `server.rs` | a server's life |
//! | `current.rs` | the callback that runs on a thread |
//! | `options.rs` `framing.rs` | what can be chosen |
//! | `reason.rs` `report.rs` | why sessions end, and what is counted |
//! | `growing.rs` | structs that get further fields in later versions |

pub mod callbacks;
pub mod framing;
pub mod options;
pub mod reason;
pub mod report;
pub mod send;

mod current;
mod growing;
mod server;

use std::ffi::{c_char, c_void};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastport::StopReport;
use fastport_io::{Error, ErrorCode, Result};

use self::callbacks::{AddressText, Callbacks, fp_server_callbacks};
use self::framing::Framing;
use self::options::fp_server_options;
use self::report::{fp_server_statistics, fp_stop_report};
use self::server::Server;
use crate::error::{guard, invalid, remember};
use crate::handle::{HandleKind, HandleTable};
use crate::pointer::{text, write};

/// A server: framed sessions over one backend, on threads of its own. 0 is none.
pub type fp_server = u64;

/// A session of a server. It may be kept for as long as one likes: when the session is gone, the number names nothing, and is
/// not given to another session of that server. 0 is none.
pub type fp_session = u64;

static SERVERS: HandleTable<Server> = HandleTable::new(HandleKind::Server);

/// Creates a server that does not run yet.
///
/// `options` and `callbacks` are copied; NULL options are the defaults. `user` is passed to every callback and must stay valid
/// until the server has stopped. `server` gets the handle, which is destroyed by fp_server_destroy.
///
/// FP_INVALID_ARGUMENT for an option that does not exist; ranges are checked by fp_server_start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_server_create(
    options: *const fp_server_options,
    callbacks: *const fp_server_callbacks,
    user: *mut c_void,
    server: *mut fp_server,
) -> i32 {
    guard(|| {
        // SAFETY: the caller passes NULL or structs as long as they say, and a text in them.
        let (options, service, table) = unsafe {
            let options = growing::read(options)?;
            (options, options.to_service()?, growing::read(callbacks)?)
        };
        let framing = Framing::new(options.framing, options.max_frame_bytes)?;
        let created = Server::new(service, framing, Callbacks { table, user });
        // SAFETY: the caller passes NULL or a valid place.
        unsafe { write(server, "server", || SERVERS.insert(Arc::new(created))) }
    })
}

/// Adds an address to listen on, such as `0.0.0.0:6628`, `[::]:6628` or `127.0.0.1:0`: with port 0 the system chooses one,
/// which fp_server_address tells. Any number of them before the server starts; a server without one accepts nobody and only
/// makes connections.
///
/// FP_ALREADY_INITIALIZED if it was started. Whether the address can be had is found out by fp_server_start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_server_listen(server: fp_server, address: *const c_char) -> i32 {
    guard(|| {
        let server = SERVERS.get(server)?;
        // SAFETY: the caller passes NULL or a text that ends with a zero.
        server.listen(unsafe { socket_address(address) }?)
    })
}

/// Starts a server: chooses the backend, opens the listeners and starts the threads. Clients can connect when it returns, and
/// callbacks may come before that.
///
/// FP_INVALID_ARGUMENT for an option out of range; FP_PLATFORM_NOT_SUPPORTED, FP_NO_RESOURCES or the system's error (such as
/// an address in use) otherwise: fp_last_error_message tells why and what to do. Nothing runs then, and it may be tried again.
/// FP_ALREADY_INITIALIZED if the server was started before: a server starts once.
#[unsafe(no_mangle)]
pub extern "C" fn fp_server_start(server: fp_server) -> i32 {
    guard(|| {
        refuse_inside(server, "fp_server_start")?;
        SERVERS.get(server)?.start(server)
    })
}

/// Closes the listeners. Sessions live on. FP_NOT_INITIALIZED if the server was not started.
#[unsafe(no_mangle)]
pub extern "C" fn fp_server_stop_accepting(server: fp_server) -> i32 {
    guard(|| {
        with_handle(server, |handle| {
            handle.stop_accepting();
            Ok(())
        })
    })
}

/// Stops a server and waits for its end: no client is accepted any more, sessions may send what is queued for at most
/// `drain_limit_ms` milliseconds, what is left then is reset. When it returns, every session was told to be closed, and no
/// callback runs. `report` gets the outcome; it may be NULL.
///
/// FP_NOT_INITIALIZED if the server was not started, or has stopped already. FP_OPERATION_PENDING inside a callback of the
/// server, which it would wait for: call fp_server_begin_stop there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_server_stop(server: fp_server, drain_limit_ms: u32, report: *mut fp_stop_report) -> i32 {
    guard(|| {
        refuse_inside(server, "fp_server_stop")?;
        // SAFETY: the caller passes NULL or a struct as long as it says.
        unsafe { growing::check(report) }?;
        let ended = SERVERS.get(server)?.stop(milliseconds(drain_limit_ms))?;
        // SAFETY: the caller passes NULL or a struct as long as it says.
        unsafe { tell(&ended, report) }
    })
}

/// Stops a server as fp_server_stop does, without waiting. Of several calls the first one counts. Any thread may call, also
/// inside a callback. FP_NOT_INITIALIZED if the server was not started.
#[unsafe(no_mangle)]
pub extern "C" fn fp_server_begin_stop(server: fp_server, drain_limit_ms: u32) -> i32 {
    guard(|| {
        with_handle(server, |handle| {
            handle.stop(milliseconds(drain_limit_ms));
            Ok(())
        })
    })
}

/// Waits until a server has stopped: because fp_server_begin_stop was called, or because its backend failed. `report` gets the
/// outcome; it may be NULL. Several threads may wait, also after the end.
///
/// FP_NOT_INITIALIZED if the server was not started; FP_OPERATION_PENDING inside a callback of the server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_server_wait(server: fp_server, report: *mut fp_stop_report) -> i32 {
    guard(|| {
        refuse_inside(server, "fp_server_wait")?;
        // SAFETY: the caller passes NULL or a struct as long as it says.
        unsafe { growing::check(report) }?;
        let ended = SERVERS.get(server)?.wait()?;
        // SAFETY: the caller passes NULL or a struct as long as it says.
        unsafe { tell(&ended, report) }
    })
}

/// Destroys a server, after stopping it without draining if it runs. When it returns, no callback runs, and the handle is
/// dead.
///
/// FP_OPERATION_PENDING inside a callback of the server, which it would wait for: the server lives on.
#[unsafe(no_mangle)]
pub extern "C" fn fp_server_destroy(server: fp_server) -> i32 {
    guard(|| {
        refuse_inside(server, "fp_server_destroy")?;
        // The handle stays valid meanwhile, for callbacks that come last.
        SERVERS.get(server)?.end();
        SERVERS.remove(server).map(drop)
    })
}

/// Tells an address that the server listens on, in the order in which they were given, `index` from 0 on: `address` gets it as
/// a text that ends with a zero, `port` its port. Either may be NULL. 64 bytes are enough for any text.
///
/// FP_INVALID_ARGUMENT if there are fewer addresses; FP_INVALID_BUFFER if `address_bytes` is too small; FP_NOT_INITIALIZED if
/// the server was not started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_server_address(
    server: fp_server,
    index: u32,
    address: *mut c_char,
    address_bytes: usize,
    port: *mut u16,
) -> i32 {
    guard(|| {
        let found = with_handle(server, |handle| {
            let addresses = handle.local_addresses();
            let found = addresses.get(index as usize).copied();
            found.ok_or_else(|| invalid(format!("there is no address {index}: the server has {}", addresses.len())))
        })?;
        let known = AddressText::new(found);
        let bytes = known.as_c_str().to_bytes_with_nul();
        if !address.is_null() {
            if bytes.len() > address_bytes {
                let what = format!("the address needs {} bytes, there is room for {address_bytes}", bytes.len());
                return Err(Error::new(ErrorCode::InvalidBuffer, what));
            }
            // SAFETY: the caller passes a place of `address_bytes` bytes.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address.cast(), bytes.len()) };
        }
        if !port.is_null() {
            // SAFETY: the caller passes a valid place.
            unsafe { port.write(found.port()) };
        }
        Ok(())
    })
}

/// The backend of a server: "io_uring", "epoll", "kqueue", "IOCP" or "RIO"; NULL before fp_server_start has returned, and for
/// a dead handle. The text lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn fp_server_backend(server: fp_server) -> *const c_char {
    let mut backend = std::ptr::null();
    guard(|| {
        if let Some(name) = SERVERS.get(server)?.backend() {
            backend = name.as_ptr();
        }
        Ok(())
    });
    backend
}

/// The counts of a server, all threads together, at most one batch of events old. FP_NOT_INITIALIZED if it was not started;
/// after its end, those of the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_server_get_statistics(server: fp_server, statistics: *mut fp_server_statistics) -> i32 {
    guard(|| {
        let stats = with_handle(server, |handle| Ok(handle.stats()))?;
        // SAFETY: the caller passes NULL or a struct as long as it says.
        unsafe { growing::write(statistics, fp_server_statistics::from(&stats)) }
    })
}

/// Does something short with a server's service.
fn with_handle<R>(server: fp_server, act: impl FnOnce(&fastport::Handle) -> Result<R>) -> Result<R> {
    SERVERS.with(server, |server| server.with_handle(act))
}

/// Refuses a call that would wait for the callback that makes it.
fn refuse_inside(server: fp_server, call: &str) -> Result<()> {
    if current::is_inside(server) {
        let what = format!(
            "{call} waits for the server's callbacks, and was called inside one; call fp_server_begin_stop here, and \
             {call} from a thread of the program's own"
        );
        return Err(Error::new(ErrorCode::OperationPending, what));
    }
    Ok(())
}

/// # Safety
/// `report` is NULL or a struct as long as it says.
unsafe fn tell(ended: &StopReport, report: *mut fp_stop_report) -> Result<()> {
    if let Some(failure) = &ended.failure {
        remember(failure);
    }
    if report.is_null() {
        return Ok(());
    }
    // SAFETY: vouched for by the caller.
    unsafe { growing::write(report, fp_stop_report::from(ended)) }
}

/// # Safety
/// `address` is NULL or a text that ends with a zero.
unsafe fn socket_address(address: *const c_char) -> Result<SocketAddr> {
    // SAFETY: vouched for by the caller.
    let Some(address) = unsafe { text(address) }? else { return Err(invalid("the address is NULL")) };
    address.parse().map_err(|_| {
        invalid(format!(
            "'{address}' is no address; write it like 127.0.0.1:6628 or [::1]:6628, names are not looked up"
        ))
    })
}

fn milliseconds(number: u32) -> Duration {
    Duration::from_millis(u64::from(number))
}
