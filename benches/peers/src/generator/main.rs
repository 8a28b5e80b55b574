//! Load on a server of framed packets: sessions that each keep a number of requests under way, on one thread over io_uring.
//!
//! Each reply is checked: its size, its id, and the number that its request carried. It prints one line of JSON; see
//! `report.rs` for its fields.

mod arguments;
mod connect;
mod message;
mod process;
mod report;
mod ring;
mod session;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;
use crate::process::resident_kib;
use crate::report::Memory;
use crate::ring::Load;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("generator: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    arguments.check()?;
    let before = resident_kib(arguments.server_pid);
    let streams = connect::open(arguments)?;
    let memory = Memory { before_kib: before, connected_kib: resident_kib(arguments.server_pid) };
    let (_idle, active) = streams.split_at(arguments.idle);
    let measured = Load::new(arguments, active)?.run()?;
    let report = report::Report::new(arguments, &measured, memory);
    println!("{}", serde_json::to_string(&report).expect("plain fields"));
    Ok(())
}
