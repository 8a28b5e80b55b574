//! The state of a network: its clock, what is to happen, its sockets and connections, and the providers that take part.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::connection::{Connection, Side};
use super::endpoint::Endpoint;
use super::plan::{Fault, FaultCounts, FaultPlan};
use super::random::Random;
use crate::operation::SocketId;
use crate::slab::{Key, Slab};

/// What is to happen at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// Bytes, and perhaps the end of them, arrive.
    Arrive { connection: Key, from: Side, bytes: usize, end: bool },
    /// The news of a reset arrives.
    Reset { connection: Key, to: Side },
    /// A connect arrives at the address it is for.
    Request { endpoint: Key, attempt: u32 },
    /// The answer to a connect arrives.
    Established { connection: Key },
    /// The refusal of a connect arrives.
    Refused { endpoint: Key, attempt: u32 },
    /// A connect was not answered in time.
    Unanswered { endpoint: Key, attempt: u32 },
    /// A provider has something to do with one of its sockets.
    Look { provider: usize, endpoint: Key },
}

/// A provider that takes part.
#[derive(Default)]
pub(super) struct Participant {
    /// Sockets whose state has changed, in the order of change.
    changed: VecDeque<Key>,
    /// A waker was used.
    pub(super) is_woken: bool,
    /// It gave its turn away, until something changes for it or this time has come.
    pub(super) resting_until: Option<u64>,
    /// It gets no turn before this time, whatever happens.
    pub(super) paused_until: u64,
    pub(super) is_gone: bool,
}

/// Stands for a wait without limit.
pub(super) const FOR_EVER: u64 = u64::MAX;

/// How long one call of a provider takes. Time that passes while somebody polls is what ends a loop that polls until some
/// time has come.
const CALL_NS: u64 = 1_000;

pub(super) struct State {
    epoch: Instant,
    pub(super) clock_ns: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    made: u64,
    pub(super) random: Random,
    pub(super) plan: FaultPlan,
    pub(super) faults: FaultCounts,
    pub(super) endpoints: Slab<Endpoint>,
    pub(super) connections: Slab<Connection>,
    /// Who has bound each address.
    pub(super) bound: BTreeMap<SocketAddr, Key>,
    pub(super) next_port: u16,
    pub(super) participants: Vec<Participant>,
    pub(super) is_scheduled: bool,
    pub(super) counts: Counts,
    digest: u64,
}

/// What a network counts besides faults.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) events: u64,
    pub(super) connections: u64,
    pub(super) bytes: u64,
    pub(super) calls: u64,
}

impl State {
    pub(super) fn new(seed: u64, plan: FaultPlan) -> Self {
        Self {
            epoch: Instant::now(),
            clock_ns: 0,
            events: BinaryHeap::new(),
            made: 0,
            random: Random::new(seed),
            plan,
            faults: FaultCounts::default(),
            endpoints: Slab::with_limit(u32::MAX - 1),
            connections: Slab::with_limit(u32::MAX - 1),
            bound: BTreeMap::new(),
            next_port: 0,
            participants: Vec::new(),
            is_scheduled: false,
            counts: Counts::default(),
            digest: 0,
        }
    }

