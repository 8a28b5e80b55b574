//! The worker's listeners.
//!
//! ```text
//!             error: no descriptors             client refused (descriptors still short)
//!  Accepting ────────────────────────▶ Refusing ◀──┐
//!    ▲   ▲ │ other error                │  │  └────┘
//!    │   │ ▼                            │  │ error
//!    │  Paused ◀────────────────────────┼──┘
//!    │   10 ms, doubling to 1 s         │
//!    └──────────────────────────────────┘ client accepted: descriptors are free again
//! ```
//!
//! When the process runs out of descriptors, clients in the backlog would wait for ever, and an acceptor that tries again
//! at once would spin. So a listener holds one descriptor in reserve: it is given up to accept one client and close it at
//! once, and so on with the next. Refusing is driven by the clients that come, and ends when there are descriptors again.

use std::net::SocketAddr;
use std::time::Duration;

use fastport_io::{AsyncIoProvider, CloseMode, Completion, Error, OpKind, Payload, Socket, SocketId};

use super::delivery::Delivery;
use super::mailbox::Command;
use super::worker::{LISTENER, Timer, Worker};
use crate::framer::Framer;
use crate::limits::{Meter, Refusal};
use crate::session::Link;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Accepting,
    Refusing,
    Paused,
    Closing,
    Closed,
}

/// A listening socket of this worker's.
pub(super) struct Listener {
    socket: SocketId,
    address: SocketAddr,
    state: State,
    /// How long the next pause is. The first client that is accepted makes it short again.
    pause: Duration,
    /// A descriptor that can be given up. `None` while it is.
    reserve: Option<Socket>,
    /// What the limit of accepts a second is measured with.
    rate: Meter,
}

impl Listener {
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}

impl<P: AsyncIoProvider, F: Framer, D: Delivery<F>> Worker<P, F, D> {
    /// Takes a listening socket over and begins to accept.
    pub(super) fn listen(&mut self, socket: Socket, address: SocketAddr) -> Result<(), Error> {
        let during = |error: Error| error.during(format_args!("cannot accept on {address}"));
        let socket = self.provider.attach(socket).map_err(|rejected| during(rejected.error))?;
        let context = LISTENER | self.listeners.len() as u64;
        self.provider.accept_stream(socket, context).map_err(during)?;
        let reserve = self.provider.create_socket(&address).ok();
        let (state, rate) = (State::Accepting, Meter::default());
        self.listeners.push(Listener { socket, address, state, pause: FIRST_PAUSE, reserve, rate });
        Ok(())
    }

    /// A client has come, or accepting has ended.
    pub(super) fn accept_completed(&mut self, completion: &mut Completion) {
        let index = (completion.context & !LISTENER) as usize;
        let Some(listener) = self.listeners.get_mut(index) else { return };
        match (&completion.result, std::mem::take(&mut completion.payload)) {
            (Ok(_), Payload::Socket(socket)) => {
                let was_refusing = completion.kind == OpKind::Accept;
                // While short of descriptors: is there another one, with the client's in hand?
                if was_refusing && !self.refill_reserve(index) {
                    let peer = socket.peer_addr();
                    drop(socket);
                    if let Ok(peer) = peer {
                        self.refuse(peer, Refusal::Exhausted);
                    }
                    return self.refuse_next(index);
                }
                self.listeners[index].pause = FIRST_PAUSE;
                self.welcome(socket, index);
                if !completion.more {
                    self.accept_again(index);
                }
            }
            (Err(error), _) if error.is_cancelled() => {}
            (Err(error), _) if listener.state == State::Accepting && error.is_exhaustion() => {
                tracing::warn!(address = %listener.address, %error, "clients are refused until descriptors are free");
                self.desk.stats.accept_pauses += 1;
                listener.state = State::Refusing;
                if listener.reserve.take().is_none() {
                    return self.pause_listener(index);
                }
                self.refuse_next(index);
            }
            (Err(error), _) => {
                tracing::debug!(address = %listener.address, %error, "accepting failed");
                self.desk.stats.accept_pauses += 1;
                self.pause_listener(index);
            }
            (Ok(_), _) => debug_assert!(false, "an accept brings a socket"),
        }
    }

    /// True if the descriptor in reserve could be taken again.
    fn refill_reserve(&mut self, index: usize) -> bool {
        let listener = &mut self.listeners[index];
        if listener.reserve.is_none() {
            listener.reserve = self.provider.create_socket(&listener.address).ok();
        }
        listener.reserve.is_some()
    }

    /// Accepts one client with the descriptor that was given up.
    fn refuse_next(&mut self, index: usize) {
        let listener = &self.listeners[index];
        if listener.state != State::Refusing {
            return;
        }
        if self.provider.accept(listener.socket, LISTENER | index as u64).is_err() {
            self.pause_listener(index);
        }
    }

