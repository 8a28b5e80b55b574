//! One run: a service, its clients, and a director who gives the turns, stops the service, and looks after everything.

use std::time::Duration;

use fastport::{CloseReason, Handle, Overflow, SendError, Service, SessionId, SimService};
use fastport_io::sim::{Fault, Random, SimNetwork, SimStats};

use crate::client::{End, Outcome};
use crate::crowd::Crowd;
use crate::handler::{Examiner, PLANNED_PANIC};
use crate::ledger::{Books, Ledger, Record};
use crate::logs;
use crate::scenario::{Ending, ReplyBy, Scenario};

/// Turns after which a run counts as one that does not end. The longest takes a tenth of this.
const MOST_TURNS: u64 = 2_000_000;

/// A client that waits for longer than this, while its connection lives, was forgotten. Far above what the slowest network
/// needs for the largest window.
const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// How often somebody looks for a session to meddle with while there is none.
const IDLE_MEDDLING: Duration = Duration::from_millis(10);

const CUE_STOP: u32 = 0;
const CUE_MEDDLE: u32 = 1;

/// What a run that found nothing was worth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) network: SimStats,
    pub(crate) sessions: u64,
    pub(crate) packets: u64,
    pub(crate) time: Duration,
}

/// Runs a scenario. The error lists what went wrong.
pub(crate) fn run(scenario: &Scenario) -> Result<Report, Vec<String>> {
    let network = SimNetwork::new(scenario.network_seed, scenario.plan.clone());
    network.schedule();
    let mut stage = Stage::set(scenario, &network).map_err(|error| vec![error])?;
    stage.play()?;
    stage.clear()
}

struct Stage<'a> {
    scenario: &'a Scenario,
    network: SimNetwork,
    ledger: Ledger,
    service: SimService,
    handle: Handle,
    crowd: Crowd,
    random: Random,
    stopped_at: Option<Duration>,
    turns: u64,
}

impl<'a> Stage<'a> {
    fn set(scenario: &'a Scenario, network: &SimNetwork) -> Result<Self, String> {
        let ledger = Ledger::new(scenario);
        let (books, seed, panics) = (ledger.clone(), scenario.network_seed, scenario.panic_once_in);
        // A fault may hit the set-up, which then fails with a reason, and is tried again.
        let mut tries = 0;
        let service = loop {
            let books = books.clone();
            let builder = Service::builder(move |worker| Examiner::new(books.clone(), seed ^ worker as u64, panics));
            let address = ([127, 0, 0, 1], 6628 + tries).into();
            match builder.options(scenario.options.clone()).listen(address).simulate(network) {
                Ok(service) => break service,
                Err(error) if tries == 100 => return Err(format!("the service does not start: {error}")),
                Err(_) => tries += 1,
            }
        };
        let handle = service.handle();
        let server = service.local_addresses()[0];
        let mut crowd = Crowd::gather(scenario, network, &ledger, server).map_err(|error| error.to_string())?;
        if let Some(delay) = scenario.stop_at {
            crowd.set_cue(delay, CUE_STOP);
        }
        if let Some(delay) = scenario.meddling {
            crowd.set_cue(delay, CUE_MEDDLE);
        }
        let random = Random::new(scenario.network_seed ^ 0xD1EC);
        let network = network.clone();
        Ok(Self { scenario, network, ledger, service, handle, crowd, random, stopped_at: None, turns: 0 })
    }

    // Playing

    fn play(&mut self) -> Result<(), Vec<String>> {
        while !self.crowd.is_done() || self.service.is_running() {
            self.turns += 1;
            if self.turns > MOST_TURNS {
                return Err(self.describe(&format!("no end after {MOST_TURNS} turns")));
            }
            match self.network.next_runnable() {
                Some(provider) if self.service.owns(provider) => self.service.turn(provider),
                Some(_) => {
                    for cue in self.crowd.turn() {
                        self.follow(cue);
                    }
                    if self.stopped_at.is_none() && self.scenario.stop_at.is_none() && self.crowd.awaits_end() {
                        self.stop();
                    }
                }
                None if self.network.advance() => {}
                None => return Err(self.describe("nothing will ever happen again")),
            }
            self.check()?;
        }
        Ok(())
    }

