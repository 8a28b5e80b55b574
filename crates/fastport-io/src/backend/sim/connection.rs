//! Connections: two directions of bytes, each in order, each with its end, and resets.
//!
//! ```text
//!   send ──▶ unsent ──segments──▶ in flight ──arrive──▶ received ──▶ receive
//!            (send buffer: what has not arrived)         (receive buffer)
//! ```
//! A segment leaves only if the receive buffer has room for it. The end of a direction travels behind its last byte. A
//! reset drops what was not received yet, on both sides, and stays: every later transfer fails.
//!
//! Closing a socket ends its direction; if bytes were received that nobody read, or if bytes arrive later, the peer is
//! told by a reset. What was accepted from a sender that closed is still delivered.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::plan::Fault;
use super::state::{Event, State};
use crate::slab::Key;

/// Which of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// The one that connected.
    Client,
    /// The one that was accepted.
    Server,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

pub(super) struct Connection {
    ends: [End; 2],
    /// The direction that starts at each side.
    pipes: [Pipe; 2],
}

struct End {
    address: SocketAddr,
    /// The socket. `None` while the connection waits in a backlog.
    endpoint: Option<Key>,
    /// The program has closed it.
    is_closed: bool,
    is_reset: bool,
    /// The program wants no more bytes.
    reading_ended: bool,
}

/// Bytes on their way, in order: first those that have arrived, then those in flight, then those that have not left.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    received: usize,
    in_flight: usize,
    end: Ending,
    /// When the line is free for the next segment.
    line_free_ns: u64,
    /// No segment arrives before the one ahead of it.
    latest_arrival_ns: u64,
}

/// How far the end of a direction has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    #[default]
    Open,
    /// Behind what has not left yet.
    Wanted,
    /// The sender gave up: nothing leaves any more, and a reset is on its way behind what is in flight.
    Cut,
    InFlight,
    Arrived,
    /// The direction was torn down; bytes of it that are on the way are dropped.
    Broken,
}

/// What a transfer achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transferred {
    /// At least one.
    Bytes(usize),
    /// The direction has ended: by the peer for a receive, by the program itself for a send.
    End,
    /// Not now.
    Nothing,
    Reset,
}

impl Connection {
    pub(super) fn new(client_endpoint: Key, client: SocketAddr, server: SocketAddr) -> Self {
        let end =
            |address, endpoint| End { address, endpoint, is_closed: false, is_reset: false, reading_ended: false };
        Self { ends: [end(client, Some(client_endpoint)), end(server, None)], pipes: Default::default() }
    }

    /// Nobody has anything to do with it any more.
    fn is_over(&self) -> bool {
        let over = |side: Side| {
            let end = &self.ends[side as usize];
            end.is_closed && self.pipes[side as usize].end >= Ending::Arrived
        };
        over(Side::Client) && over(Side::Server)
    }
}

impl State {
    // Looking

    fn end(&self, connection: Key, side: Side) -> Option<&End> {
        self.connections.get(connection).map(|connection| &connection.ends[side as usize])
    }

    pub(super) fn end_of(&self, connection: Key, side: Side) -> Option<Key> {
        self.end(connection, side)?.endpoint
    }

    pub(super) fn address_of(&self, connection: Key, side: Side) -> Option<SocketAddr> {
        self.end(connection, side).map(|end| end.address)
    }

    /// The peer's address, while there is a connection.
    pub(super) fn peer_of(&self, connection: Key, side: Side) -> Option<SocketAddr> {
        self.end(connection, side).filter(|end| !end.is_reset)?;
        self.address_of(connection, side.other())
    }

    pub(super) fn is_reset(&self, connection: Key, side: Side) -> bool {
        self.end(connection, side).is_none_or(|end| end.is_reset)
    }

