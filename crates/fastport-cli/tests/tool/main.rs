//! The `fastport` tool as its users see it: the real program, its output and its exit codes.
#![cfg(unix)]

mod bench;
mod client;
mod doctor;
mod process;
mod server;
mod wire;
