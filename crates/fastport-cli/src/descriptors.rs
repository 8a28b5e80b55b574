//! The limit on open descriptors, which is the limit on sessions.

/// Raises this process's limit on open descriptors to what its user may have. Returns the limit.
///
/// Systems start processes with a low soft limit (1024 on Linux) for the sake of programs that use `select`; this one does
/// not. The hard limit, which `ulimit -n` sets too, is never exceeded.
#[cfg(unix)]
pub(crate) fn raise_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => tracing::debug!(?current, ?maximum, "raised the limit on open descriptors"),
            Err(error) => tracing::warn!(?current, %error, "cannot raise the limit on open descriptors"),
        }
    }
    // No value means no limit.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Windows has no such limit.
#[cfg(not(unix))]
pub(crate) fn raise_limit() -> u64 {
    u64::MAX
}
