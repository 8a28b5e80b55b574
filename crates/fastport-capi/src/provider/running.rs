//! A provider that runs: what submitting threads need of it stands here, everything else behind the gate.

use std::collections::{HashMap, VecDeque};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use fastport_io::shared::Mailbox;
use fastport_io::{Error, ErrorCode, ProviderConfig, ProviderInfo, ProviderStats, Region, RegionId, Result, Waker};

use super::completion::fp_completion;
use super::engine::{self, Engine};
use super::gate::Gate;
use super::request::{Range, Request, Work};
use super::settings::not_initialized;
use super::socket::{FP_NO_SOCKET, fp_socket};
use crate::error::invalid;

pub(super) struct Running {
    pub(super) info: ProviderInfo,
    mailbox: Arc<Mailbox<Request>>,
    waker: Waker,
    /// A caller asked for the end of the wait, and none has ended by it yet.
    wake_asked: AtomicBool,
    next_operation: AtomicU32,
    in_flight: AtomicUsize,
    max_in_flight: usize,
    buffers: RwLock<HashMap<i32, Buffer>>,
    next_buffer: AtomicI32,
    gate: Gate<State>,
}

/// A registered buffer.
#[derive(Clone, Copy)]
struct Buffer {
    region: RegionId,
    bytes: usize,
}

enum State {
    Open(Box<dyn Engine + Send>),
    /// Shut down; what had completed by then, and the counts.
    Closed(VecDeque<fp_completion>, ProviderStats),
}

impl Running {
    pub(super) fn start(backend: fastport_io::Backend, config: &ProviderConfig) -> Result<Self> {
        let opened = engine::open(backend, config)?;
        Ok(Self {
            info: opened.engine.info().clone(),
            mailbox: opened.mailbox,
            waker: opened.waker,
            wake_asked: AtomicBool::new(false),
            next_operation: AtomicU32::new(1),
            in_flight: AtomicUsize::new(0),
            max_in_flight: config.max_operations as usize,
            buffers: RwLock::default(),
            next_buffer: AtomicI32::new(0),
            gate: Gate::new(State::Open(opened.engine)),
        })
    }

    // Submitting, from any thread

    /// Posts an operation and returns its id.
    pub(super) fn submit(&self, context: u64, socket: fp_socket, work: Work) -> Result<u32> {
        self.reserve(1)?;
        let operation = self.next_id();
        let request = Request { operation, context, socket, work };
        self.mailbox.post((), |()| request).map_err(|rejected| {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            rejected.error
        })?;
        Ok(operation)
    }

    /// Posts operations, one behind another, and tells each one's id. Returns how many were posted, and why not more.
    pub(super) fn submit_all(
        &self,
        works: impl ExactSizeIterator<Item = Result<(u64, fp_socket, Work)>>,
        mut tell: impl FnMut(usize, u32),
    ) -> (usize, Result<()>) {
        let mut fault = Ok(());
        let requests = works.enumerate().map_while(|(position, work)| {
            let request = work.and_then(|(context, socket, work)| {
                self.reserve(1)?;
                let operation = self.next_id();
                Ok((position, Request { operation, context, socket, work }))
            });
            request.map_err(|error| fault = Err(error)).ok()
        });
        let mut made = 0;
        let requests = requests.map(|(position, request)| {
            made += 1;
            tell(position, request.operation);
            request
        });
        let (posted, outcome) = self.mailbox.post_all(requests);
        self.in_flight.fetch_sub(made - posted, Ordering::Relaxed);
        (posted, outcome.and(fault))
    }

    fn reserve(&self, operations: usize) -> Result<()> {
        if self.in_flight.fetch_add(operations, Ordering::Relaxed) < self.max_in_flight {
            return Ok(());
        }
        self.in_flight.fetch_sub(operations, Ordering::Relaxed);
        Err(Error::new(
            ErrorCode::NoResources,
            format!("{} operations are in flight, which is the limit; process completions first", self.max_in_flight),
        ))
    }

    fn next_id(&self) -> u32 {
        loop {
            let id = self.next_operation.fetch_add(1, Ordering::Relaxed);
            if id != 0 {
                return id;
            }
        }
    }

    pub(super) fn cancel(&self, operation: u32) -> Result<()> {
        let request = Request { operation, context: 0, socket: FP_NO_SOCKET, work: Work::Cancel };
        Ok(self.mailbox.post((), |()| request)?)
    }

    pub(super) fn wake(&self) {
        self.wake_asked.store(true, Ordering::Release);
        self.waker.wake();
    }

    // Processing, one thread at a time

