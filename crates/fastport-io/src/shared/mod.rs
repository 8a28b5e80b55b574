//! One provider, many threads: the owner's [`SharedProvider`] and the [`Remote`] handles of the others.
//!
//! ```text
//!   thread A ── Remote ──┐   mailbox (bounded)                      owner's thread
//!   thread B ── Remote ──┼──▶ request, request, … ──▶ process_completions ──▶ provider
//!   thread C ── Remote ──┘   wakes the owner             └──▶ completions of all requests, in the owner's batch
//! ```
//!
//! # Threads
//! The provider stays with the thread that opened it. A [`Remote`] is `Send`, `Sync` and cheap to clone; posting costs a
//! short lock, and a wake if the owner sleeps and was not woken already. What comes of a request arrives in a batch of the
//! owner's, with the context that was posted with it: the owner knows what to do with it, or passes it on.
//!
//! # Order
//! The requests of one thread are submitted in the order in which it posted them. Between threads, and between requests and
//! what the owner submits itself, there is no order. The owner takes the requests at the beginning of
//! [`process_completions`](AsyncIoProvider::process_completions) and of [`flush`](AsyncIoProvider::flush), all that have
//! arrived at once.
//!
//! # Refusals
//! A request is refused to its poster, and what it carried comes back, while the mailbox is full (`NoResources`) and after
//! the provider was dropped (`NotInitialized`). What only the provider can refuse (a dead socket, a busy lane) becomes a
//! completion with that error, and with what the request carried where a completion can carry it. So each accepted
//! request has exactly one final completion, except a cancellation, which has none of its own.
//!
//! # The end
//! Dropping the [`SharedProvider`] drops the requests that it has not taken; sockets among them are closed. As with
//! operations in flight at that moment, there is nobody left to deliver their completions to.

mod mailbox;
mod remote;
#[cfg(all(test, not(fastport_loom)))]
mod tests;
#[cfg(all(test, fastport_loom))]
mod threads;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::mailbox::Mailbox;
use self::remote::{Posted, Request};
pub use self::remote::{Remote, SharedBytes, Ticket};
use crate::buffer::{BufferPool, PoolConfig, ReceiveBuffer, Region, SendBuffer, SendBuffers};
use crate::config::ProviderConfig;
use crate::error::{Error, Rejected, Result};
use crate::info::ProviderInfo;
use crate::operation::{
    CloseMode, Completion, CompletionBatch, Direction, OpId, OpKind, Payload, RegionId, SendAtOnce, SocketId,
};
use crate::provider::AsyncIoProvider;
use crate::slab::Key;
use crate::socket::Socket;
use crate::stats::ProviderStats;
use crate::waker::Waker;

/// A provider that other threads can submit to. It is itself an [`AsyncIoProvider`], for its owner's thread.
#[derive(Debug)]
pub struct SharedProvider<P> {
    // Declared, and so dropped, first: when the provider goes, nobody can post to it any more.
    mailbox: OwnersEnd,
    provider: P,
    /// Completions of requests that made no operation: refused ones, and sockets that were attached.
    answers: VecDeque<Completion>,
    /// Operations in flight that were requested, both ways.
    ops: HashMap<Ticket, OpId>,
    tickets: HashMap<OpId, Ticket>,
    /// Empty; kept for its memory.
    taken: Vec<Posted>,
}

impl<P: AsyncIoProvider> SharedProvider<P> {
    /// The limit of the mailbox of a provider that was made by [`AsyncIoProvider::open`].
    pub const DEFAULT_MAILBOX_LIMIT: usize = 4096;

