//! Accepting by `AcceptEx`: several accepts wait at a listener, each with a socket of its own.

use std::os::windows::io::AsRawSocket;

use socket2::Domain;
use windows_sys::Win32::Networking::WinSock::{
    SO_ACCEPTCONN, SO_UPDATE_ACCEPT_CONTEXT, SOCKET, SOL_SOCKET, WSA_IO_PENDING, WSAENOTCONN, getsockopt, setsockopt,
};

use super::blocks::{AcceptAddresses, Place};
use super::last_error;
use super::overlapped::{Completed, OverlappedIo, PortSocket, Posted, no_such_operation};
use crate::error::{Error, ErrorCode, Result};
use crate::operation::{OpId, OpKind, SocketId};
use crate::proactor::Core;
use crate::socket::Socket;

/// The accepting side of a listener.
pub(super) struct Listening {
    /// Of the sockets to accept.
    domain: Domain,
    pub(super) in_flight: Vec<Place>,
    /// Why the listener accepts no more. Reported when the last of the accepts in flight has ended.
    failure: Option<Error>,
}

impl OverlappedIo {
    /// Starts an accept or an accept stream.
    pub(crate) fn start_accept<S: Default + AsMut<PortSocket>>(&mut self, core: &mut Core<S>, id: OpId) -> Posted {
        let Some(listener) = core.op(id).map(|op| op.socket) else { return no_such_operation() };
        let Some(entry) = core.socket_mut(listener) else { return no_such_operation() };
        let listening = &mut entry.state.as_mut().listening;
        if listening.is_none() {
            match listener_domain(&entry.socket) {
                Ok(domain) => *listening = Some(Box::new(Listening { domain, in_flight: Vec::new(), failure: None })),
                Err(error) => return Posted::Failed(error),
            }
        }
        match self.top_up(core, id) {
            Ok(()) => Posted::Queued,
            Err(error) => Posted::Failed(error),
        }
    }

    /// An accept ended.
    pub(crate) fn on_accept<S: Default + AsMut<PortSocket>>(&mut self, core: &mut Core<S>, completed: Completed) {
        let Completed { op: id, kind, result, place, accepting } = completed;
        let Some(listener) = core.op(id).map(|op| op.socket) else { return };
        let Some((socket, listening)) = listening_of(core, listener) else { return };
        listening.in_flight.retain(|&other| other != place);
        match (result, accepting) {
            (Ok(_), Some(accepted)) => match inherit(&accepted, socket) {
                Ok(()) if kind == OpKind::Accept => return core.finish_accept(id, accepted),
                Ok(()) => core.deliver_socket(id, accepted),
                Err(error) => tracing::debug!(%error, "a connection was gone before it could be used"),
            },
            (Err(error), _) if is_lost_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted; the listener is well");
            }
            (Err(error), _) if error.is_cancelled() => {}
            (Err(error), _) => {
                listening.failure.get_or_insert(error);
                self.cancel(core, id);
            }
            (Ok(_), None) => debug_assert!(false, "an accept has its socket until its packet was taken"),
        }
        self.go_on_accepting(core, id, listener);
    }

    /// Posts what is missing, or ends the operation when nothing of it is in flight any more.
    fn go_on_accepting<S: Default + AsMut<PortSocket>>(&mut self, core: &mut Core<S>, id: OpId, listener: SocketId) {
        let cancelled = core.op(id).is_none_or(|op| op.cancelled);
        let Some((_, listening)) = listening_of(core, listener) else { return };
        if !cancelled && listening.failure.is_none() {
            if let Err(error) = self.top_up(core, id) {
                core.finish(id, Err(error));
            }
            return;
        }
        if listening.in_flight.is_empty() {
            let failure = listening.failure.take();
            core.finish(id, Err(failure.unwrap_or(Error::plain(ErrorCode::Cancelled))));
        }
    }

    /// Posts accepts until as many wait as shall. One that cannot be posted is tried again when another one has ended;
    /// that there is no other is an error.
    fn top_up<S: Default + AsMut<PortSocket>>(&mut self, core: &mut Core<S>, id: OpId) -> Result<()> {
        let Some((kind, listener)) = core.op(id).map(|op| (op.kind, op.socket)) else { return Ok(()) };
        let wanted = if kind == OpKind::AcceptStream { self.preposted_accepts } else { 1 };
        loop {
            let Some((_, listening)) = listening_of(core, listener) else { return Ok(()) };
            if listening.in_flight.len() >= wanted {
                return Ok(());
            }
            let domain = listening.domain;
            let posted = self.post_accept(core, id, listener, domain);
            let Some((_, listening)) = listening_of(core, listener) else { return Ok(()) };
            match posted {
                Ok(place) => listening.in_flight.push(place),
                Err(error) if listening.in_flight.is_empty() => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, waiting = listening.in_flight.len(), "an accept could not be posted");
                    return Ok(());
                }
            }
        }
    }

    fn post_accept<S: Default + AsMut<PortSocket>>(
        &mut self,
        core: &mut Core<S>,
        id: OpId,
        listener: SocketId,
        domain: Domain,
    ) -> Result<Place> {
        let joined = self.join(core, listener)?;
        let accepting = self.kind.socket(domain)?;
        let raw = accepting.as_raw_socket() as SOCKET;
        let place = self.blocks.take(id);
        self.blocks.keep_accepting(place, accepting);
        let mut received = 0;
        // SAFETY: both sockets are open, and stay so until the packet was taken: the listener by its operation, the other
        // one by its block. The block and the memory for addresses are the pool's, which outlives the operation.
        let accepted = unsafe {
            (self.extensions.accept)(
                joined.socket,
                raw,
                self.blocks.accept_addresses().cast(),
                0,
                AcceptAddresses::ADDRESS_BYTES,
                AcceptAddresses::ADDRESS_BYTES,
                &raw mut received,
                self.blocks.overlapped(place),
            )
        };
        if accepted != 0 {
            // A connection waited already. Its packet comes in any case, so that a crowd at the door has to wait its turn.
            if joined.skips
                && let Err(error) = self.port.post_for(self.blocks.overlapped(place))
            {
                self.blocks.put_back(place);
                return Err(Error::from(error).during("cannot accept"));
            }
            return Ok(place);
        }
        let error = last_error();
        if error == WSA_IO_PENDING {
            return Ok(place);
        }
        self.blocks.put_back(place);
        Err(Error::from_os(error).during("cannot accept"))
    }
}

