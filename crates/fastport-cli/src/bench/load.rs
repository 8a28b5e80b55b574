//! One run: connect, warm up, measure, close.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastport::{ConnectOptions, SendError, Service, SessionOptions};
use fastport_io::{Backend, ProviderConfig};
use fastport_protocol::views::BenchmarkRequestView;
use fastport_protocol::{Encode, packet_id};

use super::generator::{Generator, payload_of};
use super::measure::Phase;
use super::outcome::Outcome;
use super::payload::PayloadPool;
use super::progress::Progress;
use super::roster::{Roster, Share, Stage};
use super::tally::StageTally;
use super::workload::{Length, Workload};
use crate::clock::Clock;
use crate::failure::{Failure, Result};

/// Connects under way at once: fewer than listeners keep for their program (128 on many systems).
const CONNECT_WINDOW: u32 = 100;

/// How often the load generator's threads report their progress.
const TICK: Duration = Duration::from_millis(50);

/// How long sessions may take to close at the end of a run.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What to run, and how.
#[derive(Clone, Debug)]
pub(super) struct Run<'a> {
    pub(super) workload: &'a Workload,
    pub(super) payloads: Arc<PayloadPool>,
    pub(super) backend: Backend,
    /// Set-up of the provider of each thread, an embedded server's included.
    pub(super) provider: ProviderConfig,
    pub(super) length: Length,
    /// Requests of each session before the measurement.
    pub(super) warmup: u32,
    pub(super) io_threads: u16,
    /// The run is given up when nothing happens for this long.
    pub(super) patience: Duration,
    /// Workers of the embedded server; 0 if the server is another process.
    pub(super) server_workers: u16,
    /// Counted from 1.
    pub(super) round: u32,
}

/// Session limits that never stand in the way of a closed loop: all requests of a session may be queued at once.
///
/// # Errors
/// If they would be more than a session can queue.
pub(super) fn session_options(workload: &Workload) -> Result<SessionOptions> {
    /// What an encoded message takes beside its payload, header included.
    const OVERHEAD_BYTES: u64 = 64;
    const MAX_QUEUED_BYTES: u64 = 1 << 30;

    let queued_bytes = u64::from(workload.depth) * (u64::from(*workload.payload_bytes.end()) + OVERHEAD_BYTES);
    if queued_bytes > MAX_QUEUED_BYTES {
        return Err(Failure::usage(format!(
            "{} requests of up to {} bytes under way in a session are over the limit of {MAX_QUEUED_BYTES} bytes; \
             lower --depth or the payload",
            workload.depth,
            workload.payload_bytes.end()
        )));
    }
    let defaults = SessionOptions::default();
    let limit_bytes = defaults.limit_bytes.max(queued_bytes as usize);
    Ok(SessionOptions { limit_bytes, high_water_bytes: limit_bytes, ..defaults })
}

/// A provider that has room for this many sessions.
pub(super) fn provider_config(sessions: u32) -> ProviderConfig {
    /// A receive stream, a send or connect, a close; and some for listeners and timers.
    const OPERATIONS_PER_SESSION: u32 = 4;
    let defaults = ProviderConfig::default();
    let max_operations = defaults.max_operations.max(sessions.saturating_mul(OPERATIONS_PER_SESSION));
    ProviderConfig { max_operations: max_operations.min(ProviderConfig::MAX_OPERATIONS), ..defaults }
}

impl Run<'_> {
    /// Runs the workload against `server`.
    ///
    /// Lost sessions and requests are part of the outcome.
    ///
    /// # Errors
    /// If the load generator cannot start, or no session could be connected.
    pub(super) fn against(&self, server: SocketAddr, progress: &Progress) -> Result<Outcome> {
        let roster = Arc::new(Roster::new());
        let service = self.start(&roster)?;
        let control = Control { run: self, roster: &roster, progress, clock: Clock::of_this_process() };

        let connecting = Instant::now();
        let connected_sessions = control.connect(&service, server);
        let connect_elapsed = connecting.elapsed();

        let warmup = (self.warmup > 0 && connected_sessions > 0)
            .then(|| control.stage(Stage::WarmUp, 0, Length::Requests(self.warmup)));
        let measured = match &warmup {
            Some(warmup) if !warmup.finished => None,
            _ if connected_sessions == 0 => None,
            _ => Some(control.stage(Stage::Measured, self.warmup, self.length)),
        };
        roster.begin(Stage::Ending, Share::Requests(0));
        service.stop(CLOSE_LIMIT);

        let summary = roster.summary();
        if connected_sessions == 0 {
            let reason = summary.first_fault.unwrap_or_else(|| format!("no answer from {server}"));
            return Err(Failure::new(format!("{reason}; start one with 'fastport server', or leave --addr out")));
        }
        Ok(Outcome {
            workload: self.workload.clone(),
            length: self.length,
            warmup_length: self.warmup,
            backend: self.backend,
            server_workers: self.server_workers,
            io_threads: self.io_threads,
            patience: self.patience,
            round: self.round,
            mean_payload_bytes: self.payloads.mean_bytes(),
            connected_sessions,
            connection_losses: summary.losses,
            connect_elapsed,
            warmup: warmup.map(|stage| stage.phase(&summary.tally.warmup)).unwrap_or_default(),
            measured: measured.map(|stage| stage.phase(&summary.tally.measured)).unwrap_or_default(),
            latencies: summary.tally.latencies,
            response_bytes: summary.tally.response_bytes,
            first_fault: summary.first_fault,
        })
    }

    fn start(&self, roster: &Arc<Roster>) -> Result<Service> {
        let (roster, payloads, depth) = (Arc::clone(roster), Arc::clone(&self.payloads), self.workload.depth);
        Service::builder(move |_worker| Generator::new(Arc::clone(&roster), Arc::clone(&payloads), depth))
            .backend(fastport_io::Choice::Only(self.backend))
            .workers(usize::from(self.io_threads))
            .session_options(session_options(self.workload)?)
            .provider(self.provider.clone())
            .max_sessions(self.workload.sessions as usize)
            .tick(TICK)
            .start()
            .map_err(|error| Failure::new(format!("cannot start the load generator: {error}")))
    }
}

