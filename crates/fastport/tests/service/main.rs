//! Services over real sockets, each test on every backend of this system.

#[path = "../common/mod.rs"]
mod common;
mod probe;

mod backpressure;
mod closing;
mod connecting;
mod echo;
mod handles;
mod hostile;
mod limits;
mod panics;
mod pooled;
mod running;
mod stopping;
mod stress;
#[cfg(unix)]
mod turns;
