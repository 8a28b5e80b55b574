//! `fastport bench`: how fast is a server, on each backend?
//!
//! ```text
//! args ─▶ workload ─▶ load (control thread) ─▶ outcome ─▶ report
//!            │          │          ▲
//!         payload    roster ◀── generator (one for each I/O thread)
//! ```
//!
//! The load generator is a FastPort service like any other; its sessions connect in place of being accepted.

mod embedded;
mod generator;
mod load;
mod measure;
mod outcome;
mod payload;
mod progress;
mod report;
mod roster;
mod tally;
mod workload;

use std::net::SocketAddr;
use std::sync::Arc;

use fastport_io::{Backend, ProviderConfig};

use crate::args::{self, BenchArgs};
use crate::failure::{Failure, Result};
use crate::{backend, descriptors};
use embedded::EmbeddedServer;
use load::Run;
use outcome::Outcome;
use payload::PayloadPool;
use progress::Progress;
use report::Destinations;
use workload::Length;

pub(crate) use workload::{MAX_PAYLOAD_BYTES, Workload};

/// Runs the workloads on the backends and reports.
///
/// # Errors
/// If a run cannot be made, results cannot be written, or anything was lost; in the last case they are written first.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let capacity = capacity(descriptors::raise_limit(), args.addr.is_some());
    let workloads = Workload::from_args(&args.workload, capacity)?;
    let trial = args.rio.apply(load::provider_config(1))?;
    let backends = backends(&args.rio.or_names(&args.backend), &trial)?;
    args.rio.warn_unless_used(&backends);
    let server = args.addr.as_deref().map(args::resolve).transpose()?;
    for workload in &workloads {
        load::session_options(workload)?;
    }
    let destinations = Destinations::open(&args.report)?;

    let outcomes = Series { args, workloads: &workloads, backends: &backends, server }.run()?;
    destinations.write(&outcomes)?;
    judge(&outcomes)
}

/// How many sessions fit into this many descriptors. Of an embedded server's sessions both ends are in this process.
fn capacity(descriptors: u64, server_is_elsewhere: bool) -> u32 {
    /// Standard streams, files, and what each worker of a backend opens.
    const RESERVED: u64 = 100;
    let each = if server_is_elsewhere { 1 } else { 2 };
    u32::try_from(descriptors.saturating_sub(RESERVED) / each).unwrap_or(u32::MAX)
}

/// The backends to compare, each once, in the order of the command line. By default all that run here; Registered I/O
/// has to be asked for. Each that is named is tried with the set-up of `trial`.
fn backends(names: &[&str], trial: &ProviderConfig) -> Result<Vec<Backend>> {
    if names.is_empty() {
        let mut supported = fastport_io::supported();
        supported.retain(|&backend| backend != Backend::Rio);
        if supported.is_empty() {
            return Err(Failure::new("no backend runs here; 'fastport server' tells the reasons"));
        }
        return Ok(supported);
    }
    let mut chosen = Vec::new();
    for name in names {
        let backend = backend::choose(name, trial)?;
        if !chosen.contains(&backend) {
            chosen.push(backend);
        }
    }
    Ok(chosen)
}

/// All runs of one call.
struct Series<'a> {
    args: &'a BenchArgs,
    workloads: &'a [Workload],
    backends: &'a [Backend],
    /// The server to measure; embedded ones if `None`.
    server: Option<SocketAddr>,
}

impl Series<'_> {
    /// Runs every workload on every backend, as often as was asked for.
    ///
    /// Rounds follow one another and backends take turns within a workload, so that a machine that slows down does so for
    /// all of them; who comes first changes from round to round.
    fn run(&self) -> Result<Vec<Outcome>> {
        let rounds = self.args.repeat as usize;
        let progress = Progress::over(rounds * self.workloads.len() * self.backends.len());
        let payloads: Vec<Arc<PayloadPool>> = self
            .workloads
            .iter()
            .map(|workload| Arc::new(PayloadPool::generate(workload.payload_pool, workload.payload_bytes.clone())))
            .collect();
        let mut outcomes = Vec::new();
        for round in 0..rounds {
            for (workload, payloads) in self.workloads.iter().zip(&payloads) {
                for turn in 0..self.backends.len() {
                    let backend = self.backends[(turn + round) % self.backends.len()];
                    progress.begin(outcomes.len(), format!("{} on {backend}", workload.name));
                    outcomes.push(self.run_once(round, workload, Arc::clone(payloads), backend, &progress)?);
                }
            }
        }
        progress.finish();
        Ok(outcomes)
    }

    fn run_once(
        &self,
        round: usize,
        workload: &Workload,
        payloads: Arc<PayloadPool>,
        backend: Backend,
        progress: &Progress,
    ) -> Result<Outcome> {
        let run = Run {
            workload,
            payloads,
            backend,
            provider: self.args.rio.apply(load::provider_config(workload.sessions))?,
            length: Length::from_args(self.args),
            warmup: self.args.warmup.unwrap_or_else(|| workload.default_warmup()),
            io_threads: self.args.io_threads,
            patience: self.args.timeout,
            server_workers: if self.server.is_some() { 0 } else { self.args.workers },
            round: round as u32 + 1,
        };
        if let Some(server) = self.server {
            return run.against(server, progress);
        }
        let server = EmbeddedServer::start(&run)?;
        let outcome = run.against(server.address(), progress);
        server.stop();
        outcome
    }
}

/// A run that lost anything fails the call, for the sake of scripts.
fn judge(outcomes: &[Outcome]) -> Result<()> {
    let Some(first) = outcomes.iter().find(|outcome| !outcome.is_complete()) else { return Ok(()) };
    let requests: u64 = outcomes.iter().map(Outcome::lost_requests).sum();
    let sessions: u64 = outcomes.iter().map(Outcome::lost_sessions).sum();
    Err(Failure::new(format!(
        "lost {requests} requests and {sessions} sessions; first in '{}' on {}: {}",
        first.workload.name,
        first.backend,
        first.first_fault.as_deref().unwrap_or("requests without a response")
    )))
}