/// The listener and its accepting side.
fn listening_of<S: Default + AsMut<PortSocket>>(
    core: &mut Core<S>,
    listener: SocketId,
) -> Option<(&Socket, &mut Listening)> {
    let entry = core.socket_mut(listener)?;
    Some((&entry.socket, entry.state.as_mut().listening.as_deref_mut()?))
}

/// The family of a socket that listens.
fn listener_domain(socket: &Socket) -> Result<Domain> {
    let (mut listens, mut bytes) = (0_i32, size_of::<i32>() as i32);
    // SAFETY: the socket is open; the call writes a value of the size told.
    let result = unsafe {
        getsockopt(
            socket.as_raw_socket() as SOCKET,
            SOL_SOCKET,
            SO_ACCEPTCONN,
            (&raw mut listens).cast(),
            &raw mut bytes,
        )
    };
    // Asked beforehand, because an accept on a connection may wait for ever instead of failing (Wine).
    if result != 0 || listens == 0 {
        return Err(Error::new(ErrorCode::InvalidSocket, "the socket does not listen"));
    }
    Ok(Domain::for_address(socket.local_addr()?))
}

/// Makes an accepted socket one like any other: it knows its addresses and can be shut down.
fn inherit(accepted: &Socket, listener: &Socket) -> Result<()> {
    let listener = listener.as_raw_socket() as SOCKET;
    // SAFETY: both sockets are open; the option's value is the listener's handle, of the size told.
    let result = unsafe {
        setsockopt(
            accepted.as_raw_socket() as SOCKET,
            SOL_SOCKET,
            SO_UPDATE_ACCEPT_CONTEXT,
            (&raw const listener).cast(),
            size_of::<SOCKET>() as i32,
        )
    };
    if result == 0 { Ok(()) } else { Err(Error::from_os(last_error())) }
}

/// WSAENOTCONN is what Wine says of a connection that is gone.
fn is_lost_connection(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::ConnectionReset | ErrorCode::ConnectionTimeout) || error.os_code() == WSAENOTCONN
}