/// The thread that leads the run through its stages.
struct Control<'a> {
    run: &'a Run<'a>,
    roster: &'a Roster,
    progress: &'a Progress,
    clock: Clock,
}

/// A stage that was led to its end, or given up.
struct StageRecord {
    sparks: u64,
    start_ns: u64,
    finished: bool,
}

impl StageRecord {
    fn phase(&self, tally: &StageTally) -> Phase {
        let elapsed_ns = tally.last_response_ns.saturating_sub(self.start_ns);
        Phase {
            requests: self.sparks + tally.requests,
            responses: tally.responses,
            elapsed: Duration::from_nanos(elapsed_ns),
        }
    }
}

impl Control<'_> {
    /// Connects all sessions, or as many as come before patience runs out. Returns how many there are.
    fn connect(&self, service: &Service, server: SocketAddr) -> u32 {
        let sessions = self.run.workload.sessions;
        let options = ConnectOptions { time_limit: self.run.patience, ..ConnectOptions::default() };
        let handle = service.handle();
        let mut asked = 0;
        while asked < sessions {
            let window = (sessions - asked).min(CONNECT_WINDOW);
            for token in asked..asked + window {
                if let Err(error) = handle.connect(server, u64::from(token), options.clone()) {
                    self.roster.connect_failed(format!("cannot connect to {server}: {error}"));
                }
            }
            asked += window;
            // Attempts have a time limit of their own, so all of them settle; the margin is for a busy machine.
            let connects = self.roster.wait_for_connects(asked, self.run.patience * 2);
            if connects.settled() < asked || connects.connected == 0 {
                break;
            }
        }
        self.roster.connects().connected
    }

    /// Runs one stage on all live sessions, whose next sequence number is `sequence`.
    fn stage(&self, stage: Stage, sequence: u32, length: Length) -> StageRecord {
        let sessions = self.roster.sessions();
        let start_ns = self.clock.now_ns();
        let share = match length {
            Length::Requests(requests) => Share::Requests(requests),
            Length::Time(time) => Share::UntilNs(start_ns + time.as_nanos() as u64),
        };
        self.roster.begin(stage, share);
        let mut sparks = 0;
        for (token, session) in &sessions {
            let request = BenchmarkRequestView {
                header: None,
                client_timestamp_ns: self.clock.now_ns(),
                sequence,
                payload: payload_of(&self.run.payloads, *token, sequence),
            };
            sparks += u64::from(self.send_spark(session, &request.to_wire()));
        }
        StageRecord { sparks, start_ns, finished: self.wait(stage, length, start_ns) }
    }

    /// True if the request was queued; a session that has ended signs off by itself.
    fn send_spark(&self, session: &fastport::SessionHandle, encoded: &[u8]) -> bool {
        let deadline = Instant::now() + self.run.patience;
        loop {
            match session.send(packet_id::BENCHMARK_REQUEST, encoded) {
                Ok(()) => return true,
                // The worker's mailbox is full: it has to work first.
                Err(SendError::Full) if Instant::now() < deadline => std::thread::yield_now(),
                Err(_) => return false,
            }
        }
    }

    /// Waits for the end of a stage, for as long as responses keep coming.
    fn wait(&self, stage: Stage, length: Length, start_ns: u64) -> bool {
        let mut last_progress = (self.roster.responses(), Instant::now());
        loop {
            if self.roster.wait_for_stage(TICK) {
                return true;
            }
            let responses = self.roster.responses();
            if stage == Stage::Measured {
                self.progress.show(self.share_done(length, start_ns, responses));
            }
            if responses != last_progress.0 {
                last_progress = (responses, Instant::now());
            } else if last_progress.1.elapsed() > self.run.patience {
                self.roster.fault(format!("no response for {:?}", self.run.patience));
                return false;
            }
        }
    }

    /// How much of the measurement is done, 0 ..= 1.
    fn share_done(&self, length: Length, start_ns: u64, responses: u64) -> f64 {
        let sessions = f64::from(self.run.workload.sessions);
        let share = match length {
            Length::Time(time) => (self.clock.now_ns() - start_ns) as f64 / time.as_nanos() as f64,
            Length::Requests(requests) => {
                let warmup = f64::from(self.run.warmup) * sessions;
                (responses as f64 - warmup) / (f64::from(requests) * sessions)
            }
        };
        share.clamp(0.0, 1.0)
    }
}
