//! io_uring (Linux 5.6 or newer).
//!
//! One ring for each provider. Operations become submission entries when they start; [`Driver::poll`] hands all of them to
//! the kernel by one call, waits, and turns completion entries into reports ([`complete`]). A send that goes out alone needs
//! no entry: [`Driver::send_at_once`] makes a call for it.
//!
//! | what | best | otherwise |
//! |---|---|---|
//! | task work | `DEFER_TASKRUN` (6.1) | `COOP_TASKRUN` (5.19), interrupts |
//! | accept stream | multishot (5.19) | one request a connection |
//! | receive stream | multishot from a buffer ring (6.0) | one request a receive from the ring (5.19); wait for readability, then receive into a pool buffer |
//! | registered region | fixed buffers (5.19 for a sparse table) | like ordinary memory |
//! | wait with a limit | in the call (5.11) | a timeout request |

mod buffer_ring;
mod complete;
mod queue;
mod refusal;
mod setup;
mod tag;

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use ::io_uring::squeue::Entry;
use ::io_uring::{opcode, squeue, types};
use rustix::event::EventfdFlags;
use rustix::io::Errno;
use socket2::SockAddr;

use self::buffer_ring::BufferRing;
use self::queue::Queue;
use self::setup::Rungs;
use self::tag::Tag;
use crate::buffer::{BufferPool, ReceiveBuffer, Region, SendBuffers};
use crate::config::ProviderConfig;
use crate::error::{Error, ErrorCode, Result};
use crate::info::{Backend, Feature, Features, ProviderInfo};
use crate::operation::{OpId, OpKind, SendAtOnce, SocketId};
use crate::proactor::{Core, Driver, MAX_REGIONS, Transfer, Work};
use crate::socket::unix;
use crate::waker::{WakeSignal, Waker};

/// The most room in the table of registered descriptors, where it is used.
const MAX_FIXED_FILES: u32 = 32_768;

/// The driver's note on an operation that waits for readiness before it is tried (again).
const NOTE_READINESS: i32 = i32::MIN;
/// No note. For a zero-copy send any other value is the result, kept until the kernel has let go of the bytes.
const NOTE_NONE: i32 = 0;

/// For a receive: wait for readiness without looking for data before (`IORING_RECVSEND_POLL_FIRST`, io_uring_enter(2)).
const POLL_FIRST: u16 = 1;

/// The io_uring driver; see the module.
pub struct IoUringDriver {
    // Declared, and so dropped, first: closing the ring ends what the kernel does with the memory below.
    queue: Queue,
    rungs: Rungs,
    buffers: Option<BufferRing>,
    pool: Option<BufferPool>,
    free_registrations: Vec<u16>,
    free_files: Vec<u32>,
    zero_copy_send_bytes: u32,
    /// Bytes of zero-copy sends that are finished, and that the kernel still reads.
    lingering: HashMap<OpId, SendBuffers>,
    wake_event: Arc<OwnedFd>,
    waker: Waker,
    info: ProviderInfo,
}

/// What the driver keeps for a socket.
#[derive(Default)]
pub(crate) struct SocketState {
    /// Its place in the table of registered descriptors, if it has one.
    file: Option<u32>,
    /// The latest receive left nothing behind, so the next one will have to wait.
    is_drained: bool,
}

/// How a request names its socket.
#[derive(Clone, Copy)]
enum Descriptor {
    Plain(types::Fd),
    Fixed(types::Fixed),
}

/// Builds an entry for either kind of descriptor.
macro_rules! entry {
    ($descriptor:expr, |$fd:ident| $build:expr) => {
        match $descriptor {
            Descriptor::Plain($fd) => $build,
            Descriptor::Fixed($fd) => $build,
        }
    };
}

impl Driver for IoUringDriver {
    type SocketState = SocketState;

