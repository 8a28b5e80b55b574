//! The books of the server's side: what each session was promised, what it did, and whether that keeps the contract.
//!
//! The handler writes them and cannot fail by a panic, which the service would catch: a violation is noted, and the run
//! ends with it after the turn.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastport::{CloseReason, SessionId, SessionStats};

use crate::payload::{HEADER_BYTES, Label, verify};
use crate::scenario::{ClientPlan, ReplyBy, Scenario};

/// A connection of a client: which client, and which of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Visit {
    pub(crate) client: u32,
    pub(crate) round: u32,
}

/// What is known of a session.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) visit: Visit,
    is_lawful: bool,
    reply_by: ReplyBy,
    /// The number of the next packet.
    next: u32,
    packets: u64,
    /// Replies that the service has taken.
    pub(crate) replies: u32,
    /// Bytes of replies that the system has not taken yet.
    queued: usize,
    /// Packets that have been on their way since the worker had handled so many of all sessions.
    owed: Option<Owed>,
    /// Somebody has asked for its end from outside, or its handler has panicked.
    pub(crate) is_cut: bool,
    pub(crate) closed: Option<CloseReason>,
}

/// Packets that the system has for a session.
#[derive(Clone, Copy, Debug)]
struct Owed {
    /// The number behind the last of them.
    until: u32,
    /// What the worker had handled when it could have begun with the next one.
    since: u64,
}

/// Shared by the handlers, the clients and the run.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
pub(crate) struct Books {
    clients: Vec<ClientPlan>,
    /// Who calls from which address.
    callers: BTreeMap<SocketAddr, Visit>,
    pub(crate) sessions: BTreeMap<SessionId, Record>,
    visits: BTreeMap<Visit, SessionId>,
    /// Those that are open, for whoever wants to meddle.
    pub(crate) open: BTreeSet<SessionId>,
    pub(crate) violations: Vec<String>,
    pub(crate) packets: u64,
    /// Packets that each worker has handled.
    handled: BTreeMap<usize, u64>,
    /// The most packets of others that a worker may handle while one waits; `None` if the network keeps packets waiting.
    patience: Option<u64>,
    /// The most that a send queue holds, unless a single message is larger.
    queue_limit: usize,
}

