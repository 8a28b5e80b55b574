//! Facts, features, options and counts.

use std::ffi::{c_char, c_void};
use std::sync::LazyLock;

use fastport_io::{Backend, Choice, select};

use super::settings::{Settings, name, usual_features};
use super::{PROVIDERS, fp_provider, lock, running, text, write};
use crate::error::{guard, invalid};

/// The limits and features of a provider that runs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct fp_provider_info {
    /// The backend: "io_uring", "epoll", "kqueue", "IOCP" or "RIO". The text lives as long as the program.
    pub backend: *const c_char,
    /// Entries of the submission queue.
    pub queue_depth: u32,
    /// Entries of the completion queue.
    pub completion_depth: u32,
    /// The most operations in flight at once.
    pub max_operations: u32,
    /// Registered buffers are known to the system.
    pub buffer_registration: bool,
    /// Many operations reach the system by one call.
    pub batching: bool,
    /// Large sends are made without a copy.
    pub zero_copy_send: bool,
}

/// Counts of a provider since it was initialised.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct fp_provider_statistics {
    /// Operations that the system was given.
    pub requests: u64,
    /// Completions that were collected.
    pub completions: u64,
    /// Operations that were submitted and whose completion was not handed out yet.
    pub pending: u64,
    /// Completions with an error; cancellations do not count.
    pub errors: u64,
    /// Registered sockets.
    pub active_sockets: u64,
    /// Bytes that were sent.
    pub bytes_sent: u64,
    /// Bytes that were received.
    pub bytes_received: u64,
    /// Mean time from an operation's start to its completion, in nanoseconds.
    pub mean_latency_ns: u64,
    /// 99th percentile of the same, within 1/8 of its value.
    pub p99_latency_ns: u64,
    /// How often completions were collected.
    pub batches: u64,
    /// The most completions that were collected at once.
    pub max_batch: u64,
    /// The mean of completions that were collected at once.
    pub mean_batch: f64,
    /// Completions of operations that were over already; they were dropped.
    pub stale_completions: u64,
    /// How often a receive had to wait for a buffer of the provider's.
    pub buffer_waits: u64,
}

/// The backend of a provider: the one in use, or before it was initialised the one that was asked for ("auto" included).
/// NULL for a dead handle. The text lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn fp_provider_backend(provider: fp_provider) -> *const c_char {
    let mut backend = std::ptr::null();
    guard(|| {
        let provider = PROVIDERS.get(provider)?;
        let used = lock(provider.running.read()).as_ref().map(|running| running.info.backend);
        let asked = lock(provider.settings.lock()).choice;
        backend = match (used, asked) {
            (Some(backend), _) | (None, Choice::Only(backend)) => name(backend).as_ptr(),
            (None, Choice::Auto) => c"auto".as_ptr(),
        };
        Ok(())
    });
    backend
}

/// Tells what a provider is and can do. FP_NOT_INITIALIZED before it was initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_get_info(provider: fp_provider, info: *mut fp_provider_info) -> i32 {
    guard(|| {
        let running = running(provider)?;
        let known = &running.info;
        let info_of_c = fp_provider_info {
            backend: name(known.backend).as_ptr(),
            queue_depth: known.queue_depth,
            completion_depth: known.completion_depth,
            max_operations: known.max_operations,
            buffer_registration: known.supports("BufferRegistration"),
            batching: known.supports("Batching"),
            zero_copy_send: known.supports("ZeroCopySend"),
        };
        // SAFETY: the caller passes NULL or a valid place.
        unsafe { write(info, "info", || Ok(info_of_c)) }
    })
}

/// Whether the provider has a feature, by its name in any case: "BufferRegistration", "FixedFileSet", "Batching",
/// "ZeroCopySend", "MultishotAccept", "MultishotReceive", "BufferRing", "DeferredTaskWork". Before it was initialised,
/// whether its backend usually has it. False for unknown names and dead handles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_supports(provider: fp_provider, feature: *const c_char) -> bool {
    let mut supported = false;
    guard(|| {
        // SAFETY: the caller passes NULL or a text that ends with a zero.
        let Some(feature) = unsafe { text(feature) }? else { return Err(invalid("the feature is NULL")) };
        let provider = PROVIDERS.get(provider)?;
        let asked = lock(provider.settings.lock()).choice;
        supported = match (lock(provider.running.read()).as_ref(), asked) {
            (Some(running), _) => running.info.supports(feature),
            (None, Choice::Only(backend)) => {
                usual_features(backend).iter().any(|known| known.eq_ignore_ascii_case(feature))
            }
            (None, Choice::Auto) => false,
        };
        Ok(())
    });
    supported
}

