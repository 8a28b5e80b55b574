//! Connections that the worker makes, and makes again.
//!
//! A connector lives from [`Handle::connect`](super::Handle::connect) until its connection is over for good. It holds one
//! place among the sessions of the service all that time, also while it waits between two attempts.

use std::num::NonZeroU64;
use std::time::Duration;

use fastport_io::slab::Key;
use fastport_io::{AsyncIoProvider, Completion, Error, ErrorCode};

use super::delivery::Delivery;
use super::mailbox::ConnectRequest;
use super::seats::Seat;
use super::worker::{Timer, Worker};
use crate::framer::Framer;
use crate::session::{CloseHow, CloseReason, Link};

/// A connection that was asked for.
pub(super) struct Connector {
    request: ConnectRequest,
    /// Attempts since the last connection that stood.
    attempts: u32,
    /// The wait before the next attempt.
    wait: Duration,
    /// Why the attempt at hand failed.
    error: Option<Error>,
    /// Between two attempts.
    is_waiting: bool,
}

impl<P: AsyncIoProvider, F: Framer, D: Delivery<F>> Worker<P, F, D> {
    /// Starts a connector. Its place among the sessions was claimed.
    pub(super) fn begin_connector(&mut self, request: ConnectRequest) {
        let wait = request.options.reconnect.map_or(Duration::ZERO, |reconnect| reconnect.first_wait);
        let connector = Connector { request, attempts: 0, wait, error: None, is_waiting: false };
        match self.connectors.insert(connector) {
            Ok(key) => self.attempt(key),
            // There is a place for each session, so this needs more connectors than sessions.
            Err(error) => {
                tracing::error!(%error, "a connection could not be begun");
                self.hub.release_session(self.index);
            }
        }
    }

    /// The wait for the next attempt is over.
    pub(super) fn connect_again(&mut self, key: Key) {
        let Some(connector) = self.connectors.get_mut(key) else { return };
        connector.is_waiting = false;
        self.attempt(key);
    }

    fn attempt(&mut self, key: Key) {
        let Some(connector) = self.connectors.get_mut(key) else { return };
        connector.attempts = connector.attempts.saturating_add(1);
        let attempted = if self.is_stopping {
            Err(Error::new(ErrorCode::Cancelled, "the service stops"))
        } else {
            self.begin_attempt(key)
        };
        if let Err(error) = attempted {
            self.attempt_failed(key, &error);
        }
    }

    fn begin_attempt(&mut self, connector: Key) -> Result<(), Error> {
        let Some(Connector { request, .. }) = self.connectors.get(connector) else { return Ok(()) };
        let (address, time_limit) = (request.address, request.options.time_limit);
        let socket = self.provider.create_socket(&address)?;
        self.socket_options.apply(&socket)?;
        let socket = self.provider.attach(socket)?;
        let now = self.desk.now;
        let key = self.seat(socket, |id| Link::connecting(id, address, now))?;
        if let Some(seat) = self.sessions.get_mut(key) {
            seat.connector = NonZeroU64::new(connector.to_bits());
        }
        if let Err(error) = self.provider.connect(socket, &address, key.to_bits()) {
            self.keep_error(connector, error);
            self.close_session(key, CloseReason::Requested, CloseHow::Abort);
            return Ok(());
        }
        self.set_session_timer(key, now + time_limit, Duration::ZERO);
        Ok(())
    }

    fn keep_error(&mut self, connector: Key, error: Error) {
        if let Some(connector) = self.connectors.get_mut(connector) {
            connector.error.get_or_insert(error);
        }
    }

