//! Ctrl-C and its kin: the first one asks for an orderly end, the second one means it.

use crate::failure::{Failure, Result};

/// What a shell reports for a process that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Runs `end` at the first SIGINT, SIGTERM or SIGHUP (on Windows: Ctrl-C, Ctrl-Break, closed console), on a thread of its
/// own. The second one ends the process at once, whatever it is doing. To be called once in a process.
///
/// # Errors
/// If the system refuses the signal handlers.
pub(crate) fn on_first_request_to_end(end: impl FnOnce() + Send + 'static) -> Result<()> {
    let mut end = Some(end);
    ctrlc::set_handler(move || match end.take() {
        Some(end) => end(),
        None => std::process::exit(INTERRUPTED),
    })
    .map_err(|error| Failure::new(format!("cannot handle signals: {error}")))
}
