//! Simulation tests of FastPort: a service and hundreds of clients, polite and hostile, on a network with faults, in one
//! thread and in virtual time. Everything follows from a seed.
//!
//! ```text
//! cargo run --release -p fastport-sim -- --seeds 10000      seeds 0 to 9999
//! cargo run --release -p fastport-sim -- --seed 4711        that one again, told in full
//! ```
//!
//! The idea: a [`scenario`] is drawn from the seed; a [`client`] is a state machine that knows exactly what it has to get;
//! the [`handler`] notes all that the server sees; after every turn and at the end the [`run`] checks what must hold:
//! nothing is lost, doubled, swapped or altered; `closed` comes once and last; nobody waits for ever; memory stays in its
//! limits; and in the end every pool is empty, every operation has completed and every id is dead.
//!
//! A run is repeated exactly by its seed. To be sure of that, some seeds are run twice and compared.

mod client;
mod crowd;
mod handler;
mod ledger;
mod logs;
mod payload;
mod run;
mod scenario;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use fastport_io::sim::{Fault, FaultCounts};

use crate::run::Report;
use crate::scenario::Scenario;

/// Runs seeds until one fails.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Goes on after a seed that fails.
    #[arg(long)]
    keep_going: bool,
}

/// One seed in so many is run twice.
const REPEATED: u64 = 64;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The only subscriber of the process.
    let _ = tracing::subscriber::set_global_default(logs::ErrorCatcher);
    silence_planned_panics();
    let begin = Instant::now();
    let mut total = Total::default();
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
        let scenario = Scenario::draw(seed);
        if arguments.seeds == 1 {
            print!("{scenario}");
        }
        match try_seed(&scenario) {
            Ok(report) => total.add(&report),
            Err(faults) => {
                total.failed += 1;
                tell_failure(&scenario, &faults);
                if !arguments.keep_going {
                    break;
                }
            }
        }
    }
    total.tell(begin.elapsed());
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn try_seed(scenario: &Scenario) -> Result<Report, Vec<String>> {
    let report = run_caught(scenario)?;
    if scenario.seed.is_multiple_of(REPEATED) {
        let again = run_caught(scenario)?;
        if again.network != report.network {
            let (first, second) = (report.network, again.network);
            return Err(vec![format!("the same seed gave two different runs:\n  {first:?}\n  {second:?}")]);
        }
    }
    Ok(report)
}

/// Runs a scenario; a panic is a fault like any other.
fn run_caught(scenario: &Scenario) -> Result<Report, Vec<String>> {
    let run = AssertUnwindSafe(|| run::run(scenario));
    std::panic::catch_unwind(run).unwrap_or_else(|_| Err(vec!["a panic, told above".to_owned()]))
}

fn tell_failure(scenario: &Scenario, faults: &[String]) {
    println!("\nFAILED {scenario}");
    for fault in faults.iter().take(10) {
        println!("  - {fault}");
    }
    if faults.len() > 10 {
        println!("  and {} more", faults.len() - 10);
    }
    println!("\n  cargo run --release -p fastport-sim -- --seed {}\n", scenario.seed);
}

/// Panics that the scenario plans are not told.
fn silence_planned_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let planned = panic.payload().downcast_ref::<&str>().is_some_and(|text| *text == handler::PLANNED_PANIC);
        if !planned {
            usual(panic);
        }
    }));
}

/// All runs together.
#[derive(Default)]
struct Total {
    runs: u64,
    failed: u64,
    sessions: u64,
    connections: u64,
    packets: u64,
    bytes: u64,
    events: u64,
    calls: u64,
    simulated: Duration,
    faults: FaultCounts,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.sessions += report.sessions;
        self.connections += report.network.connections;
        self.packets += report.packets;
        self.bytes += report.network.bytes;
        self.events += report.network.events;
        self.calls += report.network.calls;
        self.simulated += report.time;
        self.faults.add(&report.network.faults);
    }

    fn tell(&self, elapsed: Duration) {
        let per_second = self.runs as f64 / elapsed.as_secs_f64();
        println!(
            "{} seeds in {:.1} s ({per_second:.0} a second), {} failed",
            self.runs,
            elapsed.as_secs_f64(),
            self.failed
        );
        println!(
            "  {} connections, {} sessions, {} packets, {} MiB, {} events, {} calls, {:.0} s simulated",
            self.connections,
            self.sessions,
            self.packets,
            self.bytes >> 20,
            self.events,
            self.calls,
            self.simulated.as_secs_f64()
        );
        let faults: Vec<String> =
            Fault::ALL.into_iter().map(|fault| format!("{fault:?} {}", self.faults[fault])).collect();
        println!("  {} faults: {}", self.faults.total(), faults.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_seeds_find_nothing_and_repeat_exactly() {
        let _ = tracing::subscriber::set_global_default(logs::ErrorCatcher);
        silence_planned_panics();
        for seed in 0..=REPEATED {
            if let Err(faults) = try_seed(&Scenario::draw(seed)) {
                panic!("seed {seed}: {faults:#?}");
            }
        }
    }
}