impl Ledger {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let books = Books {
            clients: scenario.clients.clone(),
            patience: scenario.patience(),
            queue_limit: scenario.options.session.limit_bytes,
            ..Books::default()
        };
        Self { books: Arc::new(Mutex::new(books)) }
    }

    pub(crate) fn open(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    pub(crate) fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// A client is about to connect from there.
    pub(crate) fn expect(&mut self, address: SocketAddr, visit: Visit) {
        self.callers.insert(address, visit);
    }

    /// The session of a visit, if the service has opened one.
    pub(crate) fn session_of(&self, visit: Visit) -> Option<&Record> {
        self.sessions.get(self.visits.get(&visit)?)
    }

    pub(crate) fn accepted(&mut self, session: SessionId, peer: SocketAddr) {
        let Some(visit) = self.callers.get(&peer).copied() else {
            return self.violation(format!("{session} comes from {peer}, where nobody is"));
        };
        let Some(plan) = self.clients.get(visit.client as usize) else { return };
        let record = Record {
            visit,
            is_lawful: plan.manner.is_lawful(),
            reply_by: plan.reply_by,
            next: 0,
            packets: 0,
            replies: 0,
            queued: 0,
            owed: None,
            is_cut: false,
            closed: None,
        };
        if self.sessions.insert(session, record).is_some() {
            self.violation(format!("the id {session} was given out twice"));
        }
        if self.visits.insert(visit, session).is_some() {
            self.violation(format!("{visit:?} was accepted twice"));
        }
        self.open.insert(session);
    }

    /// A packet was handed to the handler. Returns how to reply, or `None` for one that deserves no reply.
    pub(crate) fn packet(&mut self, session: SessionId, id: u16, payload: &[u8]) -> Option<ReplyBy> {
        self.packets += 1;
        let handled = self.handled.entry(session.worker()).or_default();
        *handled += 1;
        let handled = *handled;
        let Some(record) = self.sessions.get_mut(&session) else {
            self.violation(format!("a packet for {session}, which was never accepted"));
            return None;
        };
        record.packets += 1;
        if let Some(reason) = record.closed {
            self.violation(format!("a packet for {session} after it was closed ({reason})"));
            return None;
        }
        let verified = verify(id, payload);
        if !record.is_lawful {
            return verified.is_ok().then_some(record.reply_by);
        }
        let expected = Label { client: record.visit.client, round: record.visit.round, number: record.next };
        match verified {
            Ok(label) if label == expected => {
                record.next += 1;
                let reply_by = record.reply_by;
                self.served(session, handled);
                Some(reply_by)
            }
            Ok(label) => {
                self.violation(format!("{session} got {label:?} instead of {expected:?}"));
                None
            }
            Err(fault) => {
                self.violation(format!("{session} ({expected:?}): {fault}"));
                None
            }
        }
    }

    /// The system has taken all bytes of a visit's packets up to this number.
    pub(crate) fn owes(&mut self, visit: Visit, until: u32) {
        let Some(session) = self.visits.get(&visit) else { return };
        let handled = self.handled.get(&session.worker()).copied().unwrap_or(0);
        let Some(record) = self.sessions.get_mut(session).filter(|record| record.next < until) else { return };
        let since = record.owed.map_or(handled, |owed| owed.since);
        record.owed = Some(Owed { until, since });
    }

    /// A packet of a session was handled. Others had their turns meanwhile, but not too many.
    fn served(&mut self, session: SessionId, handled: u64) {
        let Some(record) = self.sessions.get_mut(&session) else { return };
        let Some(owed) = record.owed.take() else { return };
        if record.next < owed.until {
            record.owed = Some(Owed { since: handled, ..owed });
        }
        let waited = handled - owed.since;
        if let Some(patience) = self.patience.filter(|&patience| waited > patience) {
            self.violation(format!("{session} was passed over for {waited} packets of others; {patience} are fair"));
        }
    }

    /// The service has taken a reply with a payload of that many bytes.
    pub(crate) fn replied(&mut self, session: SessionId, payload_bytes: usize) {
        let Some(record) = self.sessions.get_mut(&session) else { return };
        record.replies += 1;
        let frame_bytes = HEADER_BYTES + payload_bytes;
        record.queued += frame_bytes;
        let queued = record.queued;
        // In the mailbox it is on its way to the queue.
        if queued > self.queue_limit && queued > frame_bytes && record.reply_by != ReplyBy::Handle {
            self.violation(format!("{session} has {queued} bytes queued, above its limit of {}", self.queue_limit));
        }
    }

    /// The system has taken bytes of replies.
    pub(crate) fn sent(&mut self, session: SessionId, bytes: usize) {
        self.event(session, "sent");
        let Some(record) = self.sessions.get_mut(&session) else { return };
        match record.queued.checked_sub(bytes) {
            Some(queued) if bytes > 0 => record.queued = queued,
            _ => {
                let queued = record.queued;
                self.violation(format!("{session} has sent {bytes} of {queued} bytes"));
            }
        }
    }

    /// Somebody ends the session who is not its client.
    pub(crate) fn cut(&mut self, session: SessionId) {
        if let Some(record) = self.sessions.get_mut(&session) {
            record.is_cut = true;
        }
    }

    /// An event of a session other than a packet.
    pub(crate) fn event(&mut self, session: SessionId, what: &str) {
        match self.sessions.get(&session).map(|record| record.closed) {
            Some(None) => {}
            Some(Some(reason)) => self.violation(format!("'{what}' for {session} after it was closed ({reason})")),
            None => self.violation(format!("'{what}' for {session}, which was never accepted")),
        }
    }

    pub(crate) fn closed(&mut self, session: SessionId, reason: CloseReason, stats: &SessionStats) {
        self.event(session, "closed");
        self.open.remove(&session);
        let Some(record) = self.sessions.get_mut(&session) else { return };
        record.closed = Some(reason);
        if stats.packets_received != record.packets {
            let told = stats.packets_received;
            let handled = record.packets;
            self.violation(format!("{session} counts {told} packets, its handler {handled}"));
        }
    }
}
