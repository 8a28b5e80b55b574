//! Echoes every frame whatever its id; the server of the comparisons in `docs/performance.md`.
//!
//! ```text
//! frame_echo --addr IP:PORT [--backend NAME] [--workers N] [--in-place] [--busy-poll]
//!            [--spin MICROSECONDS] [--batch-scheduling] [--batch N] [--pool N]
//! ```
//! `--in-place` sends the received buffer back without a copy; `--busy-poll` never sleeps, and `--spin` only after having
//! looked for that long in vain; `--batch-scheduling` lets workers wait for their turn on a shared core; `--batch N` handles up to N completions between two flushes; `--pool N` runs the handler
//! on N threads of its own.

use std::process::ExitCode;
use std::time::Duration;

use fastport::{Context, Handler, HandlerThreads, PacketView, Service, ServiceOptions};
use fastport_io::{BusyPoll, Scheduling};

const USAGE: &str = "usage: frame_echo --addr IP:PORT [--backend NAME] [--workers N] [--in-place] [--busy-poll] \
                     [--spin MICROSECONDS] [--batch-scheduling] [--batch N] [--pool N]";

/// Builds a reply from each packet, or forwards the packet itself.
struct Echo {
    in_place: bool,
}

impl Handler for Echo {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        // A client that does not read its replies is closed by the service.
        let _ = if self.in_place { session.forward(packet) } else { session.send(packet.id, packet.payload) };
    }
}

struct Arguments {
    options: ServiceOptions,
    in_place: bool,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments =
        Arguments { options: ServiceOptions { workers: 1, ..ServiceOptions::default() }, in_place: false };
    let options = &mut arguments.options;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--addr" => options.listen.push(parsed(&value()?)?),
            "--backend" => options.backend = parsed(&value()?)?,
            "--workers" => options.workers = parsed(&value()?)?,
            "--pool" => options.handlers = HandlerThreads::Pool(parsed(&value()?)?),
            "--batch" => options.batch = Some(parsed(&value()?)?),
            "--in-place" => arguments.in_place = true,
            "--batch-scheduling" => options.scheduling = Scheduling::Batch,
            "--busy-poll" => options.provider.busy_poll = BusyPoll::Always,
            "--spin" => {
                options.provider.busy_poll = BusyPoll::Spin(Duration::from_micros(parsed(&value()?)?));
            }
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    if options.listen.is_empty() {
        return Err("--addr is missing".to_owned());
    }
    Ok(arguments)
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(fault) => {
            eprintln!("frame_echo: {fault}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let in_place = arguments.in_place;
    let echo = Service::builder(move |_worker| Echo { in_place }).options(arguments.options);
    let ran = echo.run(|service| println!("{} listens on {:?}", service.selection(), service.local_addresses()));
    match ran.map(|report| report.failure) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("frame_echo: {error}");
    ExitCode::FAILURE
}
