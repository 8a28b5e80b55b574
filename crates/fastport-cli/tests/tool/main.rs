//! The `fastport` tool as its users see it: the real program, its output and its exit codes.

mod bench;
mod client;
mod doctor;
mod emulator;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(unix)]
mod limits;
// Servers are ended by signals here, and in `server`.
#[cfg(unix)]
mod logging;
mod process;
#[cfg(unix)]
mod server;
mod system;
#[cfg(windows)]
mod windows;
mod wire;