    fn accept_again(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        if matches!(listener.state, State::Closing | State::Closed) {
            return;
        }
        listener.state = State::Accepting;
        if self.provider.accept_stream(listener.socket, LISTENER | index as u64).is_err() {
            self.pause_listener(index);
        }
    }

    fn pause_listener(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        if matches!(listener.state, State::Closing | State::Closed) {
            return;
        }
        listener.state = State::Paused;
        self.timers.insert(self.desk.now + listener.pause, Timer::Listener(index as u32));
        listener.pause = (listener.pause * 2).min(LONGEST_PAUSE);
    }

    /// A pause is over.
    pub(super) fn resume_listener(&mut self, index: u32) {
        let index = index as usize;
        if self.listeners.get(index).is_none_or(|listener| listener.state != State::Paused) {
            return;
        }
        if !self.refill_reserve(index) {
            return self.pause_listener(index);
        }
        self.accept_again(index);
    }

    /// A client was, or is about to be, closed because of a limit.
    fn refuse(&mut self, peer: SocketAddr, reason: Refusal) {
        tracing::debug!(%peer, reason = reason.name(), "client refused");
        let stats = &mut self.desk.stats;
        stats.refused += 1;
        match reason {
            Refusal::Sessions => stats.refused_at_maximum += 1,
            Refusal::Address => stats.refused_by_address += 1,
            Refusal::Rate => stats.refused_by_rate += 1,
            Refusal::Exhausted => {}
        }
        self.delivery.refused(&mut self.desk, peer, reason);
    }

    /// Counts a client that has come to a listener. Clients that another limit keeps out are not part of its rate.
    fn admit(&mut self, peer: SocketAddr, listener: usize) -> Result<usize, Refusal> {
        let worker = self.hub.claim_client(peer)?;
        let rate = self.limits.accepts_per_second;
        let meter = &mut self.listeners[listener].rate;
        if rate.is_some_and(|rate| !meter.take(1, rate, self.desk.now)) {
            self.hub.release_client(worker, peer);
            return Err(Refusal::Rate);
        }
        Ok(worker)
    }

    /// Gives a new client to the worker whose turn it is.
    fn welcome(&mut self, socket: Socket, listener: usize) {
        // A client that is gone already has no address.
        let Ok(peer) = socket.peer_addr() else { return };
        if self.is_stopping {
            return;
        }
        let worker = match self.admit(peer, listener) {
            Ok(worker) => worker,
            Err(reason) => return self.refuse(peer, reason),
        };
        if worker == self.index {
            return self.adopt(socket, peer);
        }
        let port = &self.hub.ports[worker];
        if port.mailbox.order(Command::Adopt { socket, peer }).is_err() {
            self.hub.release_client(worker, peer);
        }
    }

    /// Makes a session of a client. Its place was claimed.
    pub(super) fn adopt(&mut self, socket: Socket, peer: SocketAddr) {
        if self.is_stopping {
            return self.hub.release_client(self.index, peer);
        }
        // On Linux the options come with the listener's socket.
        if cfg!(not(target_os = "linux"))
            && let Err(error) = self.socket_options.apply(&socket)
        {
            tracing::debug!(%peer, %error, "a client keeps default socket options");
        }
        let now = self.desk.now;
        let seated = match self.provider.attach(socket) {
            Ok(socket) => self.seat(socket, |id| Link::open(id, peer, now)),
            Err(rejected) => Err(rejected.error),
        };
        let key = match seated {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(%peer, %error, "a client got no session");
                self.refuse(peer, Refusal::Exhausted);
                return self.hub.release_client(self.index, peer);
            }
        };
        self.desk.stats.accepted += 1;
        self.open_session(key);
        self.watch_client(key);
        let Some(seat) = self.sessions.get_mut(key) else { return };
        tracing::debug!(session = %seat.session.link.id, %peer, "client accepted");
        self.delivery.accepted(&mut seat.session.link, &mut self.desk);
    }

    /// Stops accepting for good.
    pub(super) fn close_listeners(&mut self) {
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            if matches!(listener.state, State::Closing | State::Closed) {
                continue;
            }
            listener.state = State::Closing;
            listener.reserve = None;
            let context = LISTENER | index as u64;
            if let Err(error) = self.provider.close(listener.socket, CloseMode::Graceful, context) {
                // The provider closes the socket when it ends.
                tracing::debug!(address = %listener.address, %error, "a listener could not be closed");
                listener.state = State::Closed;
            }
        }
    }

    pub(super) fn listener_closed(&mut self, context: u64) {
        if let Some(listener) = self.listeners.get_mut((context & !LISTENER) as usize) {
            listener.state = State::Closed;
        }
    }
}
