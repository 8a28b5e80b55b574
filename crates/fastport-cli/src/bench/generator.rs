//! The load generator's handler: one for each of its threads, with the state of that thread's sessions.
//!
//! A closed loop: each session keeps its number of requests under way and sends the next one when a reply has come. One
//! reading of the clock serves as the end of a round trip and the start of the next. Requests are encoded straight into the
//! send queue; nothing is allocated for a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use fastport::{CloseReason, Context, Handler, PacketId, PacketView, SessionId, SessionStats};
use fastport_protocol::commons::ResultCode;
use fastport_protocol::views::{BenchmarkRequestView, BenchmarkResponseView};
use fastport_protocol::{Decode, Encode, packet_id};

use super::payload::{PayloadPool, resembles};
use super::roster::{Roster, Share, Stage};
use super::tally::Tally;
use crate::clock::Clock;

/// Sends requests on its sessions and checks the replies.
pub(super) struct Generator {
    clock: Clock,
    roster: Arc<Roster>,
    payloads: Arc<PayloadPool>,
    depth: u32,
    /// By the slot of the session's id.
    sessions: Vec<Session>,
    tally: Tally,
    /// Responses that the roster has been told of.
    responses_told: u64,
}

/// Where a session stands. Sequence numbers count its requests from 0 and go on from stage to stage.
#[derive(Clone, Copy, Debug)]
struct Session {
    /// Added to a sequence number, it gives the turn of the payload: sessions go through the pool side by side.
    first_turn: u32,
    /// The next sequence number to send.
    next: u32,
    /// The sequence number of the next reply.
    expected: u32,
    stage: Stage,
    /// What is left of the session's share in its stage.
    share: Share,
    signed_off: Stage,
}

/// The payload of a session's request, for the one who sends the sparks.
pub(super) fn payload_of(payloads: &PayloadPool, token: u64, sequence: u32) -> &[u8] {
    payloads.get((token as u32).wrapping_add(sequence))
}

impl Session {
    fn new(token: u64) -> Self {
        Self {
            first_turn: token as u32,
            next: 0,
            expected: 0,
            stage: Stage::Connecting,
            share: Share::Requests(0),
            signed_off: Stage::Connecting,
        }
    }

    fn under_way(&self) -> u32 {
        self.next.wrapping_sub(self.expected)
    }

    fn has_more(&self, now_ns: u64) -> bool {
        match self.share {
            Share::Requests(left) => left > 0,
            Share::UntilNs(deadline_ns) => now_ns < deadline_ns,
        }
    }

    fn count_request(&mut self) {
        self.next = self.next.wrapping_add(1);
        if let Share::Requests(left) = &mut self.share {
            *left -= 1;
        }
    }

    fn payload<'a>(&self, payloads: &'a PayloadPool, sequence: u32) -> &'a [u8] {
        payload_of(payloads, u64::from(self.first_turn), sequence)
    }
}

/// Why a reply is not the one that belongs to the oldest request.
#[derive(Debug, thiserror::Error)]
enum WrongReply {
    #[error("a packet with the id {0} where a benchmark response belongs")]
    Id(PacketId),
    #[error("a response that does not parse: {0}")]
    Unparsable(#[from] fastport_protocol::DecodeError),
    #[error("a response with the result code {0}")]
    Result(i32),
    #[error("the response {found} where {expected} was next")]
    Sequence { expected: u32, found: u32 },
    #[error("a response to nothing")]
    Unasked,
    #[error("another payload than was sent")]
    Payload,
    #[error("a client timestamp that was not sent")]
    Timestamp,
}

/// The times in a correct reply.
struct Times {
    round_trip_ns: u64,
    server_ns: u64,
    payload_bytes: usize,
}

impl Generator {
    /// A handler that keeps `depth` requests under way on each session.
    pub(super) fn new(roster: Arc<Roster>, payloads: Arc<PayloadPool>, depth: u32) -> Self {
        Self {
            clock: Clock::of_this_process(),
            roster,
            payloads,
            depth,
            sessions: Vec::new(),
            tally: Tally::new(),
            responses_told: 0,
        }
    }

    /// The first reply of a stage is the one to the spark, which counts as a part of the session's share.
    fn join_stage(&mut self, slot: usize) {
        let (stage, share) = self.roster.stage();
        let session = &mut self.sessions[slot];
        if stage > session.signed_off && stage != Stage::Ending {
            session.stage = stage;
            session.share = share;
            session.count_request();
        }
    }

