//! `fp_provider_*`: sockets, operations and completions.
//!
//! ```text
//!   any thread ──▶ fp_provider_send … ──▶ mailbox ──┐
//!   any thread ──▶ register, stats …  ──▶ visit  ───┤ gate: one at a time
//!   one thread ──▶ fp_provider_process ─────────────┴──▶ engine ──▶ fastport-io
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `submit.rs` | the calls that begin operations |
//! | `query.rs` | facts, features, options and counts |
//! | `running.rs` | a provider that runs, as submitting threads see it |
//! | `gate.rs` | who uses the engine, and when |
//! | `engine.rs` | the caller's sockets and operations on a provider of `fastport-io` |
//! | `request.rs` `completion.rs` `socket.rs` `clock.rs` | what goes in, what comes out, sockets and addresses, time |
//! | `settings.rs` | limits and options |

pub mod completion;
pub mod query;
pub mod socket;
pub mod submit;

mod clock;
mod engine;
mod gate;
mod request;
mod running;
mod settings;

pub(crate) use self::settings::name as backend_name;

use std::ffi::c_char;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use fastport_io::{Choice, Error, ErrorCode, Result};

use self::completion::fp_completion;
use self::running::Running;
use self::settings::{Settings, not_initialized};
use self::socket::fp_socket;
use crate::error::{guard, invalid};
use crate::handle::{HandleKind, HandleTable};
use crate::pointer::{text, write};

/// A provider: the I/O of one backend, for many threads. 0 is none.
pub type fp_provider = u64;

struct Provider {
    settings: Mutex<Settings>,
    /// Stays after a shutdown, until what had completed by then was taken and the provider is initialised again.
    running: RwLock<Option<Arc<Running>>>,
}

static PROVIDERS: HandleTable<Provider> = HandleTable::new(HandleKind::Provider);

/// Creates a provider that does not run yet.
///
/// `backend` is "io_uring", "epoll", "kqueue", "iocp", "rio" or "auto", in any case; NULL means "auto": the best that works
/// here, or what the environment variable FASTPORT_BACKEND says. `provider` gets the handle, which is destroyed by
/// fp_provider_destroy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_create(backend: *const c_char, provider: *mut fp_provider) -> i32 {
    guard(|| {
        // SAFETY: the caller passes NULL or a text that ends with a zero.
        let name = unsafe { text(backend) }?.unwrap_or("auto");
        let choice: Choice = name.parse()?;
        let created = Provider { settings: Mutex::new(Settings::new(choice)), running: RwLock::new(None) };
        // SAFETY: the caller passes NULL or a valid place.
        unsafe { write(provider, "provider", || PROVIDERS.insert(Arc::new(created))) }
    })
}

/// Starts a provider.
///
/// `queue_depth` is 32 ..= 4096: how many operations reach the system in one batch. `max_operations` is 1 ..= 16777216: how
/// many may be in flight at once; beyond it operations are refused by FP_NO_RESOURCES. Memory is taken as it is used.
/// Completions of an earlier run that were not taken are dropped.
///
/// FP_ALREADY_INITIALIZED if it runs; FP_PLATFORM_NOT_SUPPORTED, or the system's error, if the backend does not work here:
/// then fp_last_error_message tells why and what to do.
#[unsafe(no_mangle)]
pub extern "C" fn fp_provider_initialize(provider: fp_provider, queue_depth: u32, max_operations: u32) -> i32 {
    guard(|| {
        let provider = PROVIDERS.get(provider)?;
        let mut running = lock(provider.running.write());
        if running.as_ref().is_some_and(|running| running.is_open()) {
            return Err(Error::new(ErrorCode::AlreadyInitialized, "the provider runs already; shut it down first"));
        }
        let settings = lock(provider.settings.lock()).clone();
        let config = settings.config(queue_depth, max_operations)?;
        let backend = settings.select(&config)?;
        *running = Some(Arc::new(Running::start(backend, &config)?));
        Ok(())
    })
}

/// Stops a provider: what was submitted is carried out as far as that is possible at once, everything else is cancelled,
/// and sockets and memory are the caller's again when the call returns. Sockets stay open, and no received byte is lost.
///
/// The completions of it all are still handed out by fp_provider_process, until it answers FP_NOT_INITIALIZED. A thread that
/// waits in fp_provider_process is woken. FP_NOT_INITIALIZED if the provider does not run.
#[unsafe(no_mangle)]
pub extern "C" fn fp_provider_shutdown(provider: fp_provider) -> i32 {
    guard(|| running(provider)?.shut_down())
}

/// Destroys a provider, after stopping it if it runs. Completions that were not taken are dropped; the handle is dead from
/// now on.
#[unsafe(no_mangle)]
pub extern "C" fn fp_provider_destroy(provider: fp_provider) -> i32 {
    guard(|| {
        let provider = PROVIDERS.remove(provider)?;
        let running = lock(provider.running.write()).take();
        // One that was shut down before says so, which is what is wanted.
        let _ = running.map(|running| running.shut_down());
        Ok(())
    })
}