    fn open(config: &ProviderConfig) -> Result<Self> {
        let config = &config.heeding_environment()?;
        let mut notes = Vec::new();
        let (ring, mut rungs) = setup::build(config, &mut notes)?;
        let mut free_registrations = Vec::new();
        if rungs.fixed_buffers {
            match ring.submitter().register_buffers_sparse(MAX_REGIONS) {
                Ok(()) => free_registrations.extend((0..MAX_REGIONS as u16).rev()),
                Err(error) => {
                    rungs.fixed_buffers = false;
                    notes.push(format!("no registered buffers: {error}"));
                }
            }
        }
        let mut free_files = Vec::new();
        if rungs.fixed_files {
            let places = fixed_files();
            match ring.submitter().register_files_sparse(places) {
                Ok(()) => free_files.extend((0..places).rev()),
                Err(error) => {
                    rungs.fixed_files = false;
                    notes.push(format!("no registered descriptors ({places} places): {error}"));
                }
            }
        }
        let zero_copy_send_bytes = match config.io_uring.zero_copy_send_bytes {
            Some(bytes) if rungs.zero_copy_send => bytes.max(1),
            Some(_) => {
                notes.push("kernel lacks zero-copy sends (6.0)".to_owned());
                u32::MAX
            }
            None => u32::MAX,
        };
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::from_os(errno.raw_os_error()).during("cannot create an eventfd"))?;
        let wake_event = Arc::new(event);
        let info = ProviderInfo {
            backend: Backend::IoUring,
            features: Features::default().with(Feature::Batching),
            queue_depth: ring.params().sq_entries(),
            completion_depth: ring.params().cq_entries(),
            max_operations: config.max_operations,
            notes,
        };
        let mut driver = Self {
            queue: Queue::new(ring, rungs.extended_wait),
            rungs,
            buffers: None,
            pool: None,
            free_registrations,
            free_files,
            zero_copy_send_bytes,
            lingering: HashMap::new(),
            waker: Waker::new(Box::new(EventSignal(Arc::clone(&wake_event)))),
            wake_event,
            info,
        };
        driver.watch_wakers();
        Ok(driver)
    }

    fn set_receive_pool(&mut self, pool: &BufferPool) -> Result<()> {
        if self.rungs.buffer_ring {
            match BufferRing::new(&self.queue.ring().submitter(), pool) {
                Ok(ring) => self.buffers = Some(ring),
                Err(error) => {
                    self.rungs.buffer_ring = false;
                    self.rungs.multishot_receive = false;
                    self.info.notes.push(error.to_string());
                }
            }
        }
        self.pool = Some(pool.clone());
        self.info.features = Features::default()
            .with(Feature::Batching)
            .with_if(self.rungs.fixed_buffers, Feature::BufferRegistration)
            .with_if(self.rungs.fixed_files, Feature::FixedFileSet)
            .with_if(self.zero_copy_send_bytes < u32::MAX, Feature::ZeroCopySend)
            .with_if(self.rungs.multishot_accept, Feature::MultishotAccept)
            .with_if(self.rungs.multishot_receive, Feature::MultishotReceive)
            .with_if(self.rungs.buffer_ring, Feature::BufferRing)
            .with_if(self.rungs.deferred_task_work, Feature::DeferredTaskWork);
        for note in &self.info.notes {
            tracing::debug!(note, "io_uring");
        }
        Ok(())
    }

    fn obtainable_buffers(&self, core: &Core<SocketState>) -> usize {
        self.buffers.as_ref().map_or(core.pool.available(), BufferRing::obtainable)
    }

    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    fn waker(&self) -> &Waker {
        &self.waker
    }

    fn attach(&mut self, core: &mut Core<SocketState>, socket: SocketId) -> Result<()> {
        if !self.rungs.fixed_files {
            return Ok(());
        }
        let Some(entry) = core.socket_mut(socket) else { return Ok(()) };
        // A full table is no error: the socket is named by its descriptor then.
        let Some(place) = self.free_files.pop() else { return Ok(()) };
        let registered = self.queue.ring().submitter().register_files_update(place, &[entry.socket.as_raw_fd()]);
        match registered {
            Ok(_) => entry.state.file = Some(place),
            Err(error) => {
                self.free_files.push(place);
                tracing::debug!(%error, "descriptor is used unregistered");
            }
        }
        Ok(())
    }

    fn detach(&mut self, core: &mut Core<SocketState>, socket: SocketId) {
        let Some(place) = core.socket_mut(socket).and_then(|entry| entry.state.file.take()) else { return };
        match self.queue.ring().submitter().register_files_update(place, &[-1]) {
            Ok(_) => self.free_files.push(place),
            Err(error) => tracing::warn!(%error, place, "a place in the table of descriptors is lost"),
        }
    }

    fn start(&mut self, core: &mut Core<SocketState>, op: OpId) {
        if !self.queue.make_room() {
            // The kernel takes nothing until completions were seen; a NOP of ours brings the operation back here.
            self.queue.push(opcode::Nop::new().build().user_data(Tag::Readiness(op).bits()));
            return;
        }
        self.submit_op(core, op);
    }

    const SENDS_AT_ONCE: usize = 1;

    #[inline]
    fn send_at_once(&mut self, core: &mut Core<SocketState>, sends: &mut [SendAtOnce<'_>]) {
        for send in sends {
            let Some(entry) = core.socket(send.socket) else { continue };
            if send.first.is_empty() || send.first.len() + send.second.len() >= self.zero_copy_send_bytes as usize {
                continue;
            }
            send.taken = match unix::send(entry.socket.system(), send.first, send.second) {
                Err(Errno::AGAIN) => Ok(0),
                taken => taken.map_err(|errno| Error::from_os(errno.raw_os_error())),
            };
        }
    }

    fn cancel(&mut self, core: &mut Core<SocketState>, op: OpId) {
        let Some(entry) = core.op(op) else { return };
        let target = match entry.note {
            NOTE_NONE => Tag::Op(op),
            NOTE_READINESS => Tag::Readiness(op),
            // The request is done, its bytes are not: nothing is left to cancel but their transmission.
            _ => return Self::discard_unsent(core, entry.socket),
        };
        self.queue.push(opcode::AsyncCancel::new(target.bits()).build().user_data(Tag::Cancel(op).bits()));
    }

    fn flush(&mut self, _core: &mut Core<SocketState>) -> Result<usize> {
        self.refill();
        if self.queue.waiting() == 0 {
            return Ok(0);
        }
        self.queue.submit(0, None)
    }

    fn poll(&mut self, core: &mut Core<SocketState>, wait: Option<Duration>, room: usize) -> Result<bool> {
        self.refill();
        let ring = self.queue.ring();
        if !ring.completion().is_empty() {
            // There is work already: hand over what is queued, and look.
            if self.queue.waiting() > 0 {
                self.queue.submit(0, None)?;
            }
        } else if wait == Some(Duration::ZERO) {
            self.queue.submit(0, None)?;
        } else {
            self.queue.submit(1, wait)?;
        }
        Ok(self.complete(core, room))
    }

    fn register_region(&mut self, region: &Region) -> Option<u32> {
        if !self.rungs.fixed_buffers {
            return None;
        }
        let place = self.free_registrations.pop()?;
        let vector = libc::iovec { iov_base: region.as_ptr().as_ptr().cast(), iov_len: region.len() };
        // SAFETY: the region stays mapped until `unregister_region`, which the core calls before it gives the region
        // back; regions that are still registered when the ring is closed are dropped after it.
        match unsafe { self.queue.ring().submitter().register_buffers_update(u32::from(place), &[vector], None) } {
            Ok(()) => Some(u32::from(place)),
            Err(error) => {
                self.free_registrations.push(place);
                tracing::warn!(
                    %error,
                    bytes = region.len(),
                    "region is used unregistered; raise the limit of locked memory ('ulimit -l')"
                );
                None
            }
        }
    }

    fn unregister_region(&mut self, registration: u32) {
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: an empty vector clears the place.
        match unsafe { self.queue.ring().submitter().register_buffers_update(registration, &[nothing], None) } {
            Ok(()) => self.free_registrations.push(registration as u16),
            Err(error) => tracing::warn!(%error, registration, "a place in the table of buffers is lost"),
        }
    }

    fn is_quiet(&self) -> bool {
        self.lingering.is_empty()
    }

    fn abandon(&mut self) {
        std::mem::forget(std::mem::take(&mut self.lingering));
        if let Some(buffers) = &mut self.buffers {
            buffers.abandon();
        }
    }
}