    /// Makes `provider` reachable, by a mailbox that holds at most `mailbox_limit` requests.
    ///
    /// # Panics
    /// If the limit is 0.
    pub fn new(provider: P, mailbox_limit: usize) -> Self {
        assert!(mailbox_limit > 0, "a mailbox holds at least one request");
        Self {
            mailbox: OwnersEnd(Arc::new(Mailbox::new(mailbox_limit, provider.waker()))),
            provider,
            answers: VecDeque::new(),
            ops: HashMap::new(),
            tickets: HashMap::new(),
            taken: Vec::new(),
        }
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote {
        Remote::new(Arc::clone(&self.mailbox.0))
    }

    /// Submits what has arrived in the mailbox.
    fn take_requests(&mut self, then_sleep: bool) {
        // A caller who makes no room for answers gets no further ones: the mailbox fills up, and posters are told.
        if !self.answers.is_empty() {
            return;
        }
        let mut requests = std::mem::take(&mut self.taken);
        if then_sleep {
            self.mailbox.0.take_before_sleep(&mut requests);
        } else {
            self.mailbox.0.take(&mut requests);
        }
        for posted in requests.drain(..) {
            self.submit(posted);
        }
        self.taken = requests;
    }

    fn submit(&mut self, posted: Posted) {
        let Posted { ticket, context, request } = posted;
        let provider = &mut self.provider;
        let (kind, submitted) = match request {
            Request::Attach(socket) => return self.attach_posted(socket, context),
            Request::Cancel(other) => return self.cancel_posted(other),
            Request::Send(socket, bytes) => {
                let sent = provider.send(socket, SendBuffer::from(bytes).into(), context);
                (OpKind::Send, sent.map_err(|rejected| (rejected.error, Payload::None)))
            }
            Request::Receive(socket, memory) => {
                let received = provider.receive(socket, memory.into(), context);
                (OpKind::Receive, received.map_err(|rejected| (rejected.error, Payload::Buffer(rejected.returned))))
            }
            Request::ReceiveStream(socket) => (OpKind::ReceiveStream, plain(provider.receive_stream(socket, context))),
            Request::SendRegistered(socket, region, range) => {
                let sent = provider.send_registered(socket, region, range.start, range.len(), context);
                (OpKind::Send, plain(sent))
            }
            Request::ReceiveRegistered(socket, region, range) => {
                let received = provider.receive_registered(socket, region, range.start, range.len(), context);
                (OpKind::Receive, plain(received))
            }
            Request::Accept(socket) => (OpKind::Accept, plain(provider.accept(socket, context))),
            Request::AcceptStream(socket) => (OpKind::AcceptStream, plain(provider.accept_stream(socket, context))),
            Request::Connect(socket, address) => (OpKind::Connect, plain(provider.connect(socket, &address, context))),
            Request::Close(socket, mode) => (OpKind::Close, plain(provider.close(socket, mode, context))),
            Request::Timeout(deadline) => {
                let delay = deadline.saturating_duration_since(Instant::now());
                (OpKind::Timeout, plain(provider.timeout(delay, context)))
            }
        };
        match submitted {
            Ok(op) => {
                self.ops.insert(ticket, op);
                self.tickets.insert(op, ticket);
            }
            Err((error, payload)) => self.answer(kind, context, Err(error), payload),
        }
    }

    fn attach_posted(&mut self, socket: Socket, context: u64) {
        match self.provider.attach(socket) {
            Ok(id) => self.answer(OpKind::Attach, context, Ok(0), Payload::Attached(id)),
            Err(rejected) => {
                self.answer(OpKind::Attach, context, Err(rejected.error), Payload::Socket(rejected.returned));
            }
        }
    }

    fn cancel_posted(&mut self, ticket: Ticket) {
        // Finished, refused, or a stranger's: as harmless as cancelling any other dead operation.
        if let Some(&op) = self.ops.get(&ticket)
            && let Err(error) = self.provider.cancel(op)
        {
            tracing::debug!(%error, "a cancellation that was posted came to nothing");
        }
    }

    fn answer(&mut self, kind: OpKind, context: u64, result: Result<u32>, payload: Payload) {
        self.answers.push_back(Completion { context, op: NO_OPERATION, kind, more: false, result, payload });
    }

    /// Ends the tickets of the operations that are finished.
    fn forget_finished(&mut self, batch: &CompletionBatch, from: usize) {
        if self.tickets.is_empty() {
            return;
        }
        for completion in batch.iter().skip(from).filter(|completion| !completion.more) {
            if let Some(ticket) = self.tickets.remove(&completion.op) {
                self.ops.remove(&ticket);
            }
        }
    }
}

/// Stands where a request made no operation. Never alive: generations start at 1.
const NO_OPERATION: OpId = OpId(Key { index: 0, generation: 0 });

fn plain(submitted: Result<OpId>) -> Result<OpId, (Error, Payload)> {
    submitted.map_err(|error| (error, Payload::None))
}

/// Closes the mailbox when the provider goes.
#[derive(Debug)]
struct OwnersEnd(Arc<Mailbox<Posted>>);

impl Drop for OwnersEnd {
    fn drop(&mut self) {
        // Dropping sockets closes them, which takes its time and no lock.
        drop(self.0.close());
    }
}

/// What takes the requests stands first; everything else is the provider's own.
impl<P: AsyncIoProvider> AsyncIoProvider for SharedProvider<P> {
    /// Takes the requests that were posted, then does as the provider does. A request that arrives during the wait ends
    /// it, like a [`Waker`], and is submitted by the next call.
    fn process_completions(&mut self, batch: &mut CompletionBatch, timeout: Option<Duration>) -> Result<usize> {
        let before = batch.len();
        self.take_requests(timeout != Some(Duration::ZERO));
        while batch.room() > 0
            && let Some(answer) = self.answers.pop_front()
        {
            batch.push(answer);
        }
        let answered = batch.len();
        let timeout = if answered > before { Some(Duration::ZERO) } else { timeout };
        let processed = self.provider.process_completions(batch, timeout);
        self.mailbox.0.awake();
        processed?;
        self.forget_finished(batch, answered);
        Ok(batch.len() - before)
    }

