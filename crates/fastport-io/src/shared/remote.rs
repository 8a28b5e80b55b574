//! The handle by which other threads reach a provider.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mailbox::{Mailbox, Request};
use crate::buffer::SendBuffer;
use crate::error::{Error, ErrorCode, Rejected, Result};
use crate::operation::{CloseMode, SocketId};
use crate::socket::Socket;

/// Submits to a [`super::SharedProvider`] from any thread. Cheap to clone; may outlive the provider.
///
/// Each call posts one request and never waits for the owner. Threads, order and refusals are described at the
/// [module](super).
///
/// # Errors
/// Of every call: `NoResources` while the mailbox is full, `NotInitialized` after the provider was dropped.
#[derive(Clone, Debug)]
pub struct Remote {
    mailbox: Arc<Mailbox>,
}

/// A request that was posted, to cancel it by. Unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub(super) u64);

impl Remote {
    pub(super) const fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox }
    }

    /// Hands a socket over. The completion has the kind [`OpKind::Attach`](crate::OpKind::Attach) and carries
    /// [`Payload::Attached`](crate::Payload::Attached) with the id, or the socket and the reason.
    ///
    /// # Errors
    /// See the type; the socket comes back.
    pub fn attach(&self, socket: Socket, context: u64) -> Result<Ticket, Rejected<Socket>> {
        self.mailbox.post(context, socket, Request::Attach)
    }

    /// Cancels the socket's operations, then closes it.
    ///
    /// # Errors
    /// See the type.
    pub fn close(&self, socket: SocketId, mode: CloseMode, context: u64) -> Result<Ticket> {
        self.post(context, Request::Close(socket, mode))
    }

    /// Accepts one connection.
    ///
    /// # Errors
    /// See the type.
    pub fn accept(&self, listener: SocketId, context: u64) -> Result<Ticket> {
        self.post(context, Request::Accept(listener))
    }

    /// Accepts connections until cancelled.
    ///
    /// # Errors
    /// See the type.
    pub fn accept_stream(&self, listener: SocketId, context: u64) -> Result<Ticket> {
        self.post(context, Request::AcceptStream(listener))
    }

    /// Connects a socket.
    ///
    /// # Errors
    /// See the type.
    pub fn connect(&self, socket: SocketId, address: SocketAddr, context: u64) -> Result<Ticket> {
        self.post(context, Request::Connect(socket, address))
    }

    /// Sends bytes, whole. They are dropped with the final completion.
    ///
    /// # Errors
    /// See the type; also `InvalidBuffer` if there are no bytes, or 4 GiB or more. The bytes come back.
    pub fn send(
        &self,
        socket: SocketId,
        bytes: impl Into<SharedBytes>,
        context: u64,
    ) -> Result<Ticket, Rejected<SharedBytes>> {
        let bytes = bytes.into();
        if bytes.is_empty() || u32::try_from(bytes.len()).is_err() {
            let error = Error::new(ErrorCode::InvalidBuffer, "one send has at least one byte and less than 4 GiB");
            return Err(Rejected { error, returned: bytes });
        }
        self.mailbox.post(context, bytes, |bytes| Request::Send(socket, bytes))
    }

    /// Receives once into `memory`, which the completion carries, filled or not.
    ///
    /// # Errors
    /// See the type; the memory comes back.
    pub fn receive(&self, socket: SocketId, memory: Box<[u8]>, context: u64) -> Result<Ticket, Rejected<Box<[u8]>>> {
        self.mailbox.post(context, memory, |memory| Request::Receive(socket, memory))
    }

    /// Receives until the end of the stream; the leases arrive with the owner.
    ///
    /// # Errors
    /// See the type.
    pub fn receive_stream(&self, socket: SocketId, context: u64) -> Result<Ticket> {
        self.post(context, Request::ReceiveStream(socket))
    }

    /// Completes `delay` from now.
    ///
    /// # Errors
    /// See the type; also `InvalidArgument` for a delay beyond what the clock can express.
    pub fn timeout(&self, delay: Duration, context: u64) -> Result<Ticket> {
        let deadline = Instant::now().checked_add(delay).ok_or_else(|| {
            Error::new(ErrorCode::InvalidArgument, "the timeout lies beyond what the clock can express")
        })?;
        self.post(context, Request::Timeout(deadline))
    }

    /// Asks for the end of what an earlier request began. There is no completion for this call itself, and nothing
    /// happens if the operation is finished.
    ///
    /// # Errors
    /// See the type.
    pub fn cancel(&self, ticket: Ticket) -> Result<()> {
        self.post(0, Request::Cancel(ticket)).map(drop)
    }

    fn post(&self, context: u64, request: Request) -> Result<Ticket> {
        Ok(self.mailbox.post(context, request, |request| request)?)
    }
}

/// Bytes that can travel to another thread and be sent there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedBytes {
    /// The request's own.
    Owned(Box<[u8]>),
    /// Shared, for one frame to many sockets.
    Shared(Arc<[u8]>),
    /// Those of the program.
    Static(&'static [u8]),
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Static(bytes) => bytes,
        }
    }
}

impl From<Box<[u8]>> for SharedBytes {
    fn from(bytes: Box<[u8]>) -> Self {
        Self::Owned(bytes)
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(bytes.into_boxed_slice())
    }
}

impl From<Arc<[u8]>> for SharedBytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self::Shared(bytes)
    }
}

impl From<&'static [u8]> for SharedBytes {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Static(bytes)
    }
}

impl From<SharedBytes> for SendBuffer {
    /// # Panics
    /// If there are 4 GiB or more.
    fn from(bytes: SharedBytes) -> Self {
        match bytes {
            SharedBytes::Owned(bytes) => bytes.into(),
            SharedBytes::Shared(bytes) => bytes.into(),
            SharedBytes::Static(bytes) => Self::from_static(bytes),
        }
    }
}