    fn check(&self, slot: usize, packet: PacketView<'_>, now_ns: u64) -> Result<Times, WrongReply> {
        let session = &self.sessions[slot];
        if packet.id.0 != packet_id::BENCHMARK_RESPONSE {
            return Err(WrongReply::Id(packet.id));
        }
        if session.under_way() == 0 {
            return Err(WrongReply::Unasked);
        }
        let response = BenchmarkResponseView::decode_from(packet.payload)?;
        if response.result != ResultCode::Ok as i32 {
            return Err(WrongReply::Result(response.result));
        }
        if response.sequence != session.expected {
            return Err(WrongReply::Sequence { expected: session.expected, found: response.sequence });
        }
        if !resembles(response.payload, session.payload(&self.payloads, response.sequence)) {
            return Err(WrongReply::Payload);
        }
        let round_trip_ns = now_ns.checked_sub(response.client_timestamp_ns).ok_or(WrongReply::Timestamp)?;
        Ok(Times {
            round_trip_ns,
            server_ns: response.server_send_timestamp_ns.saturating_sub(response.server_recv_timestamp_ns),
            payload_bytes: response.payload.len(),
        })
    }

    fn count(&mut self, stage: Stage, times: &Times, now_ns: u64) {
        let stage_tally = match stage {
            Stage::Measured => {
                self.tally.latencies.record(times.round_trip_ns, times.server_ns);
                self.tally.response_bytes += times.payload_bytes as u64;
                &mut self.tally.measured
            }
            _ => &mut self.tally.warmup,
        };
        stage_tally.responses += 1;
        stage_tally.last_response_ns = now_ns;
    }

    /// Brings the session back to its depth, as far as its share goes.
    fn top_up(&mut self, session: &mut Context<'_>, slot: usize, now_ns: u64) {
        let state = &mut self.sessions[slot];
        while state.under_way() < self.depth && state.has_more(now_ns) {
            let request = BenchmarkRequestView {
                header: None,
                client_timestamp_ns: now_ns,
                sequence: state.next,
                payload: state.payload(&self.payloads, state.next),
            };
            let queued = session.send_with(packet_id::BENCHMARK_REQUEST, request.max_wire_len(), |target| {
                request.encode_into(target).expect("as much memory as the message asks for");
            });
            if let Err(error) = queued {
                self.roster.fault(format!("session {}: cannot send a request: {error}", session.id()));
                return session.abort();
            }
            state.count_request();
            match state.stage {
                Stage::Measured => self.tally.measured.requests += 1,
                _ => self.tally.warmup.requests += 1,
            }
        }
    }
}

impl Handler for Generator {
    fn connected(&mut self, session: &mut Context<'_>, token: u64) {
        let slot = session.id().slot();
        if self.sessions.len() <= slot {
            self.sessions.resize(slot + 1, Session::new(0));
        }
        self.sessions[slot] = Session::new(token);
        self.roster.connected(token, session.handle().session(session.id()));
    }

    fn connect_failed(&mut self, _token: u64, address: SocketAddr, error: &fastport_io::Error) {
        self.roster.connect_failed(format!("cannot connect to {address}: {error}"));
    }

    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        let now_ns = self.clock.now_ns();
        let slot = session.id().slot();
        if self.sessions[slot].under_way() == 0 {
            self.join_stage(slot);
        }
        let times = match self.check(slot, packet, now_ns) {
            Ok(times) => times,
            Err(wrong) => {
                self.roster.fault(format!("session {}: the server sent {wrong}", session.id()));
                return session.abort();
            }
        };
        self.sessions[slot].expected = self.sessions[slot].expected.wrapping_add(1);
        self.count(self.sessions[slot].stage, &times, now_ns);
        self.top_up(session, slot, now_ns);

        let state = &mut self.sessions[slot];
        if state.under_way() == 0 {
            state.signed_off = state.stage;
            self.roster.sign_off();
        }
    }

    fn closed(&mut self, session: SessionId, reason: CloseReason, _stats: &SessionStats) {
        let signed_off = self.sessions[session.slot()].signed_off;
        self.roster.closed(signed_off, || format!("session {session} ended early: {reason}"));
    }

    fn tick(&mut self, _now: Instant) {
        let responses = self.tally.warmup.responses + self.tally.measured.responses;
        self.roster.add_responses(responses - self.responses_told);
        self.responses_told = responses;
    }
}

/// The service drops its handlers when it has stopped.
impl Drop for Generator {
    fn drop(&mut self) {
        self.roster.deposit(&self.tally);
    }
}