/// Hands out completions: at most `max` of them are written to `completions`, and their number to `count`. Those that do
/// not fit stay for the next call.
///
/// If there are none, waits for them: `timeout_ms` 0 does not wait, a negative one waits for ever. `count` is 0 if the time
/// is up, or if fp_provider_wake ended the wait. What other threads submit meanwhile is handed to the system at once.
///
/// Any thread may call, from call to call another one. A second thread that calls at the same time waits for its turn.
/// FP_NOT_INITIALIZED if the provider does not run, and nothing is left from when it ran.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_process(
    provider: fp_provider,
    completions: *mut fp_completion,
    max: u32,
    timeout_ms: i32,
    count: *mut u32,
) -> i32 {
    guard(|| {
        if completions.is_null() || max == 0 {
            return Err(invalid("there is no place for completions: 'completions' is NULL or 'max' is 0"));
        }
        let running = running(provider)?;
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        // SAFETY: the caller passes an array of `max`. It may be uninitialised: entries are plain numbers that are written
        // before anybody reads them.
        let out = unsafe { std::slice::from_raw_parts_mut(completions, max as usize) };
        // SAFETY: the caller passes NULL or a valid place.
        unsafe { write(count, "count", || running.process(out, timeout).map(|count| count as u32)) }
    })
}

/// Ends the wait of the thread that is in fp_provider_process, or of the next one that would wait.
#[unsafe(no_mangle)]
pub extern "C" fn fp_provider_wake(provider: fp_provider) -> i32 {
    guard(|| {
        running(provider)?.wake();
        Ok(())
    })
}

/// Hands what was submitted to the system now. Not needed by those who call fp_provider_process, which does it too.
#[unsafe(no_mangle)]
pub extern "C" fn fp_provider_flush(provider: fp_provider) -> i32 {
    guard(|| running(provider)?.flush())
}

/// Makes a socket known, with a number that comes back in the completions of its operations. The socket stays the
/// caller's: it may block or not, and is never closed.
///
/// A socket that is used without having been registered is registered by that, with the number 0. It is cheaper to do it
/// here, since otherwise each operation has to find out whether the number still names the same socket. Again for a socket
/// that is registered: its number changes.
///
/// A registered socket must be unregistered before it is closed.
#[unsafe(no_mangle)]
pub extern "C" fn fp_provider_register_socket(provider: fp_provider, socket: fp_socket, context: u64) -> i32 {
    guard(|| running(provider)?.visit(|engine| engine.register_socket(socket, context)))
}

/// Lets go of a socket. Its operations are cancelled, and their completions handed out by fp_provider_process; the system
/// uses none of their memory any more when the call returns. The socket stays open.
///
/// FP_SOCKET_NOT_REGISTERED if the provider does not know it.
#[unsafe(no_mangle)]
pub extern "C" fn fp_provider_unregister_socket(provider: fp_provider, socket: fp_socket) -> i32 {
    guard(|| running(provider)?.visit(|engine| engine.unregister_socket(socket)))
}

/// Makes a TCP socket that this backend can work with, for the family of `address` (a struct sockaddr of `address_bytes`
/// bytes). Registered I/O needs it, since it works with sockets of its own kind only; the others take any TCP socket. The
/// caller closes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_create_socket(
    provider: fp_provider,
    address: *const std::ffi::c_void,
    address_bytes: u32,
    socket: *mut fp_socket,
) -> i32 {
    guard(|| {
        let running = running(provider)?;
        // SAFETY: the caller passes NULL or as many bytes as said.
        let address = unsafe { socket::address(address.cast(), address_bytes) }?;
        // SAFETY: the caller passes NULL or a valid place.
        unsafe { write(socket, "socket", || running.visit(|engine| engine.create_socket(&address))) }
    })
}

/// Registers `bytes` bytes of memory from `start` on for fp_provider_send_registered and fp_provider_receive_registered,
/// and writes its number, which is never negative, to `buffer`. io_uring and Registered I/O know the memory from then on,
/// which makes operations cheaper; the others use it like any other. It must stay valid until it is unregistered or the
/// provider is shut down.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_register_buffer(
    provider: fp_provider,
    start: *const std::ffi::c_void,
    bytes: usize,
    buffer: *mut i32,
) -> i32 {
    guard(|| {
        let running = running(provider)?;
        // SAFETY: the caller passes NULL or a valid place.
        unsafe { write(buffer, "buffer", || running.register_buffer(start.cast(), bytes)) }
    })
}

/// Unregisters a buffer. FP_OPERATION_PENDING while an operation uses it; FP_INVALID_BUFFER if there is no such buffer.
#[unsafe(no_mangle)]
pub extern "C" fn fp_provider_unregister_buffer(provider: fp_provider, buffer: i32) -> i32 {
    guard(|| running(provider)?.unregister_buffer(buffer))
}

/// The provider, if it runs or did.
fn running(provider: fp_provider) -> Result<Arc<Running>> {
    with_running(provider, |running| Ok(Arc::clone(running)))
}

/// Does something short with a provider that runs or did.
fn with_running<R>(provider: fp_provider, body: impl FnOnce(&Arc<Running>) -> Result<R>) -> Result<R> {
    PROVIDERS.with(provider, |provider| match &*lock(provider.running.read()) {
        Some(running) => body(running),
        None => Err(not_initialized()),
    })
}

fn lock<G>(locked: Result<G, PoisonError<G>>) -> G {
    locked.unwrap_or_else(PoisonError::into_inner)
}
