//! The thread that moves requests on, as the system would.
//!
//! All overlapped calls are its own: what a thread has begun is cancelled when the thread ends, and this one does not.

use std::sync::{LazyLock, Once};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Threading::{CreateEventW, INFINITE, SetEvent, WaitForMultipleObjects};

use crate::kernel;

/// How long the engine may sleep, unless it is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// Something is held for a few turns.
    Short,
    /// Until an overlapped call is done.
    UntilDone,
    UntilCalled,
}

/// What the engine sleeps on: calls of the table, and overlapped calls that are done.
struct Events {
    called: HANDLE,
    done: HANDLE,
}

// SAFETY: event handles may be used from any thread.
unsafe impl Send for Events {}
// SAFETY: as above.
unsafe impl Sync for Events {}

static EVENTS: LazyLock<Events> = LazyLock::new(|| Events { called: new_event(), done: new_event() });

/// Starts the thread, once.
pub(crate) fn run() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        std::thread::spawn(|| {
            loop {
                let sleep = kernel::lock().turn(EVENTS.done);
                wait(sleep);
            }
        });
    });
}

/// Tells the thread that there is something to do.
pub(crate) fn wake() {
    // SAFETY: the event is never closed.
    unsafe { SetEvent(EVENTS.called) };
}

fn wait(sleep: Sleep) {
    let limit_ms = match sleep {
        Sleep::Short => 1,
        // All calls signal one event, which the start of the next call resets; a signal that is lost so is only late.
        Sleep::UntilDone => 5,
        Sleep::UntilCalled => INFINITE,
    };
    let handles = [EVENTS.called, EVENTS.done];
    // SAFETY: two handles of events that are never closed.
    unsafe { WaitForMultipleObjects(2, handles.as_ptr(), 0, limit_ms) };
}

/// An event that resets itself.
fn new_event() -> HANDLE {
    // SAFETY: no name, no attributes.
    let event = unsafe { CreateEventW(std::ptr::null(), 0, 0, std::ptr::null()) };
    assert!(!event.is_null(), "the system has no event for the emulator");
    event
}