    /// Whether a fault happens now.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.random.chance(self.plan.chance(fault));
        if strikes {
            self.faults.count(fault);
        }
        strikes
    }

    /// A delay of a slow completion or a late cancellation, in nanoseconds.
    pub(super) fn draw_delay_ns(&mut self) -> u64 {
        let longest_ns = self.plan.longest_delay.as_nanos() as u64;
        self.random.within(&(0..=longest_ns))
    }

    pub(super) fn draw_latency_ns(&mut self) -> u64 {
        let (least, most) = (self.plan.latency.start().as_nanos() as u64, self.plan.latency.end().as_nanos() as u64);
        if least >= most { least } else { self.random.within(&(least..=most)) }
    }

    // Time

    pub(super) fn now(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.clock_ns)
    }

    pub(super) fn at(&mut self, time_ns: u64, event: Event) {
        self.made += 1;
        self.events.push(Reverse((time_ns.max(self.clock_ns), self.made, event)));
    }

    pub(super) fn next_event_ns(&self) -> Option<u64> {
        self.events.peek().map(|Reverse((time_ns, ..))| *time_ns)
    }

    /// One call of a provider begins.
    pub(super) fn begin_call(&mut self, provider: usize) {
        self.counts.calls += 1;
        self.clock_ns += CALL_NS;
        self.trace(provider as u64);
        self.run_due();
    }

    /// Lets happen what is due.
    pub(super) fn run_due(&mut self) {
        while let Some(&Reverse((time_ns, _, event))) = self.events.peek()
            && time_ns <= self.clock_ns
        {
            self.events.pop();
            self.counts.events += 1;
            self.happen(event);
        }
    }

    /// Moves the clock, which never goes back, and lets happen what is due then.
    pub(super) fn advance_to(&mut self, time_ns: u64) {
        self.clock_ns = self.clock_ns.max(time_ns);
        self.run_due();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { connection, from, bytes, end } => {
                self.trace(bytes as u64);
                self.arrive(connection, from, bytes, end);
            }
            Event::Reset { connection, to } => self.reset_arrives(connection, to),
            Event::Request { endpoint, attempt } => self.request_arrives(endpoint, attempt),
            Event::Established { connection } => self.established(connection),
            Event::Refused { endpoint, attempt } => self.refused(endpoint, attempt),
            Event::Unanswered { endpoint, attempt } => self.unanswered(endpoint, attempt),
            Event::Look { provider, endpoint } => self.tell(endpoint, provider),
        }
    }

    // The trace: two runs are the same if their digests are.

    pub(super) fn trace(&mut self, what: u64) {
        let mixed = (self.digest ^ self.clock_ns.rotate_left(32) ^ what).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.digest = mixed ^ (mixed >> 29);
    }

    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }

    // Participants

    /// Tells every provider that a socket is attached to that it has changed.
    pub(super) fn tell_all(&mut self, endpoint: Key) {
        let Some(entry) = self.endpoints.get_mut(endpoint) else { return };
        for attachment in &mut entry.attachments {
            if !std::mem::replace(&mut attachment.is_told, true) {
                self.participants[attachment.provider].changed.push_back(endpoint);
            }
        }
    }

    fn tell(&mut self, endpoint: Key, provider: usize) {
        let Some(entry) = self.endpoints.get_mut(endpoint) else { return };
        let attachment = entry.attachments.iter_mut().find(|attachment| attachment.provider == provider);
        if let Some(attachment) = attachment
            && !std::mem::replace(&mut attachment.is_told, true)
        {
            self.participants[provider].changed.push_back(endpoint);
        }
    }

    /// The next socket of a provider that has changed.
    pub(super) fn next_changed(&mut self, provider: usize) -> Option<SocketId> {
        while let Some(endpoint) = self.participants[provider].changed.pop_front() {
            // It may have been detached or closed since.
            let Some(entry) = self.endpoints.get_mut(endpoint) else { continue };
            let attachment = entry.attachments.iter_mut().find(|attachment| attachment.provider == provider);
            let Some(attachment) = attachment else { continue };
            attachment.is_told = false;
            return Some(attachment.socket);
        }
        None
    }

    pub(super) fn has_changes(&self, provider: usize) -> bool {
        let participant = &self.participants[provider];
        participant.is_woken || !participant.changed.is_empty()
    }

    /// Whether a turn of that provider would bring something.
    pub(super) fn is_runnable(&self, provider: usize) -> bool {
        let participant = &self.participants[provider];
        if participant.is_gone || participant.paused_until > self.clock_ns {
            return false;
        }
        participant.resting_until.is_none_or(|until| until <= self.clock_ns) || self.has_changes(provider)
    }

    /// The next time at which anything happens, if it ever does.
    pub(super) fn next_time_ns(&self) -> Option<u64> {
        let participants = self.participants.iter().filter(|participant| !participant.is_gone);
        let awaited = participants.filter_map(|participant| {
            if participant.paused_until > self.clock_ns {
                return Some(participant.paused_until);
            }
            participant.resting_until.filter(|&until| until != FOR_EVER)
        });
        awaited.chain(self.next_event_ns()).min()
    }
}
