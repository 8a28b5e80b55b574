//! The books of the server's side: what each session was promised, what it did, and whether that keeps the contract.
//!
//! The handler writes them and cannot fail by a panic, which the service would catch: a violation is noted, and the run
//! ends with it after the turn.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastport::{CloseReason, SessionId, SessionStats};

use crate::payload::{Label, verify};
use crate::scenario::{ClientPlan, ReplyBy};

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
    /// Somebody has asked for its end from outside, or its handler has panicked.
    pub(crate) is_cut: bool,
    pub(crate) closed: Option<CloseReason>,
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
}

impl Ledger {
    pub(crate) fn new(clients: &[ClientPlan]) -> Self {
        let books = Books { clients: clients.to_vec(), ..Books::default() };
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
                Some(record.reply_by)
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

    /// The service has taken a reply.
    pub(crate) fn replied(&mut self, session: SessionId) {
        if let Some(record) = self.sessions.get_mut(&session) {
            record.replies += 1;
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
