//! What a FastPort server answers: echo and benchmark requests.
//!
//! Used by `fastport server` and by the server that `fastport bench` brings along. Replies are written from the receive
//! buffer straight into the send queue: each byte is copied once, and nothing is allocated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fastport::{Context, Handler, PacketView, SendError, SessionId};
use fastport_protocol::behaviour::{ServerTimes, answer_benchmark_view, answer_echo_view};
use fastport_protocol::views::{BenchmarkRequestView, EchoRequestView};
use fastport_protocol::{Decode, DecodeError, Encode, packet_id};

use crate::clock::Clock;

/// Packets that got no answer, over all workers of a server.
#[derive(Debug, Default)]
pub(crate) struct Unanswered {
    unknown_ids: AtomicU64,
    unparsable: AtomicU64,
    undeliverable: AtomicU64,
}

impl Unanswered {
    /// Packets with an id that this server does not serve.
    pub(crate) fn unknown_ids(&self) -> u64 {
        self.unknown_ids.load(Ordering::Relaxed)
    }

    /// Packets whose payload was not the message that their id announces.
    pub(crate) fn unparsable(&self) -> u64 {
        self.unparsable.load(Ordering::Relaxed)
    }

    /// Replies that could not be queued, mostly because a reply is longer than its request and did not fit into a packet.
    pub(crate) fn undeliverable(&self) -> u64 {
        self.undeliverable.load(Ordering::Relaxed)
    }
}

/// The handler of one worker.
#[derive(Debug)]
pub(crate) struct Answers {
    clock: Clock,
    latest: Option<Reading>,
    unanswered: Arc<Unanswered>,
}

/// The times of the requests that a session sent in one go. They are answered in one go too, and reading the clock for each
/// would take a tenth of the time that an answer takes.
#[derive(Clone, Copy, Debug)]
struct Reading {
    session: SessionId,
    batch: Instant,
    times: ServerTimes,
}

impl Answers {
    /// A handler that counts what it cannot answer together with its siblings.
    pub(crate) fn new(unanswered: Arc<Unanswered>) -> Self {
        Self { clock: Clock::of_this_process(), latest: None, unanswered }
    }

    fn echo(&self, session: &mut Context<'_>, packet: PacketView<'_>) -> Result<(), DecodeError> {
        let request = EchoRequestView::decode_from(packet.payload)?;
        self.reply(session, packet_id::ECHO, &answer_echo_view(&request));
        Ok(())
    }

    fn benchmark(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) -> Result<(), DecodeError> {
        let request = BenchmarkRequestView::decode_from(packet.payload)?;
        let times = self.times(session);
        self.reply(session, packet_id::BENCHMARK_RESPONSE, &answer_benchmark_view(&request, times));
        Ok(())
    }

    /// The request was received when its batch was: waiting for its turn in the batch is the server's time, too.
    fn times(&mut self, session: &Context<'_>) -> ServerTimes {
        let (batch, session) = (session.now(), session.id());
        if let Some(latest) = self.latest
            && latest.batch == batch
            && latest.session == session
        {
            return latest.times;
        }
        let times = ServerTimes { received_ns: self.clock.at(batch), sent_ns: self.clock.now_ns() };
        self.latest = Some(Reading { session, batch, times });
        times
    }

    /// Queues a reply. A client that does not read its replies is closed by the service, which tells the reason.
    fn reply(&self, session: &mut Context<'_>, id: u16, message: &impl Encode) {
        let queued = session.send_with(id, message.max_wire_len(), |target| {
            message.encode_into(target).expect("as much memory as the message asks for");
        });
        match queued {
            Ok(()) | Err(SendError::Closed) => {}
            Err(error) => {
                self.unanswered.undeliverable.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(session = %session.id(), %error, "reply dropped");
            }
        }
    }
}

impl Handler for Answers {
    #[inline]
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        let answered = match packet.id.0 {
            packet_id::ECHO => self.echo(session, packet),
            packet_id::BENCHMARK_REQUEST => self.benchmark(session, packet),
            _ => {
                self.unanswered.unknown_ids.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(session = %session.id(), id = %packet.id, "packet with an unknown id");
                return;
            }
        };
        if let Err(error) = answered {
            self.unanswered.unparsable.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(session = %session.id(), id = %packet.id, %error, "message that does not parse");
        }
    }
}