impl IoUringDriver {
    /// Lends free pool slots to the kernel's buffer ring.
    fn refill(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.refill();
        }
    }

    fn watch_wakers(&mut self) {
        let event = types::Fd(self.wake_event.as_raw_fd());
        self.queue.push(opcode::PollAdd::new(event, libc::POLLIN as u32).build().user_data(Tag::Wake.bits()));
    }

    fn descriptor(core: &Core<SocketState>, socket: SocketId) -> Descriptor {
        let Some(entry) = core.socket(socket) else { return Descriptor::Plain(types::Fd(INVALID_DESCRIPTOR)) };
        match entry.state.file {
            Some(place) => Descriptor::Fixed(types::Fixed(place)),
            None => Descriptor::Plain(types::Fd(entry.socket.as_raw_fd())),
        }
    }

    /// Queues the request of a started operation. There is room.
    #[inline]
    fn submit_op(&mut self, core: &mut Core<SocketState>, id: OpId) {
        let Some(op) = core.op(id) else { return };
        let (kind, socket) = (op.kind, op.socket);
        let descriptor = Self::descriptor(core, socket);
        match kind {
            OpKind::ReceiveStream => self.submit_receive_stream(core, id, descriptor),
            OpKind::Send => self.submit_send(core, id, descriptor),
            OpKind::Receive => self.submit_receive(core, id, descriptor),
            OpKind::Connect => self.submit_connect(core, id, descriptor),
            OpKind::Accept | OpKind::AcceptStream => {
                let entry = if kind == OpKind::AcceptStream && self.rungs.multishot_accept {
                    entry!(descriptor, |fd| opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build())
                } else {
                    let null = std::ptr::null_mut();
                    entry!(descriptor, |fd| {
                        opcode::Accept::new(fd, null, null.cast()).flags(libc::SOCK_CLOEXEC).build()
                    })
                };
                self.queue.push(entry.user_data(Tag::Op(id).bits()));
            }
            OpKind::Timeout | OpKind::Close | OpKind::Attach => debug_assert!(false, "{kind:?} is the proactor's own"),
        }
    }

    fn submit_receive_stream(&mut self, core: &mut Core<SocketState>, id: OpId, descriptor: Descriptor) {
        // While others wait for buffers a stream takes one at a time; a multishot request would take all there are.
        let entry = if self.rungs.multishot_receive && !core.has_parked() {
            entry!(descriptor, |fd| opcode::RecvMulti::new(fd, buffer_ring::GROUP).build())
        } else if self.rungs.buffer_ring {
            entry!(descriptor, |fd| {
                opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(buffer_ring::GROUP).build()
            })
            .flags(squeue::Flags::BUFFER_SELECT)
        } else {
            // An idle socket must hold no buffer, so readability comes first.
            return self.submit_readiness(core, id, libc::POLLIN);
        };
        self.queue.push(entry.user_data(Tag::Op(id).bits()));
    }

    /// Queues a wait until the operation can be tried (again); see `complete::on_ready`.
    fn submit_readiness(&mut self, core: &mut Core<SocketState>, id: OpId, events: i16) {
        let Some(op) = core.op_mut(id) else { return };
        op.note = NOTE_READINESS;
        let socket = op.socket;
        let entry = entry!(Self::descriptor(core, socket), |fd| opcode::PollAdd::new(fd, events as u32).build());
        self.queue.push(entry.user_data(Tag::Readiness(id).bits()));
    }

    fn submit_send(&mut self, core: &mut Core<SocketState>, id: OpId, descriptor: Descriptor) {
        let Some(Transfer { first, second, registration }) = core.transfer(id) else { return };
        // The kernel goes on by itself after a partial send where it can (5.19).
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let data = Tag::Op(id).bits();
        let bytes = first.1 + second.map_or(0, |second| second.1);
        let zero_copy =
            self.rungs.zero_copy_send && (registration.is_some() || bytes >= self.zero_copy_send_bytes as usize);
        let start = first.0.cast_const();
        if let Some(second) = second {
            return self.queue.push_send_message(first, second, |message| {
                entry!(descriptor, |fd| if zero_copy {
                    opcode::SendMsgZc::new(fd, message).flags(flags as u32).build()
                } else {
                    opcode::SendMsg::new(fd, message).flags(flags as u32).build()
                })
                .user_data(data)
            });
        }
        let entry = entry!(descriptor, |fd| if zero_copy {
            let place = registration.map(|place| place as u16);
            opcode::SendZc::new(fd, start, first.1 as u32).flags(flags).buf_index(place).build()
        } else {
            opcode::Send::new(fd, start, first.1 as u32).flags(flags).build()
        });
        self.queue.push(entry.user_data(data));
    }

    fn submit_receive(&mut self, core: &mut Core<SocketState>, id: OpId, descriptor: Descriptor) {
        let Some(Transfer { first: (start, bytes), registration, .. }) = core.transfer(id) else { return };
        let is_drained = core.op(id).and_then(|op| core.socket(op.socket)).is_some_and(|entry| entry.state.is_drained);
        let how = if self.rungs.poll_first && is_drained { POLL_FIRST } else { 0 };
        let entry: Entry = entry!(descriptor, |fd| match registration {
            Some(place) => opcode::ReadFixed::new(fd, start, bytes as u32, place as u16).build(),
            None => opcode::Recv::new(fd, start, bytes as u32).ioprio(how).build(),
        });
        self.queue.push(entry.user_data(Tag::Op(id).bits()));
    }

    fn submit_connect(&mut self, core: &mut Core<SocketState>, id: OpId, descriptor: Descriptor) {
        let Some(Work::Connect(address)) = core.op(id).map(|op| &op.work) else { return };
        let address = SockAddr::from(**address);
        self.queue.push_connect(address, |start, bytes| {
            entry!(descriptor, |fd| opcode::Connect::new(fd, start, bytes).build()).user_data(Tag::Op(id).bits())
        });
    }

    /// Receives into a pool buffer, for kernels without buffer rings. The socket is readable.
    fn submit_pool_receive(&mut self, core: &mut Core<SocketState>, id: OpId) {
        let Some(buffer) = self.pool.as_ref().and_then(BufferPool::acquire) else { return core.park(id) };
        let Some(op) = core.op_mut(id) else { return };
        op.work = Work::Receive(ReceiveBuffer::from(buffer));
        let socket = op.socket;
        let descriptor = Self::descriptor(core, socket);
        self.submit_receive(core, id, descriptor);
    }

    /// Makes the system let go of the region of a cancelled zero-copy send, which it would otherwise use until the peer has
    /// read the bytes. The connection is reset by it: a send that was cancelled midway has broken the stream anyway.
    fn discard_unsent(core: &Core<SocketState>, socket: SocketId) {
        let Some(entry) = core.socket(socket) else { return };
        let nowhere = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
        // SAFETY: the descriptor is open, and the address is as long as said; connect(2) describes AF_UNSPEC as the way
        // to dissolve a connection.
        let result = unsafe {
            libc::connect(entry.socket.as_raw_fd(), &raw const nowhere, size_of::<libc::sockaddr>() as libc::socklen_t)
        };
        if result != 0 {
            tracing::debug!(error = %std::io::Error::last_os_error(), "cannot dissolve a connection");
        }
    }

    fn fail(core: &mut Core<SocketState>, id: OpId, os_code: i32) {
        core.finish(id, Err(Error::from_os(os_code)));
    }

    fn cancelled(core: &mut Core<SocketState>, id: OpId) {
        core.finish(id, Err(Error::plain(ErrorCode::Cancelled)));
    }
}

/// A number that is never an open descriptor; the kernel answers `EBADF`.
const INVALID_DESCRIPTOR: RawFd = -1;

/// Places in a table of descriptors. The kernel grants no more than the process may open.
fn fixed_files() -> u32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(MAX_FIXED_FILES, |limit| limit.min(u64::from(MAX_FIXED_FILES)) as u32)
}

struct EventSignal(Arc<OwnedFd>);

impl WakeSignal for EventSignal {
    fn signal(&self) {
        // The counter cannot overflow: wakes coalesce, and each is read before the next one signals.
        if let Err(errno) = rustix::io::write(&*self.0, &1u64.to_ne_bytes()) {
            tracing::error!(%errno, "cannot signal a waker");
        }
    }
}
