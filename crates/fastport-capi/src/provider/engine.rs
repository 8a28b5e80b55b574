//! One backend's provider with the caller's sockets and operations. Whoever holds the [`Gate`](super::gate::Gate) uses it;
//! which thread that is may change from call to call.

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastport_io::shared::Mailbox;
use fastport_io::slab::{Key, Slab};
use fastport_io::{
    AsyncIoProvider, Completion, CompletionBatch, Error, ErrorCode, OpId, Payload, ProviderConfig, ProviderInfo,
    ProviderStats, ReceiveBuffer, Region, RegionId, Result, SendBuffer, Socket, SocketId, Visitor, Waker, with_backend,
};

use super::clock;
use super::completion::{Subject, fp_completion};
use super::request::{AcceptTarget, NumberMap, Request, Work};
use super::socket::{self, FP_NO_SOCKET, fp_socket};

/// An engine of any backend.
pub(super) trait Engine {
    fn info(&self) -> &ProviderInfo;
    fn stats(&self) -> ProviderStats;
    /// Submits what was posted, waits at most `timeout` if there is nothing to hand over, and fills `out` from its start.
    /// Returns how many it wrote; 0 also if a waker ended the wait.
    fn process(&mut self, out: &mut [fp_completion], timeout: Option<Duration>) -> Result<usize>;
    /// Submits what was posted, and hands it to the system.
    fn flush(&mut self) -> Result<()>;
    fn register_socket(&mut self, socket: fp_socket, context: u64) -> Result<()>;
    /// Ends the operations of a socket and lets go of it.
    fn unregister_socket(&mut self, socket: fp_socket) -> Result<()>;
    fn create_socket(&mut self, address: &std::net::SocketAddr) -> Result<fp_socket>;
    fn register_region(&mut self, region: Region) -> Result<RegionId>;
    fn unregister_region(&mut self, region: RegionId) -> Result<()>;
    /// Ends all operations, lets go of all sockets and closes the provider. What completed by then is returned.
    fn shut_down(self: Box<Self>) -> VecDeque<fp_completion>;
}

/// What an open engine needs to be reached by.
pub(super) struct Opened {
    pub(super) engine: Box<dyn Engine + Send>,
    pub(super) mailbox: Arc<Mailbox<Request>>,
    pub(super) waker: Waker,
}

/// Opens the engine of a backend.
pub(super) fn open(backend: fastport_io::Backend, config: &ProviderConfig) -> Result<Opened> {
    struct Open<'a>(&'a ProviderConfig);
    impl Visitor for Open<'_> {
        type Output = Result<Opened>;
        fn visit<P: AsyncIoProvider + 'static>(self) -> Result<Opened> {
            let provider = P::open(self.0)?;
            let waker = provider.waker();
            let mailbox = Arc::new(Mailbox::new(self.0.max_operations as usize, waker.clone()));
            let engine = BackendEngine {
                provider,
                mailbox: Arc::clone(&mailbox),
                taken: Vec::new(),
                batch: None,
                done: VecDeque::new(),
                sockets: NumberMap::default(),
                records: Slab::with_limit(u32::MAX - 1),
                places: vec![0; MIN_PLACES],
                drain_limit: self.0.drain_limit,
            };
            Ok(Opened { engine: Box::new(engine), mailbox, waker })
        }
    }
    with_backend(backend, Open(config))?
}

/// Completions that are collected by one look at the provider.
const BATCH: usize = 512;

/// Places for hints at first; a power of two.
const MIN_PLACES: usize = 256;

/// One look at a provider that is being drained.
const LOOK: Duration = Duration::from_millis(10);

struct BackendEngine<P> {
    provider: P,
    mailbox: Arc<Mailbox<Request>>,
    /// Empty; kept for its memory.
    taken: Vec<Request>,
    /// Empty; kept for its memory.
    batch: Option<CompletionBatch>,
    /// Completions that found no room with the caller yet.
    done: VecDeque<fp_completion>,
    sockets: NumberMap<fp_socket, Attached>,
    /// Operations with the provider. Their keys are what it knows as context.
    records: Slab<Record>,
    /// Where the record of an id was put, by the id's lowest bits: a power of two of places, more than there are records.
    /// A later id may have taken the place, so it is a hint.
    places: Vec<u32>,
    drain_limit: Duration,
}

/// A socket of the caller's that the provider works with.
#[derive(Clone, Copy)]
struct Attached {
    id: SocketId,
    context: u64,
    /// Which socket the number named then.
    identity: Option<u64>,
    /// The caller registered it, and so will unregister it before the number names another socket.
    is_registered: bool,
}

/// An operation with the provider.
struct Record {
    op: OpId,
    subject: Subject,
    accept: Option<Box<AcceptTarget>>,
}

