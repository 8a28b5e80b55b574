//! The handler of the simulated server: it echoes, in every way there is, and notes all that it sees.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::BufMut;
use fastport::{CloseReason, Context, Handler, Packet, PacketView, SendError, SessionId, SessionStats};
use fastport_io::sim::Random;

use crate::ledger::Ledger;
use crate::payload::PACKET_ID;
use crate::scenario::ReplyBy;

/// What a panic that is part of the plan says.
pub(crate) const PLANNED_PANIC: &str = "a panic that the simulation planned";

/// One for each worker.
pub(crate) struct Examiner {
    ledger: Ledger,
    random: Random,
    panic_once_in: Option<u64>,
    /// Replies that were refused for the time being, in order.
    refused: BTreeMap<SessionId, VecDeque<Vec<u8>>>,
    latest_tick: Option<Instant>,
}

impl Examiner {
    pub(crate) fn new(ledger: Ledger, seed: u64, panic_once_in: Option<u64>) -> Self {
        Self { ledger, random: Random::new(seed), panic_once_in, refused: BTreeMap::new(), latest_tick: None }
    }

    /// Notes how a reply of that many bytes was taken. True if it was refused for the time being.
    fn note(&self, session: SessionId, bytes: usize, result: Result<(), SendError>) -> bool {
        if result.is_ok() {
            self.ledger.open().replied(session, bytes);
        }
        result == Err(SendError::Full)
    }

    /// Sends what was refused, as far as it is taken now.
    fn catch_up(&mut self, session: &mut Context<'_>) {
        let id = session.id();
        let Some(mut waiting) = self.refused.remove(&id) else { return };
        while let Some(payload) = waiting.front() {
            let sent = session.send(PACKET_ID, payload);
            if self.note(id, payload.len(), sent) {
                self.refused.insert(id, waiting);
                return;
            }
            waiting.pop_front();
        }
    }

    fn reply(&mut self, session: &mut Context<'_>, packet: PacketView<'_>, by: ReplyBy) {
        let id = session.id();
        if let Some(waiting) = self.refused.get_mut(&id) {
            return waiting.push_back(packet.payload.to_vec());
        }
        let shared = || Packet::from(packet).into_shared_frame();
        let sent = match by {
            ReplyBy::Send => session.send(packet.id, packet.payload),
            ReplyBy::SendWith => {
                session.send_with(packet.id, packet.payload.len(), |target| target.put_slice(packet.payload))
            }
            ReplyBy::Forward => session.forward(packet),
            ReplyBy::Shared => session.send_shared(shared()),
            ReplyBy::Handle => session.handle().send_shared(id, shared()),
        };
        if !self.note(id, packet.payload.len(), sent) {
            return;
        }
        if by == ReplyBy::Handle {
            // A retry would overtake what is still in the mailbox.
            self.ledger.open().cut(id);
            session.close();
        } else {
            self.refused.insert(id, VecDeque::from([packet.payload.to_vec()]));
        }
    }
}

impl Handler for Examiner {
    fn accepted(&mut self, session: &mut Context<'_>) {
        self.ledger.open().accepted(session.id(), session.peer_address());
    }

    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        let reply = self.ledger.open().packet(session.id(), packet.id.0, packet.payload);
        if self.panic_once_in.is_some_and(|count| self.random.below(count) == 0) {
            self.ledger.open().cut(session.id());
            std::panic::panic_any(PLANNED_PANIC);
        }
        if let Some(by) = reply {
            self.reply(session, packet, by);
        }
    }

    fn sent(&mut self, session: &mut Context<'_>, bytes: usize) {
        self.ledger.open().sent(session.id(), bytes);
    }

    fn writable(&mut self, session: &mut Context<'_>) {
        self.ledger.open().event(session.id(), "writable");
        self.catch_up(session);
    }

    fn closed(&mut self, session: SessionId, reason: CloseReason, stats: &SessionStats) {
        self.refused.remove(&session);
        self.ledger.open().closed(session, reason, stats);
    }

    fn tick(&mut self, now: Instant) {
        if self.latest_tick.replace(now).is_some_and(|latest| latest > now) {
            self.ledger.open().violation("the time of a tick lies before the one before it".to_owned());
        }
    }
}
