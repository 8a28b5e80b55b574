//! The handle by which other threads reach a provider.

use std::net::SocketAddr;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::mailbox::Mailbox;
use crate::buffer::SendBuffer;
use crate::error::{Error, ErrorCode, Rejected, Result};
use crate::operation::{CloseMode, RegionId, SocketId};
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
    mailbox: Arc<Mailbox<Posted>>,
}

/// A request that was posted, to cancel it by. Unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// Counted for the whole process, so that a ticket of one provider means nothing to another.
static TICKETS: AtomicU64 = AtomicU64::new(1);

/// What another thread asks the owner to do.
#[derive(Debug)]
pub(super) enum Request {
    Attach(Socket),
    Close(SocketId, CloseMode),
    Accept(SocketId),
    AcceptStream(SocketId),
    Connect(SocketId, SocketAddr),
    Send(SocketId, SharedBytes),
    Receive(SocketId, Box<[u8]>),
    ReceiveStream(SocketId),
    /// The range is in bytes of the region.
    SendRegistered(SocketId, RegionId, Range<usize>),
    ReceiveRegistered(SocketId, RegionId, Range<usize>),
    /// The deadline, so that time spent in the mailbox counts.
    Timeout(Instant),
    Cancel(Ticket),
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) ticket: Ticket,
    pub(super) context: u64,
    pub(super) request: Request,
}

impl Remote {
    pub(super) const fn new(mailbox: Arc<Mailbox<Posted>>) -> Self {
        Self { mailbox }
    }

    /// Hands a socket over. The completion has the kind [`OpKind::Attach`](crate::OpKind::Attach) and carries
    /// [`Payload::Attached`](crate::Payload::Attached) with the id, or the socket and the reason.
    ///
    /// # Errors
    /// See the type; the socket comes back.
    pub fn attach(&self, socket: Socket, context: u64) -> Result<Ticket, Rejected<Socket>> {
        self.post_content(context, socket, Request::Attach)
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
        self.post_content(context, bytes, |bytes| Request::Send(socket, bytes))
    }

    /// Receives once into `memory`, which the completion carries, filled or not.
    ///
    /// # Errors
    /// See the type; the memory comes back.
    pub fn receive(&self, socket: SocketId, memory: Box<[u8]>, context: u64) -> Result<Ticket, Rejected<Box<[u8]>>> {
        self.post_content(context, memory, |memory| Request::Receive(socket, memory))
    }

    /// Receives until the end of the stream; the leases arrive with the owner.
    ///
    /// # Errors
    /// See the type.
    pub fn receive_stream(&self, socket: SocketId, context: u64) -> Result<Ticket> {
        self.post(context, Request::ReceiveStream(socket))
    }

    /// Sends a range of bytes out of a region that the owner has registered, and whose bytes only the owner can write.
    ///
    /// # Errors
    /// See the type.
    pub fn send_registered(
        &self,
        socket: SocketId,
        region: RegionId,
        range: Range<usize>,
        context: u64,
    ) -> Result<Ticket> {
        self.post(context, Request::SendRegistered(socket, region, range))
    }

    /// Receives once into a range of bytes of a region that the owner has registered, and whose bytes only the owner can read.
    ///
    /// # Errors
    /// See the type.
    pub fn receive_registered(
        &self,
        socket: SocketId,
        region: RegionId,
        range: Range<usize>,
        context: u64,
    ) -> Result<Ticket> {
        self.post(context, Request::ReceiveRegistered(socket, region, range))
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
        Ok(self.post_content(context, request, |request| request)?)
    }

    /// Posts the request that is made of `content`, which comes back if it is refused.
    fn post_content<T>(
        &self,
        context: u64,
        content: T,
        request: impl FnOnce(T) -> Request,
    ) -> Result<Ticket, Rejected<T>> {
        let ticket = Ticket(TICKETS.fetch_add(1, Ordering::Relaxed));
        self.mailbox.post(content, |content| Posted { ticket, context, request: request(content) })?;
        Ok(ticket)
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