/// Sets an option before the provider is initialised. `value` points to a uint32_t (`bytes` 4) or a bool (`bytes` 1):
///
/// - "RegisterBuffer": whether registered buffers are made known to the system (default 1).
/// - "RegisterFileSet": whether sockets are made known to the system (default 0).
/// - "ZeroCopySendBytes": sends of at least that many bytes are made without a copy where that is possible (default 0:
///   never).
/// - "BusyPollMicroseconds": look for completions that long before sleeping (default 0; 0xFFFFFFFF: never sleep).
/// - "DrainLimitMs": how long a shutdown waits for the system to let go of memory (default 2000).
///
/// FP_INVALID_ARGUMENT for an unknown name; FP_ALREADY_INITIALIZED while the provider runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_set_option(
    provider: fp_provider,
    option: *const c_char,
    value: *const c_void,
    bytes: u32,
) -> i32 {
    guard(|| {
        // SAFETY: the caller passes NULL or a text that ends with a zero.
        let Some(option) = unsafe { text(option) }? else { return Err(invalid("the option's name is NULL")) };
        let provider = PROVIDERS.get(provider)?;
        if value.is_null() {
            return Err(invalid("the option's value is NULL"));
        }
        // SAFETY: the caller passes as many bytes as said.
        let value = unsafe { std::slice::from_raw_parts(value.cast::<u8>(), bytes as usize) };
        let mut settings = lock(provider.settings.lock());
        let mut changed = settings.clone();
        changed.set(option, value)?;
        if lock(provider.running.read()).as_ref().is_some_and(|running| running.is_open()) {
            return Err(fastport_io::Error::new(
                fastport_io::ErrorCode::AlreadyInitialized,
                "options are set before the provider is initialised",
            ));
        }
        *settings = changed;
        Ok(())
    })
}

/// The counts of a provider. FP_NOT_INITIALIZED before it was initialised; after a shutdown, those of the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_get_statistics(
    provider: fp_provider,
    statistics: *mut fp_provider_statistics,
) -> i32 {
    guard(|| {
        let stats = running(provider)?.stats();
        let counts = fp_provider_statistics {
            requests: stats.requests,
            completions: stats.completions,
            pending: stats.pending,
            errors: stats.errors,
            active_sockets: stats.active_sockets,
            bytes_sent: stats.bytes_sent,
            bytes_received: stats.bytes_received,
            mean_latency_ns: stats.mean_latency.as_nanos() as u64,
            p99_latency_ns: stats.p99_latency.as_nanos() as u64,
            batches: stats.batches,
            max_batch: stats.max_batch,
            mean_batch: stats.mean_batch,
            stale_completions: stats.stale_completions,
            buffer_waits: stats.buffer_waits,
        };
        // SAFETY: the caller passes NULL or a valid place.
        unsafe { write(statistics, "statistics", || Ok(counts)) }
    })
}

/// Whether a backend works on this system, found by trying: 0, or the reason, which fp_last_error_message tells in words.
/// FP_INVALID_ARGUMENT for a name that does not exist.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_backend_supported(backend: *const c_char) -> i32 {
    guard(|| {
        // SAFETY: the caller passes NULL or a text that ends with a zero.
        let Some(backend) = unsafe { text(backend) }? else { return Err(invalid("the backend's name is NULL")) };
        probe(backend.parse()?)
    })
}

/// The backends that work on this system, best first: `count` gets their number. Array and names live as long as the
/// program.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_supported_backends(count: *mut usize) -> *const *const c_char {
    struct Names(Vec<*const c_char>);
    // SAFETY: the pointers are to constants.
    unsafe impl Send for Names {}
    // SAFETY: as above.
    unsafe impl Sync for Names {}
    static NAMES: LazyLock<Names> = LazyLock::new(|| {
        let works = |backend: &Backend| probe(*backend).is_ok();
        Names(fastport_io::COMPILED.iter().copied().filter(works).map(|backend| name(backend).as_ptr()).collect())
    });
    let mut names = std::ptr::null();
    guard(|| {
        // SAFETY: the caller passes NULL or a valid place.
        unsafe { write(count, "count", || Ok(NAMES.0.len())) }?;
        names = NAMES.0.as_ptr();
        Ok(())
    });
    names
}

/// Tries a backend with the settings that providers of C have.
fn probe(backend: Backend) -> fastport_io::Result<()> {
    let choice = Choice::Only(backend);
    let config = Settings::new(choice).config(64, 64)?;
    select(choice, &config).map(drop)
}
