//! All clients of a run, on one provider.

use std::net::SocketAddr;
use std::time::Duration;

use fastport_io::sim::{Fault, Random, SimNetwork};
use fastport_io::{AsyncIoProvider, CompletionBatch, Error};

use crate::client::{Client, ClientProvider, Outcome};
use crate::ledger::Ledger;
use crate::scenario::Scenario;

/// What a client's operation is for; the low byte of its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Start,
    Connect,
    Send,
    Receive,
    Close,
    Pause,
    /// A time that the director of the run has asked for; the rest of the context is the director's.
    Cue,
}

impl Tag {
    const ALL: [Self; 7] = [Self::Start, Self::Connect, Self::Send, Self::Receive, Self::Close, Self::Pause, Self::Cue];

    pub(crate) const fn context(self, rest: u32) -> u64 {
        (rest as u64) << 8 | self as u64
    }

    const fn of(context: u64) -> (Self, u32) {
        (Self::ALL[(context & 0xFF) as usize], (context >> 8) as u32)
    }
}

/// What a client sees.
pub(crate) struct Surroundings<'a> {
    pub(crate) provider: &'a mut ClientProvider,
    pub(crate) ledger: &'a Ledger,
    pub(crate) server: SocketAddr,
    pub(crate) now: Duration,
}

impl Surroundings<'_> {
    pub(crate) fn later(&mut self, delay: Duration, context: u64) {
        if let Err(error) = self.provider.timeout(delay, context) {
            self.ledger.open().violation(format!("a timeout was refused: {error}"));
        }
    }
}

pub(crate) struct Crowd {
    provider: ClientProvider,
    network: SimNetwork,
    clients: Vec<Client>,
    ledger: Ledger,
    server: SocketAddr,
    batch: CompletionBatch,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Crowd {
    pub(crate) fn gather(
        scenario: &Scenario,
        network: &SimNetwork,
        ledger: &Ledger,
        server: SocketAddr,
    ) -> Result<Self, Error> {
        let mut random = Random::new(scenario.network_seed ^ 0xC0_57D5);
        let mut provider = network.provider(&scenario.crowd)?;
        let mut clients = Vec::with_capacity(scenario.clients.len());
        for (index, plan) in (0..).zip(&scenario.clients) {
            provider.timeout(plan.start, Tag::Start.context(index))?;
            clients.push(Client::new(index, plan.clone(), random.fork()));
        }
        let batch = CompletionBatch::with_capacity(*random.pick(&[1, 7, 64]));
        let (network, ledger) = (network.clone(), ledger.clone());
        Ok(Self { provider, network, clients, ledger, server, batch, outcomes: Vec::new() })
    }

    /// Has [`Crowd::turn`] tell `cue` when that time is over.
    pub(crate) fn set_cue(&mut self, delay: Duration, cue: u32) {
        let set = self.provider.timeout(delay, Tag::Cue.context(cue));
        debug_assert!(set.is_ok(), "there is room for a timeout");
    }

    /// Lets the clients do what they have to do now. Returns the cues whose time is over.
    pub(crate) fn turn(&mut self) -> Vec<u32> {
        if let Err(error) = self.provider.process_completions(&mut self.batch, None) {
            // A wait that fails as planned is tried again.
            if self.network.plan().chance(Fault::FailedWait) == 0.0 {
                self.ledger.open().violation(format!("the clients' provider failed: {error}"));
            }
            return Vec::new();
        }
        let now = self.network.elapsed();
        let mut cues = Vec::new();
        let Self { provider, clients, ledger, batch, .. } = self;
        let mut around = Surroundings { provider, ledger, server: self.server, now };
        for completion in batch.drain() {
            let (tag, rest) = Tag::of(completion.context);
            if tag == Tag::Cue {
                cues.push(rest);
                continue;
            }
            let client = &mut clients[rest as usize];
            match tag {
                Tag::Start => client.start(&mut around),
                Tag::Connect => client.connected(&mut around, &completion),
                Tag::Send => client.sent(&mut around, &completion),
                Tag::Receive => client.received(&mut around, &completion),
                Tag::Close => self.outcomes.push(client.closed(&mut around)),
                Tag::Pause => client.pause_over(&mut around),
                Tag::Cue => {}
            }
        }
        cues
    }

    pub(crate) fn is_done(&self) -> bool {
        self.clients.iter().all(Client::is_done)
    }

    /// Nobody has anything to do but to wait for the server's end.
    pub(crate) fn awaits_end(&self) -> bool {
        self.clients.iter().all(|client| client.is_done() || client.awaits_end())
    }

    /// The client that has been waiting for longest, and since when.
    pub(crate) fn longest_wait(&self) -> Option<(usize, Duration)> {
        let waits = self.clients.iter().enumerate();
        waits.filter_map(|(index, client)| Some((index, client.waits_since()?))).min_by_key(|(_, since)| *since)
    }

    /// What keeps the run from its end.
    pub(crate) fn describe(&self) -> Vec<String> {
        let busy = self.clients.iter().filter(|client| !client.is_done() && !client.awaits_end());
        busy.map(Client::describe).collect()
    }

    /// Ends the crowd. Returns what is still held or in flight and should not be.
    pub(crate) fn leave(mut self) -> Vec<String> {
        let mut left = Vec::new();
        // Pauses and cues that are of no use any more come to their end, and with them whatever is under way.
        while self.provider.stats().pending > 0 && (self.network.next_runnable().is_some() || self.network.advance()) {
            self.turn();
        }
        let stats = self.provider.stats();
        let pool = self.provider.receive_pool().clone();
        if stats.active_sockets > 0 {
            left.push(format!("clients have {} sockets left", stats.active_sockets));
        }
        if stats.pending > 0 {
            left.push(format!("{} operations of clients have not completed", stats.pending));
        }
        let planned = self.network.stats().faults[Fault::StaleCompletion];
        if stats.stale_completions > planned {
            left.push(format!("{} completions of dead operations, {planned} planned", stats.stale_completions));
        }
        drop(self.batch);
        drop(self.provider);
        if pool.stats().allocated > 0 {
            left.push(format!("the clients' pool is not empty: {:?}", pool.stats()));
        }
        left
    }
}