/// Stands for an operation until the provider named it; never alive.
const NO_OPERATION: OpId = OpId::from_bits(0);

impl<P: AsyncIoProvider> BackendEngine<P> {
    fn take_requests(&mut self, then_sleep: bool) {
        let mut requests = std::mem::take(&mut self.taken);
        if then_sleep {
            self.mailbox.take_before_sleep(&mut requests);
        } else {
            self.mailbox.take(&mut requests);
        }
        for request in requests.drain(..) {
            self.submit(request);
        }
        self.taken = requests;
    }

    fn submit(&mut self, request: Request) {
        let (id, context) = match request.work {
            Work::Cancel => return self.cancel(request.operation),
            Work::Timeout(_) => (None, 0),
            _ => match self.attached(request.socket) {
                Ok(attached) => (Some(attached.id), attached.context),
                Err(error) => return self.refuse(request.subject(0), request.work, &error),
            },
        };
        let subject = request.subject(context);
        let record = Record { op: NO_OPERATION, subject, accept: None };
        let key = match self.records.insert(record) {
            Ok(key) => key,
            Err(error) => return self.refuse(subject, request.work, &error),
        };
        let submitted = self.start(id, request.work, key);
        match submitted {
            Ok(op) => {
                if let Some(record) = self.records.get_mut(key) {
                    record.op = op;
                }
                self.note_place(subject.operation, key);
            }
            Err(error) => self.complete(key, &Err(error), None),
        }
    }

    /// Submits an operation whose record is `key`.
    fn start(&mut self, id: Option<SocketId>, work: Work, key: Key) -> Result<OpId> {
        let (provider, context) = (&mut self.provider, key.to_bits());
        let id = || id.ok_or(Error::plain(ErrorCode::SocketNotRegistered));
        match work {
            Work::Send { start, bytes } => {
                let start = NonNull::new(start.cast_mut()).ok_or(Error::plain(ErrorCode::InvalidBuffer))?;
                // SAFETY: the caller keeps the memory as it is until the completion, or until the provider is shut down.
                let buffer = unsafe { SendBuffer::from_raw_parts(start, bytes) };
                Ok(provider.send(id()?, buffer.into(), context)?)
            }
            Work::Receive { start, bytes } => {
                let start = NonNull::new(start).ok_or(Error::plain(ErrorCode::InvalidBuffer))?;
                // SAFETY: as above. C's memory counts as initialised: nobody looks at it but through what was received.
                let buffer = unsafe { ReceiveBuffer::from_raw_parts(start, bytes) };
                Ok(provider.receive(id()?, buffer, context)?)
            }
            Work::SendRegistered(range) => {
                provider.send_registered(id()?, range.region, range.offset as usize, range.bytes as usize, context)
            }
            Work::ReceiveRegistered(range) => {
                provider.receive_registered(id()?, range.region, range.offset as usize, range.bytes as usize, context)
            }
            Work::Accept(target) => {
                if let Some(record) = self.records.get_mut(key) {
                    record.accept = Some(target);
                }
                provider.accept(id()?, context)
            }
            Work::Connect(address) => provider.connect(id()?, &address, context),
            Work::Timeout(deadline) => provider.timeout(deadline.saturating_duration_since(Instant::now()), context),
            Work::Cancel => Err(Error::plain(ErrorCode::InvalidArgument)),
        }
    }

    /// Completes a request that made no operation.
    fn refuse(&mut self, subject: Subject, work: Work, error: &Error) {
        if let Work::Accept(target) = work {
            target.write(FP_NO_SOCKET, None);
        }
        self.done.push_back(subject.completed(&Err(error.clone()), clock::now_ns()));
    }

    fn cancel(&mut self, operation: u32) {
        // One that is finished is as harmless as one that never was.
        if let Some(op) = self.find(operation) {
            let _ = self.provider.cancel(op);
        }
    }

    /// Remembers where the record of an id is.
    fn note_place(&mut self, operation: u32, key: Key) {
        if self.records.len() * 2 > self.places.len() {
            self.places = vec![0; self.places.len() * 2];
            for (key, record) in self.records.iter() {
                let place = record.subject.operation as usize & (self.places.len() - 1);
                self.places[place] = key.index;
            }
        }
        let place = operation as usize & (self.places.len() - 1);
        self.places[place] = key.index;
    }

    /// The operation that the caller knows by an id, if it is in flight.
    fn find(&self, operation: u32) -> Option<OpId> {
        let hint = self.places[operation as usize & (self.places.len() - 1)];
        let hinted = self.records.key_at(hint).and_then(|key| self.records.get(key));
        let is_meant = |record: &&Record| record.subject.operation == operation;
        let found = hinted.filter(is_meant);
        // One that has been in flight for long may have lost its place.
        found.or_else(|| self.records.iter().map(|(_, record)| record).find(is_meant)).map(|record| record.op)
    }

