//! How connections come about: requests, backlogs, refusals.

use std::net::SocketAddr;

use super::connection::{Connection, Side};
use super::endpoint::Kind;
use super::errors::Failure;
use super::plan::Fault;
use super::state::{Event, State};
use crate::error::Result;
use crate::slab::Key;

/// How long the system waits before it repeats a request that found a full backlog. Doubled each time.
const FIRST_RETRY_NS: u64 = 1_000_000_000;

impl State {
    /// Begins to connect. How it ends is told by [`State::connect_outcome`].
    pub(super) fn connect(&mut self, key: Key, address: SocketAddr) -> Result<()> {
        let Some(endpoint) = self.endpoints.get(key) else { return Err(Failure::BadSocket.into()) };
        match endpoint.kind {
            Kind::Fresh | Kind::Failed(_) => {}
            Kind::Connecting(_) => return Err(Failure::Already.into()),
            Kind::Connected { .. } | Kind::Listening(_) => return Err(Failure::IsConnected.into()),
        }
        let local = self.bind_for_connect(key)?;
        if local.is_ipv6() != address.is_ipv6() {
            return Err(Failure::WrongFamily.into());
        }
        let Some(endpoint) = self.endpoints.get_mut(key) else { return Ok(()) };
        endpoint.kind = Kind::Connecting(address);
        endpoint.attempt += 1;
        endpoint.requests = 0;
        let attempt = endpoint.attempt;
        let limit_ns = self.plan.connect_time_limit.as_nanos() as u64;
        if self.strikes(Fault::LostConnect) {
            self.at(self.clock_ns + limit_ns, Event::Unanswered { endpoint: key, attempt });
            return Ok(());
        }
        let arrival_ns = self.clock_ns + self.draw_latency_ns();
        if self.strikes(Fault::RefusedConnect) {
            self.at(arrival_ns, Event::Refused { endpoint: key, attempt });
        } else {
            self.at(arrival_ns, Event::Request { endpoint: key, attempt });
        }
        Ok(())
    }

    /// How the connect ended; `None` while it goes on.
    pub(super) fn connect_outcome(&mut self, key: Key) -> Option<Result<()>> {
        let endpoint = self.endpoints.get_mut(key)?;
        match endpoint.kind {
            Kind::Connected { .. } => Some(Ok(())),
            Kind::Failed(failure) => {
                endpoint.kind = Kind::Fresh;
                Some(Err(failure.into()))
            }
            Kind::Fresh | Kind::Connecting(_) | Kind::Listening(_) => None,
        }
    }

    /// The socket of a connect that goes on: not closed, and not busy with a later one.
    fn connecting(&self, key: Key, attempt: u32) -> Option<(SocketAddr, SocketAddr)> {
        let endpoint = self.endpoints.get(key).filter(|endpoint| endpoint.attempt == attempt)?;
        match endpoint.kind {
            Kind::Connecting(address) => Some((endpoint.bound?, address)),
            _ => None,
        }
    }

    pub(super) fn request_arrives(&mut self, key: Key, attempt: u32) {
        let Some((client, server)) = self.connecting(key, attempt) else { return };
        let answer_ns = self.clock_ns + self.draw_latency_ns();
        let Some(listener) = self.listener_at(server) else {
            return self.at(answer_ns, Event::Refused { endpoint: key, attempt });
        };
        let Some(Kind::Listening(backlog)) = self.endpoints.get_mut(listener).map(|endpoint| &mut endpoint.kind) else {
            return;
        };
        if backlog.waiting.len() >= backlog.limit {
            return self.request_again(key, attempt);
        }
        let Ok(connection) = self.connections.insert(Connection::new(key, client, server)) else { return };
        backlog.waiting.push_back(connection);
        self.counts.connections += 1;
        self.tell_all(listener);
        self.at(answer_ns, Event::Established { connection });
    }

    /// The backlog is full: the request was dropped, and the client's system repeats it until its time is over.
    fn request_again(&mut self, endpoint: Key, attempt: u32) {
        let limit_ns = self.plan.connect_time_limit.as_nanos() as u64;
        let tried = self.endpoints.get_mut(endpoint).map_or(0, |entry| {
            entry.requests += 1;
            entry.requests
        });
        // 1 + 2 + 4 … seconds after the first request.
        let waited_ns = FIRST_RETRY_NS * ((1 << tried.min(32)) - 1);
        if waited_ns >= limit_ns {
            return self.at(self.clock_ns + limit_ns / 2, Event::Unanswered { endpoint, attempt });
        }
        self.at(self.clock_ns + (FIRST_RETRY_NS << (tried.min(32) - 1)), Event::Request { endpoint, attempt });
    }

    pub(super) fn established(&mut self, connection: Key) {
        let Some(client) = self.end_of(connection, Side::Client) else { return };
        let Some(endpoint) = self.endpoints.get_mut(client) else {
            // Closed meanwhile, which ends the connection as soon as it stands.
            return self.close(connection, Side::Client);
        };
        endpoint.kind = Kind::Connected { connection, side: Side::Client };
        self.tell_all(client);
    }

    pub(super) fn refused(&mut self, endpoint: Key, attempt: u32) {
        self.fail_connect(endpoint, attempt, Failure::Refused);
    }

    pub(super) fn unanswered(&mut self, endpoint: Key, attempt: u32) {
        self.fail_connect(endpoint, attempt, Failure::TimedOut);
    }

    fn fail_connect(&mut self, key: Key, attempt: u32, failure: Failure) {
        if self.connecting(key, attempt).is_none() {
            return;
        }
        if let Some(endpoint) = self.endpoints.get_mut(key) {
            endpoint.kind = Kind::Failed(failure);
        }
        self.tell_all(key);
    }

    /// Takes a connection out of a listener's backlog; `None` if there is none.
    pub(super) fn accept(&mut self, listener: Key) -> Option<Result<Key>> {
        let Some(endpoint) = self.endpoints.get(listener) else {
            return Some(Err(Failure::BadSocket.into()));
        };
        let Kind::Listening(backlog) = &endpoint.kind else {
            return Some(Err(Failure::Invalid.into()));
        };
        if backlog.waiting.is_empty() {
            return None;
        }
        if self.strikes(Fault::NoDescriptors) {
            return Some(Err(Failure::NoDescriptors.into()));
        }
        let Some(Kind::Listening(backlog)) = self.endpoints.get_mut(listener).map(|endpoint| &mut endpoint.kind) else {
            return None;
        };
        let more = backlog.waiting.len() > 1;
        let connection = backlog.waiting.pop_front()?;
        let local = self.address_of(connection, Side::Server)?;
        let kind = Kind::Connected { connection, side: Side::Server };
        let accepted = self.insert_endpoint(kind, local.is_ipv6(), Some(local));
        if let Ok(accepted) = accepted {
            self.adopt(connection, accepted);
        }
        if more {
            // Others that watch the listener may not have been told of the rest.
            self.tell_all(listener);
        }
        Some(accepted)
    }
}
