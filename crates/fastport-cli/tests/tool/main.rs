//! The `fastport` tool as its users see it: the real program, its output and its exit codes.

mod bench;
mod client;
mod doctor;
mod emulator;
mod logging;
mod process;
// These end their servers by signals.
#[cfg(unix)]
mod server;
mod system;
#[cfg(windows)]
mod windows;
mod wire;