    /// The socket, which is attached now if it was not.
    fn attached(&mut self, socket: fp_socket) -> Result<Attached> {
        if let Some(&attached) = self.sockets.get(&socket) {
            // One that the caller never registered may have been closed without a word, and its number given to another.
            if attached.is_registered || attached.identity == socket::identity(socket) {
                return Ok(attached);
            }
            self.release(socket)?;
        }
        self.attach(socket, 0, false)
    }

    fn attach(&mut self, socket: fp_socket, context: u64, is_registered: bool) -> Result<Attached> {
        let attachable = socket::borrow(socket)?;
        match self.provider.attach(attachable) {
            Ok(id) => {
                let attached = Attached { id, context, identity: socket::identity(socket), is_registered };
                self.sockets.insert(socket, attached);
                Ok(attached)
            }
            Err(rejected) => {
                socket::give_back(rejected.returned);
                Err(rejected.error)
            }
        }
    }

    /// Looks at the provider once. What it has completed is written to `out`, as far as there is room, and kept otherwise.
    /// Returns how many were written.
    fn collect(&mut self, timeout: Option<Duration>, out: &mut [fp_completion]) -> Result<usize> {
        let mut batch = self.batch.take().unwrap_or_else(|| CompletionBatch::with_capacity(BATCH));
        let collected = self.provider.process_completions(&mut batch, timeout);
        let now_ns = clock::now_ns();
        let mut places = out.iter_mut();
        let mut written = 0;
        for completion in batch.drain() {
            let Some(completed) = self.translate(completion, now_ns) else { continue };
            match places.next() {
                Some(place) => {
                    *place = completed;
                    written += 1;
                }
                None => self.done.push_back(completed),
            }
        }
        self.batch = Some(batch);
        collected.map(|_| written)
    }

    /// Ends the record of a completion, which becomes one of C's.
    fn translate(&mut self, completion: Completion, now_ns: u64) -> Option<fp_completion> {
        let record = self.records.remove(Key::from_bits(completion.context))?;
        let mut completed = record.subject.completed(&completion.result, now_ns);
        if let Some(target) = record.accept {
            let accepted = match completion.payload {
                Payload::Socket(accepted) => Some(accepted),
                _ => None,
            };
            completed.accepted = self.hand_out(&target, accepted);
        }
        Some(completed)
    }

    fn complete(&mut self, key: Key, result: &Result<u32>, accepted: Option<Socket>) {
        let Some(record) = self.records.remove(key) else { return };
        let mut completed = record.subject.completed(result, clock::now_ns());
        if let Some(target) = record.accept {
            completed.accepted = self.hand_out(&target, accepted);
        }
        self.done.push_back(completed);
    }

    /// Gives an accepted connection to the caller.
    fn hand_out(&mut self, target: &AcceptTarget, accepted: Option<Socket>) -> fp_socket {
        let address = match &accepted {
            Some(accepted) if !target.address.is_null() => accepted.peer_addr().ok(),
            _ => None,
        };
        let socket = accepted.map_or(FP_NO_SOCKET, socket::give_back);
        // A number that is new to the system is no socket that we know: the old one was closed without a word.
        if socket != FP_NO_SOCKET
            && self.sockets.contains_key(&socket)
            && let Err(error) = self.release(socket)
        {
            tracing::warn!(%error, socket, "a socket that was closed while it was registered is still in use");
        }
        target.write(socket, address);
        socket
    }

    /// Ends the operations of a socket and lets go of it.
    fn release(&mut self, socket: fp_socket) -> Result<()> {
        let Some(attached) = self.sockets.get(&socket).copied() else {
            return Err(Error::new(ErrorCode::SocketNotRegistered, format!("socket {socket} is not registered")));
        };
        self.cancel_all(Some(socket));
        let deadline = Instant::now() + self.drain_limit;
        loop {
            match self.provider.detach(attached.id) {
                Ok(detached) => {
                    socket::give_back(detached);
                    self.sockets.remove(&socket);
                    return Ok(());
                }
                Err(error) if error.code() != ErrorCode::OperationPending || Instant::now() >= deadline => {
                    return Err(error);
                }
                Err(_) => drop(self.collect(Some(LOOK), &mut [])?),
            }
        }
    }

    /// Asks for the end of all operations of a socket, or of all there are.
    fn cancel_all(&mut self, socket: Option<fp_socket>) {
        let is_meant = |record: &&Record| socket.is_none_or(|socket| record.subject.socket == socket);
        for record in self.records.iter().map(|(_, record)| record).filter(is_meant) {
            // It may have completed, and wait to be collected.
            let _ = self.provider.cancel(record.op);
        }
    }
}