    fn flush(&mut self) -> Result<usize> {
        self.take_requests(false);
        self.provider.flush()
    }

    fn open(config: &ProviderConfig) -> Result<Self> {
        P::open(config).map(|provider| Self::new(provider, Self::DEFAULT_MAILBOX_LIMIT))
    }

    fn info(&self) -> &ProviderInfo {
        self.provider.info()
    }

    fn stats(&self) -> ProviderStats {
        self.provider.stats()
    }

    fn waker(&self) -> Waker {
        self.provider.waker()
    }

    fn now(&self) -> Instant {
        self.provider.now()
    }

    fn create_socket(&mut self, address: &SocketAddr) -> Result<Socket> {
        self.provider.create_socket(address)
    }

    fn attach(&mut self, socket: Socket) -> Result<SocketId, Rejected<Socket>> {
        self.provider.attach(socket)
    }

    fn detach(&mut self, socket: SocketId) -> Result<Socket> {
        self.provider.detach(socket)
    }

    fn socket(&self, socket: SocketId) -> Result<&Socket> {
        self.provider.socket(socket)
    }

    fn shut_down_socket(&mut self, socket: SocketId, direction: Direction) -> Result<()> {
        self.provider.shut_down_socket(socket, direction)
    }

    fn close(&mut self, socket: SocketId, mode: CloseMode, context: u64) -> Result<OpId> {
        self.provider.close(socket, mode, context)
    }

    fn accept(&mut self, listener: SocketId, context: u64) -> Result<OpId> {
        self.provider.accept(listener, context)
    }

    fn accept_stream(&mut self, listener: SocketId, context: u64) -> Result<OpId> {
        self.provider.accept_stream(listener, context)
    }

    fn connect(&mut self, socket: SocketId, address: &SocketAddr, context: u64) -> Result<OpId> {
        self.provider.connect(socket, address, context)
    }

    fn send(&mut self, socket: SocketId, buffers: SendBuffers, context: u64) -> Result<OpId, Rejected<SendBuffers>> {
        self.provider.send(socket, buffers, context)
    }

    const SENDS_AT_ONCE: usize = P::SENDS_AT_ONCE;

    fn send_at_once(&mut self, sends: &mut [SendAtOnce<'_>]) {
        self.provider.send_at_once(sends);
    }

    fn receive(
        &mut self,
        socket: SocketId,
        buffer: ReceiveBuffer,
        context: u64,
    ) -> Result<OpId, Rejected<ReceiveBuffer>> {
        self.provider.receive(socket, buffer, context)
    }

    fn receive_stream(&mut self, socket: SocketId, context: u64) -> Result<OpId> {
        self.provider.receive_stream(socket, context)
    }

    fn timeout(&mut self, delay: Duration, context: u64) -> Result<OpId> {
        self.provider.timeout(delay, context)
    }

    fn cancel(&mut self, op: OpId) -> Result<()> {
        self.provider.cancel(op)
    }

    fn receive_pool(&self) -> &BufferPool {
        self.provider.receive_pool()
    }

    fn create_pool(&mut self, config: &PoolConfig) -> Result<BufferPool> {
        self.provider.create_pool(config)
    }

    fn register_region(&mut self, region: Region) -> Result<RegionId, Rejected<Region>> {
        self.provider.register_region(region)
    }

    fn unregister_region(&mut self, region: RegionId) -> Result<Region> {
        self.provider.unregister_region(region)
    }

    fn region_mut(&mut self, region: RegionId) -> Result<&mut [u8]> {
        self.provider.region_mut(region)
    }

    fn send_registered(
        &mut self,
        socket: SocketId,
        region: RegionId,
        offset: usize,
        length: usize,
        context: u64,
    ) -> Result<OpId> {
        self.provider.send_registered(socket, region, offset, length, context)
    }

    fn receive_registered(
        &mut self,
        socket: SocketId,
        region: RegionId,
        offset: usize,
        length: usize,
        context: u64,
    ) -> Result<OpId> {
        self.provider.receive_registered(socket, region, offset, length, context)
    }
}