    fn describe(&self, fault: &str) -> Vec<String> {
        let mut lines = vec![format!("{fault}; {} sessions, {:?}", self.handle.sessions(), self.network)];
        lines.extend(self.service.pools().iter().map(|pool| format!("{pool:?}")));
        let books = self.ledger.open();
        lines.extend(books.open.iter().map(|session| format!("{session}: {:?}", books.sessions.get(session))));
        lines.extend(self.crowd.describe());
        lines
    }

    fn follow(&mut self, cue: u32) {
        match cue {
            CUE_STOP => self.stop(),
            _ => self.meddle(),
        }
    }

    fn stop(&mut self) {
        self.stopped_at.get_or_insert(self.network.elapsed());
        self.handle.stop(self.scenario.drain_limit);
    }

    /// Ends a session from outside, and asks something of one that is gone.
    fn meddle(&mut self) {
        let mut books = self.ledger.open();
        if let Some(session) = pick(&mut self.random, books.open.iter()) {
            books.cut(session);
            let _ = if self.random.chance(0.5) { self.handle.close(session) } else { self.handle.abort(session) };
        }
        if let Some(session) = pick(&mut self.random, books.sessions.keys())
            && books.sessions[&session].closed.is_some()
        {
            let sent = self.handle.send(session, 1, b"to the dead");
            if sent != Err(SendError::Closed) || self.handle.abort(session) {
                books.violation(format!("{session} is closed, but a handle could send to it or end it: {sent:?}"));
            }
        }
        drop(books);
        if let Some(period) = self.scenario.meddling
            && self.stopped_at.is_none()
        {
            // While there is nobody to meddle with, as when all wait for an answer to a connect, it need not be so often.
            let is_idle = self.ledger.open().open.is_empty();
            self.crowd.set_cue(if is_idle { period.max(IDLE_MEDDLING) } else { period }, CUE_MEDDLE);
        }
    }

    /// What must hold after every turn.
    fn check(&mut self) -> Result<(), Vec<String>> {
        let mut faults = std::mem::take(&mut self.ledger.open().violations);
        for pool in self.service.pools() {
            let stats = pool.stats();
            if stats.allocated > stats.slots || stats.slots > stats.max_slots {
                faults.push(format!("a pool has lost count of its slots: {stats:?}"));
            }
        }
        if self.handle.sessions() > self.scenario.options.max_sessions {
            faults.push(format!("{} sessions are above the limit", self.handle.sessions()));
        }
        // Looking at each client is not for every turn.
        if self.turns.is_multiple_of(4096)
            && let Some((client, since)) = self.crowd.longest_wait()
            && self.network.elapsed() > since + LONGEST_WAIT
        {
            faults.push(format!("client {client} is kept waiting since {since:?}; it is {:?}", self.network.elapsed()));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    // Clearing

    /// Ends everything and checks that nothing is left.
    fn clear(self) -> Result<Report, Vec<String>> {
        let mut faults = Vec::new();
        let pools = self.service.pools().to_vec();
        let stats = self.service.stats();
        let report = self.service.finish();
        // Four failed waits in a row end a service, in good order.
        let may_fail = self.scenario.plan.chance(Fault::FailedWait) > 0.0;
        let has_failed = report.failure.is_some();
        if let Some(failure) = report.failure.filter(|_| !may_fail) {
            faults.push(format!("the service failed: {failure}"));
        }
        for pool in pools {
            if pool.stats().allocated > 0 {
                faults.push(format!("a pool of the service is not empty: {:?}", pool.stats()));
            }
        }
        if self.handle.sessions() > 0 || report.stats.sessions > 0 {
            faults.push(format!("{} sessions are left, {}", self.handle.sessions(), report.stats.sessions));
        }
        for outcome in &self.crowd.outcomes {
            let (scenario, stopped_at) = (self.scenario, self.stopped_at);
            let excuses = Excuses { scenario, stopped_at, has_failed, refused: stats.refused };
            excuses.judge(&self.ledger.open(), outcome, &mut faults);
        }
        let expected: usize = self.scenario.clients.iter().map(|client| client.rounds as usize).sum();
        if self.crowd.outcomes.len() != expected {
            faults.push(format!("{} of {expected} visits have ended", self.crowd.outcomes.len()));
        }
        faults.extend(self.crowd.leave());
        let books = self.ledger.open();
        for (session, record) in &books.sessions {
            if record.closed.is_none() {
                faults.push(format!("{session} of {:?} was never closed", record.visit));
            }
            if self.handle.is_open(*session) {
                faults.push(format!("{session} is still alive for handles"));
            }
        }
        // What is still on its way arrives.
        while self.network.advance() {}
        let network = self.network.stats();
        if network.sockets > 0 || network.open_connections > 0 {
            faults.push(format!("{} sockets and {} connections are left", network.sockets, network.open_connections));
        }
        let planned = |error: &String| error.contains(PLANNED_PANIC) || error.contains("the handler panicked");
        faults.extend(logs::take_errors().into_iter().filter(|error| !planned(error) && !has_failed));
        if !faults.is_empty() {
            return Err(faults);
        }
        let sessions = books.sessions.len() as u64;
        Ok(Report { network, sessions, packets: books.packets, time: self.network.elapsed() })
    }
}

/// Any of the sessions.
fn pick<'a>(random: &mut Random, mut sessions: impl ExactSizeIterator<Item = &'a SessionId>) -> Option<SessionId> {
    let count = sessions.len() as u64;
    if count == 0 { None } else { sessions.nth(random.below(count) as usize).copied() }
}

/// What may keep a client from getting all replies.
struct Excuses<'a> {
    scenario: &'a Scenario,
    /// When the service was asked to stop.
    stopped_at: Option<Duration>,
    /// The service ended because its provider failed, as planned.
    has_failed: bool,
    /// Clients that the service turned away.
    refused: u64,
}

