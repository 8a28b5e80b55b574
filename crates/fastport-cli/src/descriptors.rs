//! The limit on open descriptors, which is the limit on sessions.

/// Raises this process's limit on open descriptors to what its user may have.
///
/// Systems start processes with a low soft limit (1024 on Linux) for the sake of programs that use `select`; this one does
/// not. The hard limit, which `ulimit -n` sets too, is never exceeded.
#[cfg(unix)]
pub(crate) fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(?current, ?maximum, "raised the limit on open descriptors"),
        Err(error) => tracing::warn!(?current, %error, "cannot raise the limit on open descriptors"),
    }
}

/// Windows has no such limit.
#[cfg(not(unix))]
pub(crate) fn raise_limit() {}