    /// An accepted connection has got its socket.
    pub(super) fn adopt(&mut self, connection: Key, endpoint: Key) {
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.ends[Side::Server as usize].endpoint = Some(endpoint);
        }
    }

    // Transferring

    /// Takes bytes of a send, as many as there is room for.
    pub(super) fn send(&mut self, key: Key, side: Side, bytes: &[u8]) -> Transferred {
        let limit = self.plan.send_buffer_bytes.max(1);
        let Some(connection) = self.connections.get_mut(key) else { return Transferred::Reset };
        let pipe = &mut connection.pipes[side as usize];
        if connection.ends[side as usize].is_reset {
            return Transferred::Reset;
        }
        if pipe.end != Ending::Open {
            return Transferred::End;
        }
        let count = bytes.len().min(limit.saturating_sub(pipe.bytes.len() - pipe.received));
        if count == 0 {
            return Transferred::Nothing;
        }
        pipe.bytes.extend(&bytes[..count]);
        self.transmit(key, side);
        Transferred::Bytes(count)
    }

    /// Bytes that a receive would find.
    pub(super) fn receivable(&self, connection: Key, side: Side) -> usize {
        self.connections.get(connection).map_or(0, |connection| connection.pipes[side.other() as usize].received)
    }

    /// True if a receive would find something: bytes, the end, or a reset.
    pub(super) fn is_readable(&self, key: Key, side: Side) -> bool {
        let Some(connection) = self.connections.get(key) else { return true };
        let end = &connection.ends[side as usize];
        let pipe = &connection.pipes[side.other() as usize];
        pipe.received > 0 || pipe.end == Ending::Arrived || end.is_reset || end.reading_ended
    }

    pub(super) fn receive(&mut self, key: Key, side: Side, buffer: &mut [u8]) -> Transferred {
        let Some(connection) = self.connections.get_mut(key) else { return Transferred::Reset };
        let end = &connection.ends[side as usize];
        if end.is_reset {
            return Transferred::Reset;
        }
        let pipe = &mut connection.pipes[side.other() as usize];
        let count = pipe.received.min(buffer.len());
        if count == 0 {
            let ended = pipe.end == Ending::Arrived || end.reading_ended;
            return if ended { Transferred::End } else { Transferred::Nothing };
        }
        let (first, second) = pipe.bytes.as_slices();
        let from_first = first.len().min(count);
        buffer[..from_first].copy_from_slice(&first[..from_first]);
        buffer[from_first..count].copy_from_slice(&second[..count - from_first]);
        pipe.bytes.drain(..count);
        pipe.received -= count;
        self.counts.bytes += count as u64;
        // There is room again.
        self.transmit(key, side.other());
        Transferred::Bytes(count)
    }

    /// Sends off what the receive buffer has room for, in segments.
    fn transmit(&mut self, key: Key, from: Side) {
        loop {
            let window = self.plan.receive_buffer_bytes.max(1);
            let Some(connection) = self.connections.get_mut(key) else { return };
            let pipe = &mut connection.pipes[from as usize];
            if pipe.end > Ending::Wanted {
                return;
            }
            let unsent = pipe.bytes.len() - pipe.received - pipe.in_flight;
            let mut bytes = unsent.min(window.saturating_sub(pipe.received + pipe.in_flight));
            let all = bytes == unsent;
            if bytes == 0 && !(all && pipe.end == Ending::Wanted) {
                return;
            }
            let is_split = bytes > 1 && self.strikes(Fault::SplitSegment);
            if is_split {
                bytes = self.random.within(&(1..=bytes as u64 - 1)) as usize;
            }
            let latency_ns = self.draw_latency_ns();
            let per_second = self.plan.bytes_per_second;
            let clock_ns = self.clock_ns;
            let Some(connection) = self.connections.get_mut(key) else { return };
            let pipe = &mut connection.pipes[from as usize];
            let end = all && !is_split && pipe.end == Ending::Wanted;
            if end {
                pipe.end = Ending::InFlight;
            }
            pipe.in_flight += bytes;
            let busy_ns = per_second.map_or(0, |per_second| bytes as u64 * 1_000_000_000 / per_second.max(1));
            pipe.line_free_ns = pipe.line_free_ns.max(clock_ns) + busy_ns;
            pipe.latest_arrival_ns = pipe.latest_arrival_ns.max(pipe.line_free_ns + latency_ns);
            let arrival_ns = pipe.latest_arrival_ns;
            self.at(arrival_ns, Event::Arrive { connection: key, from, bytes, end });
            if !is_split {
                return;
            }
        }
    }

    pub(super) fn arrive(&mut self, key: Key, from: Side, bytes: usize, end: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let pipe = &mut connection.pipes[from as usize];
        if pipe.end == Ending::Broken {
            return;
        }
        pipe.in_flight -= bytes;
        pipe.received += bytes;
        if end {
            pipe.end = Ending::Arrived;
        }
        let receiver = &connection.ends[from.other() as usize];
        if receiver.is_closed && bytes > 0 {
            // Nobody will ever read this.
            return self.abort(key, from.other());
        }
        let ends = [receiver.endpoint, connection.ends[from as usize].endpoint];
        // The one has something to read, the other has room to write.
        for endpoint in ends.into_iter().flatten() {
            self.tell_all(endpoint);
        }
        self.forget_if_over(key);
    }

    // Ending

    pub(super) fn end_reading(&mut self, key: Key, side: Side) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.ends[side as usize].reading_ended = true;
        if let Some(endpoint) = connection.ends[side as usize].endpoint {
            self.tell_all(endpoint);
        }
    }

    pub(super) fn end_writing(&mut self, key: Key, side: Side) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let pipe = &mut connection.pipes[side as usize];
        if pipe.end == Ending::Open {
            pipe.end = Ending::Wanted;
            let endpoint = connection.ends[side as usize].endpoint;
            self.transmit(key, side);
            if let Some(endpoint) = endpoint {
                // A send that waits for room never gets it now.
                self.tell_all(endpoint);
            }
        }
    }

    /// The program closes its socket.
    pub(super) fn close(&mut self, key: Key, side: Side) {
        let unread = self.receivable(key, side) > 0;
        let Some(connection) = self.connections.get_mut(key) else { return };
        if unread || connection.ends[side as usize].is_reset {
            return self.abort(key, side);
        }
        connection.ends[side as usize].is_closed = true;
        self.end_writing(key, side);
        self.forget_if_over(key);
    }

    /// The program closes its socket, or its system does, by a reset.
    pub(super) fn abort(&mut self, key: Key, side: Side) {
        let latency_ns = self.draw_latency_ns();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let end = &mut connection.ends[side as usize];
        end.is_closed = true;
        let was_reset = std::mem::replace(&mut end.is_reset, true);
        let pipe = &mut connection.pipes[side as usize];
        if !was_reset {
            pipe.bytes.truncate(pipe.received + pipe.in_flight);
            if pipe.end < Ending::Cut {
                pipe.end = Ending::Cut;
            }
            let latest_ns = pipe.latest_arrival_ns;
            self.at((self.clock_ns + latency_ns).max(latest_ns), Event::Reset { connection: key, to: side.other() });
        }
        self.forget_if_over(key);
    }

    /// The network tears a connection down: both ends learn of it.
    pub(super) fn tear_down(&mut self, key: Key) {
        for side in [Side::Client, Side::Server] {
            self.reset_arrives(key, side);
        }
    }

    pub(super) fn reset_arrives(&mut self, key: Key, to: Side) {
        self.trace(to as u64);
        let Some(connection) = self.connections.get_mut(key) else { return };
        for pipe in &mut connection.pipes {
            *pipe = Pipe { end: Ending::Broken, ..Pipe::default() };
        }
        let end = &mut connection.ends[to as usize];
        end.is_reset = true;
        if let Some(endpoint) = end.endpoint {
            self.tell_all(endpoint);
        }
        self.forget_if_over(key);
    }

    fn forget_if_over(&mut self, key: Key) {
        if self.connections.get(key).is_some_and(Connection::is_over) {
            self.connections.remove(key);
        }
    }
}