impl Excuses<'_> {
    /// Checks the end of a visit: all was answered, or something happened that explains why not.
    fn judge(&self, books: &Books, outcome: &Outcome, faults: &mut Vec<String>) {
        let client = &self.scenario.clients[outcome.visit.client as usize];
        let session = books.session_of(outcome.visit);
        if client.manner.is_lawful() && !outcome.is_complete && !self.explain(outcome, session) {
            faults.push(format!("{outcome:?} has no reason; {session:?}"));
        }
        let Some(session) = session.filter(|_| client.manner.is_lawful()) else { return };
        if outcome.answered > session.replies {
            faults.push(format!("{outcome:?} has more replies than were sent: {session:?}"));
        }
        // These drop what is queued, and end the stream wherever it is. What goes through the mailbox may come too late.
        let is_cut_short = session.closed.is_some_and(|reason| {
            matches!(reason, CloseReason::Idle | CloseReason::Protocol) || self.was_beyond_limit(reason)
        });
        let may_be_late = client.reply_by == ReplyBy::Handle;
        let misses = outcome.answered < session.replies && !may_be_late || outcome.left > 0;
        if outcome.end == End::StreamEnded && !is_cut_short && misses {
            faults.push(format!("{outcome:?}: the stream has ended, but not all of it came; {session:?}"));
        }
    }

    fn explain(&self, outcome: &Outcome, session: Option<&Record>) -> bool {
        if self.has_failed || !self.scenario.network_is_safe() {
            return true;
        }
        let Some(session) = session else {
            // Never accepted: refused, or too late.
            let was_too_late = self.scenario.stop_at.is_some() || self.stopped_at.is_some_and(|at| outcome.begun >= at);
            return self.refused > 0 || matches!(outcome.end, End::NotConnected(_)) || was_too_late;
        };
        if session.is_cut {
            return true;
        }
        match session.closed {
            Some(CloseReason::Shutdown | CloseReason::HandlerPanic | CloseReason::Backpressure) => true,
            Some(CloseReason::Idle) => self.scenario.options.session.idle_limit.is_some(),
            // A half-closed stream has until the close limit to be answered, and what was refused before is not taken now.
            Some(CloseReason::PeerClosed) => {
                let client = &self.scenario.clients[outcome.visit.client as usize];
                let was_refused = self.scenario.options.session.overflow == Overflow::Refuse;
                client.ending == Ending::HalfClose && (was_refused || matches!(outcome.end, End::Broken(_)))
            }
            Some(reason) => self.was_beyond_limit(reason),
            None => false,
        }
    }

    /// The session was closed by a limit that is set.
    fn was_beyond_limit(&self, reason: CloseReason) -> bool {
        let limits = &self.scenario.options.limits;
        match reason {
            CloseReason::PacketRate => limits.packets_per_second.is_some(),
            CloseReason::ByteRate => limits.bytes_per_second.is_some(),
            CloseReason::NoFirstPacket => limits.first_packet.is_some(),
            CloseReason::SlowPacket => limits.unfinished_packet.is_some(),
            CloseReason::SlowReader => limits.unread.is_some(),
            CloseReason::QueueMemory => limits.queued_bytes.is_some(),
            _ => false,
        }
    }
}
