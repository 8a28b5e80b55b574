//! The clock of completions.

use std::sync::LazyLock;
use std::time::Instant;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the clock was first asked.
pub(super) fn now_ns() -> u64 {
    BEGIN.elapsed().as_nanos() as u64
}
