//! Handles: how any thread reaches a service and its sessions.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastport_io::slab::Key;

use super::hub::Hub;
use super::mailbox::{Command, ConnectRequest};
use super::slots::SlotState;
use super::stats::ServiceStats;
use crate::error::SendError;
use crate::options::ConnectOptions;
use crate::packet::PacketId;
use crate::session::{CloseHow, CloseReason, SessionId};

/// A whole encoded frame, shared by the sessions that send it. [`Packet::into_shared_frame`](crate::Packet::into_shared_frame)
/// makes one.
pub type SharedFrame = Arc<[u8]>;

/// Reaches a service from any thread. Cheap to clone; may outlive the service.
///
/// What a handle asks for is done by the session's worker, in the order in which one thread asks. A message that was
/// accepted is sent, unless the session ends before.
#[derive(Clone)]
pub struct Handle {
    hub: Arc<Hub>,
}

impl Handle {
    pub(crate) const fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// Sends a packet to a session.
    ///
    /// # Errors
    /// `Closed` for a session that is gone or going; `Full` for one whose peer reads too slowly, that has more than
    /// [`high_water_bytes`](crate::SessionOptions::high_water_bytes) on the way to its worker, or if the worker's mailbox is
    /// full; `TooLarge` for a payload beyond the framer's maximum. Nothing was sent then.
    pub fn send(&self, session: SessionId, id: impl Into<PacketId>, payload: &[u8]) -> Result<(), SendError> {
        self.check(session)?;
        let frame = self.hub.encode(id.into(), payload)?;
        self.send_shared(session, frame)
    }

    /// Sends a frame that was encoded before.
    ///
    /// # Errors
    /// As [`Handle::send`], except `TooLarge`.
    pub fn send_shared(&self, session: SessionId, frame: SharedFrame) -> Result<(), SendError> {
        self.announce(session, frame.len())?;
        let (key, port) = (session.key(), &self.hub.ports[session.worker()]);
        let bytes = frame.len();
        port.mailbox.offer(Command::Send { key, frame }).inspect_err(|_| port.slots.withdraw(key, bytes))
    }

    /// Sends one frame to many sessions: each worker gets one message, and large frames are not copied. Returns how many
    /// sessions take it; the others are gone, or congested.
    pub fn broadcast(&self, sessions: &[SessionId], frame: &SharedFrame) -> usize {
        let mut keys_of: Vec<Vec<Key>> = vec![Vec::new(); self.workers()];
        for session in sessions.iter().filter(|session| self.announce(**session, frame.len()).is_ok()) {
            keys_of[session.worker()].push(session.key());
        }
        let posted = keys_of.iter().zip(&self.hub.ports).filter(|(keys, _)| !keys.is_empty()).map(|(keys, port)| {
            let command = Command::Broadcast { keys: keys.as_slice().into(), frame: SharedFrame::clone(frame) };
            if port.mailbox.offer(command).is_ok() {
                return keys.len();
            }
            for &key in keys {
                port.slots.withdraw(key, frame.len());
            }
            0
        });
        posted.sum()
    }

    /// Ends a session gracefully: what is queued is sent first. False if it was gone already.
    pub fn close(&self, session: SessionId) -> bool {
        self.end(session, CloseHow::Drain)
    }

    /// Ends a session at once by a reset. False if it was gone already.
    pub fn abort(&self, session: SessionId) -> bool {
        self.end(session, CloseHow::Abort)
    }

    /// True while messages can be sent to the session.
    pub fn is_open(&self, session: SessionId) -> bool {
        self.check(session) != Err(SendError::Closed)
    }

    /// A handle for one session.
    pub fn session(&self, session: SessionId) -> SessionHandle {
        SessionHandle { handle: self.clone(), session }
    }

    /// Connects to a server. The outcome comes to the handler, as `connected` or `connect_failed` with `token`.
    ///
    /// # Errors
    /// `Full` at the limit of sessions or if the worker's mailbox is full; `Closed` when the service stops.
    pub fn connect(&self, address: SocketAddr, token: u64, options: ConnectOptions) -> Result<(), SendError> {
        if self.hub.stopped_at().is_some() {
            return Err(SendError::Closed);
        }
        let worker = self.hub.claim_session().ok_or(SendError::Full)?;
        let request = Box::new(ConnectRequest { address, token, options });
        let posted = self.hub.ports[worker].mailbox.offer(Command::Connect(request));
        if posted.is_err() {
            self.hub.release_session(worker);
        }
        posted
    }