impl<P: AsyncIoProvider> Engine for BackendEngine<P> {
    fn info(&self) -> &ProviderInfo {
        self.provider.info()
    }

    fn stats(&self) -> ProviderStats {
        self.provider.stats()
    }

    fn process(&mut self, out: &mut [fp_completion], timeout: Option<Duration>) -> Result<usize> {
        let may_sleep = timeout != Some(Duration::ZERO) && self.done.is_empty();
        self.take_requests(may_sleep);
        let kept = out.len().min(self.done.len());
        for (place, completion) in out.iter_mut().zip(self.done.drain(..kept)) {
            *place = completion;
        }
        let timeout = if kept == 0 { timeout } else { Some(Duration::ZERO) };
        // What is kept came first, so nothing may be written behind it while some of it is left.
        let collected =
            if kept < out.len() { self.collect(timeout, &mut out[kept..]) } else { self.provider.flush().map(|_| 0) };
        if may_sleep {
            self.mailbox.awake();
        }
        collected.map(|collected| kept + collected)
    }

    fn flush(&mut self) -> Result<()> {
        self.take_requests(false);
        self.provider.flush().map(drop)
    }

    fn register_socket(&mut self, socket: fp_socket, context: u64) -> Result<()> {
        self.take_requests(false);
        if let Some(attached) = self.sockets.get_mut(&socket) {
            if attached.identity == socket::identity(socket) {
                attached.context = context;
                attached.is_registered = true;
                return Ok(());
            }
            self.release(socket)?;
        }
        self.attach(socket, context, true).map(drop)
    }

    fn unregister_socket(&mut self, socket: fp_socket) -> Result<()> {
        // What was submitted before is about this socket, too.
        self.take_requests(false);
        self.release(socket)
    }

    fn create_socket(&mut self, address: &std::net::SocketAddr) -> Result<fp_socket> {
        self.provider.create_socket(address).map(socket::give_back)
    }

    fn register_region(&mut self, region: Region) -> Result<RegionId> {
        Ok(self.provider.register_region(region)?)
    }

    fn unregister_region(&mut self, region: RegionId) -> Result<()> {
        self.take_requests(false);
        // A caller who has seen the completion may not have been seen by the provider yet.
        self.collect(Some(Duration::ZERO), &mut [])?;
        self.provider.unregister_region(region).map(drop)
    }

    fn shut_down(mut self: Box<Self>) -> VecDeque<fp_completion> {
        for request in self.mailbox.close() {
            self.submit(request);
        }
        // What can be done at once is done: a send of a few bytes goes out.
        let mut outcome = self.collect(Some(Duration::ZERO), &mut []).map(drop);
        self.cancel_all(None);
        let deadline = Instant::now() + self.drain_limit;
        while outcome.is_ok() && !self.records.is_empty() && Instant::now() < deadline {
            outcome = self.collect(Some(LOOK), &mut []).map(drop);
        }
        if self.records.is_empty() && outcome.is_ok() {
            let sockets: Vec<fp_socket> = self.sockets.keys().copied().collect();
            outcome = sockets.into_iter().try_for_each(|socket| self.release(socket));
        }
        let left: Vec<Key> = self.records.iter().map(|(key, _)| key).collect();
        if !self.sockets.is_empty() || !self.records.is_empty() {
            tracing::error!(
                operations = left.len(),
                ?outcome,
                "the system did not let go of all operations in time; the provider is leaked"
            );
            let error = Error::new(ErrorCode::OperationFailed, "the system did not let go of the operation in time");
            for key in left {
                self.complete(key, &Err(error.clone()), None);
            }
            let done = std::mem::take(&mut self.done);
            // Closing the provider would close sockets that are the caller's.
            std::mem::forget(self);
            return done;
        }
        std::mem::take(&mut self.done)
    }
}

impl AcceptTarget {
    fn write(&self, socket: fp_socket, address: Option<std::net::SocketAddr>) {
        if !self.socket.is_null() {
            // SAFETY: the caller keeps the place valid until the completion, which is not delivered yet.
            unsafe { self.socket.write(socket) };
        }
        if let Some(address) = address {
            // SAFETY: as above.
            unsafe { socket::write_address(address, self.address, self.address_bytes) };
        }
    }
}

// SAFETY: providers are not `Send` for two reasons, and neither holds here. The counts of pool buffers are not atomic, but
// all that share them are inside the engine: it starts no receive streams and hands out no pools. And a ring with
// SINGLE_ISSUER serves one thread only; `Settings::config` does without.
unsafe impl<P> Send for BackendEngine<P> {}