    /// The connection stands, or could not be made.
    pub(super) fn connect_completed(&mut self, completion: &Completion) {
        let key = Key::from_bits(completion.context);
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let Some(connector) = seat.connector.map(|bits| Key::from_bits(bits.get())) else { return };
        let link = &mut seat.session.link;
        if let Err(error) = &completion.result {
            if link.is_connecting() {
                link.failed(error);
                self.desk.mark_dirty(link);
                self.keep_error(connector, error.clone());
            }
            return;
        }
        if !link.connected(self.desk.now) {
            return;
        }
        let Some(connector) = self.connectors.get_mut(connector) else { return };
        connector.attempts = 0;
        connector.wait = connector.request.options.reconnect.map_or(Duration::ZERO, |reconnect| reconnect.first_wait);
        let token = connector.request.token;
        self.desk.stats.connected += 1;
        self.open_session(key);
        let Some(seat) = self.sessions.get_mut(key) else { return };
        tracing::debug!(session = %seat.session.link.id, peer = %seat.session.link.peer, "connected");
        self.delivery.connected(&mut seat.session.link, &mut self.desk, token);
    }

    /// The session of a connector is over.
    pub(super) fn connection_ended(&mut self, key: Key, was_open: bool, reason: CloseReason) {
        if !was_open {
            let Some(connector) = self.connectors.get_mut(key) else { return };
            let limit = connector.request.options.time_limit;
            let error = connector.error.take().unwrap_or_else(|| match reason {
                CloseReason::Timeout => Error::new(ErrorCode::Timeout, format!("no connection within {limit:?}")),
                _ => Error::new(ErrorCode::Cancelled, "the service stops"),
            });
            return self.attempt_failed(key, &error);
        }
        self.attempt_later(key, matches!(reason, CloseReason::Requested | CloseReason::Shutdown));
    }

    fn attempt_failed(&mut self, key: Key, error: &Error) {
        let Some(connector) = self.connectors.get_mut(key) else { return };
        connector.error = None;
        let (token, address) = (connector.request.token, connector.request.address);
        self.desk.stats.connect_failures += 1;
        tracing::debug!(%address, %error, attempt = connector.attempts, "cannot connect");
        self.delivery.connect_failed(&mut self.desk, token, address, error);
        self.attempt_later(key, false);
    }

    /// Waits for the next attempt, or gives up.
    fn attempt_later(&mut self, key: Key, is_final: bool) {
        let Some(connector) = self.connectors.get_mut(key) else { return };
        let reconnect = connector.request.options.reconnect.filter(|reconnect| {
            !is_final && !self.is_stopping && reconnect.attempts.is_none_or(|limit| connector.attempts <= limit)
        });
        let Some(reconnect) = reconnect else {
            self.connectors.remove(key);
            return self.hub.release_session(self.index);
        };
        connector.is_waiting = true;
        self.timers.insert(self.desk.now + connector.wait, Timer::Connector(key));
        connector.wait = (connector.wait * 2).min(reconnect.longest_wait);
    }

    /// No connection with this token is to be made any more.
    pub(super) fn cancel_connectors(&mut self, token: u64) {
        let connectors = self.connectors.iter().filter(|(_, connector)| connector.request.token == token);
        for key in connectors.map(|(key, _)| key).collect::<Vec<_>>() {
            let Some(connector) = self.connectors.get_mut(key) else { continue };
            connector.request.options.reconnect = None;
            let error = Error::new(ErrorCode::Cancelled, "the connection is not wanted any more");
            if connector.is_waiting {
                // The timer finds nothing when it is due.
                self.attempt_failed(key, &error);
                continue;
            }
            let bits = NonZeroU64::new(key.to_bits());
            let is_attempt = |seat: &Seat| seat.connector == bits && seat.session.link.is_connecting();
            let attempt = self.sessions.iter().find(|(_, seat)| is_attempt(seat)).map(|(session, _)| session);
            if let Some(session) = attempt {
                self.keep_error(key, error);
                self.close_session(session, CloseReason::Requested, CloseHow::Abort);
            }
        }
    }

    /// The service stops: what waits for its next attempt waits no longer.
    pub(super) fn end_waiting_connectors(&mut self) {
        let waiting = self.connectors.iter().filter(|(_, connector)| connector.is_waiting).map(|(key, _)| key);
        for key in waiting.collect::<Vec<_>>() {
            self.connectors.remove(key);
            self.hub.release_session(self.index);
        }
    }
}