    /// Makes no connection any more that [`connect`](Self::connect) was asked for with `token`. An attempt that is under way,
    /// or waits for its time, ends: the handler is told by `connect_failed` with [`Cancelled`](fastport_io::ErrorCode::Cancelled).
    /// A connection that stands lives on, and is not made again when it is lost.
    pub fn cancel_connect(&self, token: u64) {
        for port in &self.hub.ports {
            // A worker that has ended connects nowhere anyway.
            let _ = port.mailbox.order(Command::CancelConnect { token });
        }
    }

    /// Closes the listeners. Sessions live on.
    pub fn stop_accepting(&self) {
        for port in &self.hub.ports {
            // A worker that has ended accepts nothing anyway.
            let _ = port.mailbox.order(Command::StopAccepting);
        }
    }

    /// Stops the service without waiting: no new sessions, those that live drain for at most `drain_limit`, then the
    /// threads end. [`Service::wait`](crate::Service::wait) returns after that. The first call counts.
    pub fn stop(&self, drain_limit: Duration) {
        self.hub.stop(drain_limit);
    }

    /// Sessions now, those that are connecting or closing included.
    pub fn sessions(&self) -> usize {
        self.hub.sessions()
    }

    /// The counts of all workers together, at most one batch old.
    pub fn stats(&self) -> ServiceStats {
        self.hub.stats()
    }

    /// The counts of each worker.
    pub fn stats_by_worker(&self) -> Vec<ServiceStats> {
        self.hub.ports.iter().map(|port| port.stats.read()).collect()
    }

    /// Where the service listens.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.hub.local_addresses
    }

    /// Whether the session takes messages.
    pub(crate) fn check(&self, session: SessionId) -> Result<(), SendError> {
        let port = self.hub.ports.get(session.worker()).ok_or(SendError::Closed)?;
        as_result(port.slots.state(session.key()))
    }

    /// The same, and counts a message of so many bytes, which is posted next.
    pub(crate) fn announce(&self, session: SessionId, bytes: usize) -> Result<(), SendError> {
        let port = self.hub.ports.get(session.worker()).ok_or(SendError::Closed)?;
        as_result(port.slots.post(session.key(), bytes, self.hub.high_water_bytes))
    }

    /// A thread of the service cannot go on: the service ends.
    pub(crate) fn fail(&self, error: fastport_io::Error) {
        tracing::error!(%error, "the service stops");
        self.hub.fail(error);
    }

    /// Number of workers.
    pub(crate) fn workers(&self) -> usize {
        self.hub.ports.len()
    }

    /// Leaves what a handler thread did with one worker, and empties `commands`.
    pub(crate) fn order_all(&self, worker: usize, commands: &mut Vec<Command>) -> Result<(), SendError> {
        self.hub.ports[worker].mailbox.order_all(commands)
    }

    fn end(&self, session: SessionId, how: CloseHow) -> bool {
        if !self.is_open(session) {
            return false;
        }
        let command = Command::Close { key: session.key(), reason: CloseReason::Requested, how };
        self.hub.ports[session.worker()].mailbox.order(command).is_ok()
    }
}

fn as_result(state: SlotState) -> Result<(), SendError> {
    match state {
        SlotState::Open => Ok(()),
        SlotState::Congested => Err(SendError::Full),
        SlotState::Closed => Err(SendError::Closed),
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("sessions", &self.sessions()).finish_non_exhaustive()
    }
}

/// Reaches one session from any thread. It may be kept after the session's death: then everything says `Closed`.
#[derive(Clone, Debug)]
pub struct SessionHandle {
    handle: Handle,
    session: SessionId,
}

impl SessionHandle {
    /// The session.
    pub const fn id(&self) -> SessionId {
        self.session
    }

    /// True while messages can be sent.
    pub fn is_open(&self) -> bool {
        self.handle.is_open(self.session)
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// As [`Handle::send`].
    pub fn send(&self, id: impl Into<PacketId>, payload: &[u8]) -> Result<(), SendError> {
        self.handle.send(self.session, id, payload)
    }

    /// Sends a frame that was encoded before.
    ///
    /// # Errors
    /// As [`Handle::send_shared`].
    pub fn send_shared(&self, frame: SharedFrame) -> Result<(), SendError> {
        self.handle.send_shared(self.session, frame)
    }

    /// Ends the session gracefully. False if it was gone already.
    pub fn close(&self) -> bool {
        self.handle.close(self.session)
    }

    /// Ends the session by a reset. False if it was gone already.
    pub fn abort(&self) -> bool {
        self.handle.abort(self.session)
    }
}
