//! The `fastport` tool: a server, a client and a benchmark over FastPort sessions, and a doctor for the system.
//!
//! Exit codes: 0 for success, 1 if the work could not be done or something was lost, 2 for a wrong command line.

mod answers;
mod args;
mod backend;
mod bench;
mod client;
mod clock;
mod descriptors;
mod doctor;
mod failure;
mod logging;
mod server;
mod signals;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Command, CommandLine};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    #[cfg(all(windows, feature = "rio-emulator"))]
    if line.rio_emulator {
        // SAFETY: the emulator keeps to the interface.
        unsafe { fastport_io::use_rio_table(fastport_rio_emulator::query) };
    }
    let CommandLine { log, command, .. } = line;
    let done = match command {
        Command::Server(args) => logging::start(log.as_deref(), "info").and_then(|logging| server::run(&args, logging)),
        Command::Client(args) => logging::start(log.as_deref(), "warn").and_then(|_| client::run(&args)),
        Command::Doctor(args) => logging::start(log.as_deref(), "warn").and_then(|_| doctor::run(&args)),
        Command::Bench(args) => logging::start(log.as_deref(), "warn").and_then(|_| bench::run(&args)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Not by a macro: it would panic where standard error cannot be written.
            let _ = writeln!(io::stderr(), "fastport: {failure}");
            failure.exit_code()
        }
    }
}
