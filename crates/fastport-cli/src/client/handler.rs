//! The client's handler: passes on what happens to the thread that asks and prints.

use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::Instant;

use fastport::{CloseReason, Context, Handler, PacketView, SessionHandle, SessionId, SessionStats};
use fastport_protocol::commons::ResultCode;
use fastport_protocol::views::EchoResponseView;
use fastport_protocol::{Decode, packet_id};

/// What happened on the connection.
#[derive(Debug)]
pub(super) enum Event {
    Connected(SessionHandle),
    ConnectFailed(fastport_io::Error),
    Reply(Reply),
    /// The connection is over.
    Closed(CloseReason),
}

/// A reply of the server's, copied out of the receive buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) received: Instant,
    /// The request that it belongs to: the reply has the number after it.
    pub(super) request_id: u64,
    pub(super) is_ok: bool,
    pub(super) data: Vec<u8>,
    pub(super) text: String,
}

/// Sends an [`Event`] for everything that happens.
pub(super) struct Reporter {
    events: Sender<Event>,
}

impl Reporter {
    /// A handler that reports to this channel.
    pub(super) fn new(events: Sender<Event>) -> Self {
        Self { events }
    }

    fn report(&self, event: Event) {
        // A receiver that is gone has seen enough.
        let _ = self.events.send(event);
    }
}

impl Handler for Reporter {
    fn connected(&mut self, session: &mut Context<'_>, _token: u64) {
        self.report(Event::Connected(session.handle().session(session.id())));
    }

    fn connect_failed(&mut self, _token: u64, _address: SocketAddr, error: &fastport_io::Error) {
        self.report(Event::ConnectFailed(error.clone()));
    }

    fn packet(&mut self, _session: &mut Context<'_>, packet: PacketView<'_>) {
        let received = Instant::now();
        if packet.id.0 != packet_id::ECHO {
            tracing::warn!(id = %packet.id, "the server sent a packet that is no echo response");
            return;
        }
        match EchoResponseView::decode_from(packet.payload) {
            Ok(response) => self.report(Event::Reply(Reply {
                received,
                request_id: response.header.unwrap_or_default().request_id.wrapping_sub(1),
                is_ok: response.result == ResultCode::Ok as i32,
                data: response.data.to_vec(),
                text: response.data_str.to_owned(),
            })),
            Err(error) => tracing::warn!(%error, "the server sent an echo response that does not parse"),
        }
    }

    fn closed(&mut self, _session: SessionId, reason: CloseReason, _stats: &SessionStats) {
        self.report(Event::Closed(reason));
    }
}