    /// Fills `out` from its start; 0 when the time is up or [`Running::wake`] ended the wait.
    pub(super) fn process(&self, out: &mut [fp_completion], timeout: Option<Duration>) -> Result<usize> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut left = timeout;
        loop {
            let turn = self.gate.process(deadline, |state| match state {
                State::Open(engine) => engine.process(out, left),
                State::Closed(done, _) if done.is_empty() => Err(not_initialized()),
                State::Closed(done, _) => {
                    let count = out.len().min(done.len());
                    for (place, completion) in out.iter_mut().zip(done.drain(..count)) {
                        *place = completion;
                    }
                    Ok(count)
                }
            });
            let count = turn.unwrap_or(Ok(0))?;
            if count > 0 {
                self.in_flight.fetch_sub(count, Ordering::Relaxed);
                return Ok(count);
            }
            if self.wake_asked.swap(false, Ordering::Acquire) || timeout == Some(Duration::ZERO) {
                return Ok(0);
            }
            if let Some(deadline) = deadline {
                left = Some(deadline.saturating_duration_since(Instant::now()));
                if left == Some(Duration::ZERO) {
                    return Ok(0);
                }
            }
        }
    }

    pub(super) fn flush(&self) -> Result<()> {
        self.visit(|engine| engine.flush())
    }

    /// Ends everything. `NotInitialized` if it has ended already.
    pub(super) fn shut_down(&self) -> Result<()> {
        let outcome = self.gate.visit(
            || self.waker.wake(),
            |state| {
                let State::Open(engine) = state else { return Err(not_initialized()) };
                let stats = engine.stats();
                let closed = State::Closed(VecDeque::new(), stats);
                let State::Open(engine) = std::mem::replace(state, closed) else { return Err(not_initialized()) };
                let completed = engine.shut_down();
                *state = State::Closed(completed, ProviderStats { pending: 0, active_sockets: 0, ..stats });
                Ok(())
            },
        );
        lock(self.buffers.write()).clear();
        outcome
    }

    // Visiting

    pub(super) fn is_open(&self) -> bool {
        self.gate.visit(|| self.waker.wake(), |state| matches!(state, State::Open(_)))
    }

    pub(super) fn stats(&self) -> ProviderStats {
        let visited = self.gate.visit(
            || self.waker.wake(),
            |state| match state {
                State::Open(engine) => engine.stats(),
                State::Closed(_, stats) => *stats,
            },
        );
        let in_flight = self.in_flight.load(Ordering::Relaxed) as u64;
        ProviderStats { pending: in_flight, ..visited }
    }

    pub(super) fn visit<R>(&self, body: impl FnOnce(&mut (dyn Engine + Send)) -> Result<R>) -> Result<R> {
        self.gate.visit(
            || self.waker.wake(),
            |state| match state {
                State::Open(engine) => body(engine.as_mut()),
                State::Closed(..) => Err(not_initialized()),
            },
        )
    }

    // Registered buffers

    pub(super) fn register_buffer(&self, start: *const u8, bytes: usize) -> Result<i32> {
        let Some(start) = NonNull::new(start.cast_mut()) else { return Err(invalid("the buffer is NULL")) };
        if bytes == 0 || u32::try_from(bytes).is_err() {
            return Err(invalid("a registered buffer has at least 1 byte and less than 4 GiB"));
        }
        let id = self.next_buffer.fetch_add(1, Ordering::Relaxed);
        if id < 0 {
            return Err(Error::new(ErrorCode::NoResources, "all numbers of buffers were used"));
        }
        // SAFETY: the caller keeps the memory valid until the buffer was unregistered or the provider shut down, and
        // leaves ranges alone that operations use.
        let region = unsafe { Region::from_raw_parts(start, bytes) };
        let region = self.visit(|engine| engine.register_region(region))?;
        lock(self.buffers.write()).insert(id, Buffer { region, bytes });
        Ok(id)
    }

    pub(super) fn unregister_buffer(&self, id: i32) -> Result<()> {
        let buffer = self.buffer(id)?;
        self.visit(|engine| engine.unregister_region(buffer.region))?;
        lock(self.buffers.write()).remove(&id);
        Ok(())
    }

    /// A part of a registered buffer.
    pub(super) fn range(&self, id: i32, offset: u32, bytes: u32) -> Result<Range> {
        let buffer = self.buffer(id)?;
        if bytes == 0 || u64::from(offset) + u64::from(bytes) > buffer.bytes as u64 {
            return Err(Error::new(
                ErrorCode::InvalidBuffer,
                format!("{bytes} bytes from offset {offset} on are not inside a buffer of {} bytes", buffer.bytes),
            ));
        }
        Ok(Range { region: buffer.region, offset, bytes })
    }

    fn buffer(&self, id: i32) -> Result<Buffer> {
        lock(self.buffers.read())
            .get(&id)
            .copied()
            .ok_or_else(|| Error::new(ErrorCode::InvalidBuffer, format!("{id} is no registered buffer")))
    }
}

fn lock<G>(locked: Result<G, PoisonError<G>>) -> G {
    locked.unwrap_or_else(PoisonError::into_inner)
}
