//! What a handler can do with the session whose event it handles.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::BufMut;
use fastport_io::slab::Key;
use fastport_io::{BufferPool, ByteRing, Lease};

use crate::error::SendError;
use crate::framer::{Framer, PacketFramer};
use crate::options::SessionOptions;
use crate::packet::{PacketId, PacketView};
use crate::service::{Command, Handle, ServiceStats, SharedFrame};
use crate::session::{CloseHow, CloseReason, Link, SessionId, SessionStats};

/// Frames below this size are copied when they are forwarded: the copy costs less than holding a whole receive buffer.
const FORWARDED_BYTES: usize = 1024;

/// A session with more segments than this has forwarded frames copied: a slow peer must not hold the receive buffers that
/// fast ones need.
const FORWARDED_SEGMENTS: usize = 4;

/// The session whose event is being handled.
///
/// What is sent is gathered and goes out when the worker has handled the batch of events at hand, in one operation for each
/// session.
#[derive(Debug)]
pub struct Context<'a, F: Framer = PacketFramer> {
    place: Place<'a, F>,
}

/// Which thread the handler runs on.
enum Place<'a, F: Framer> {
    Inline(Inline<'a, F>),
    Pool(Remote<'a, F>),
}

/// On the session's own worker.
pub(crate) struct Inline<'a, F: Framer> {
    pub(crate) link: &'a mut Link,
    pub(crate) desk: &'a mut Desk<F>,
    /// Where the packet at hand lies, unless it was put together.
    pub(crate) lease: Option<&'a Lease>,
}

/// What a worker needs for each session and has only once.
pub(crate) struct Desk<F> {
    pub(crate) framer: F,
    /// For what is sent and for frames in pieces.
    pub(crate) pool: BufferPool,
    pub(crate) receive_pool: BufferPool,
    pub(crate) options: SessionOptions,
    /// The time of the batch at hand.
    pub(crate) now: Instant,
    /// Sessions to look after at the end of the batch.
    pub(crate) dirty: Vec<Key>,
    /// In all send queues, as far as [`Desk::count_queued`] was told.
    pub(crate) queued_bytes: usize,
    pub(crate) stats: ServiceStats,
    pub(crate) handle: Handle,
}

impl<F> Desk<F> {
    /// Notes that a session may have something to do.
    #[inline]
    pub(crate) fn mark_dirty(&mut self, link: &mut Link) {
        if !link.is_dirty {
            link.is_dirty = true;
            self.dirty.push(link.id.key());
        }
    }

    /// Notes how long a session's send queue is.
    #[inline]
    pub(crate) fn count_queued(&mut self, link: &mut Link) {
        let (before, now) = link.count_queued();
        self.queued_bytes = self.queued_bytes + now - before;
    }

    /// The peer's stream has ended, and what came before has been handled.
    pub(crate) fn peer_ended(&mut self, link: &mut Link) {
        link.peer_ended();
        self.mark_dirty(link);
    }

    /// Ends a session; carried out at the end of the batch.
    pub(crate) fn close(&mut self, link: &mut Link, reason: CloseReason, how: CloseHow) {
        link.close(reason, how);
        self.mark_dirty(link);
    }
}

/// On a handler thread; what it does travels to the worker.
pub(crate) struct Remote<'a, F: Framer> {
    pub(crate) session: SessionId,
    pub(crate) peer: SocketAddr,
    pub(crate) stats: SessionStats,
    pub(crate) now: Instant,
    pub(crate) framer: &'a F,
    pub(crate) handle: &'a Handle,
    /// Messages are encoded here, then copied into a frame that can travel.
    pub(crate) scratch: &'a mut ByteRing,
    pub(crate) outbox: &'a mut Vec<Command>,
    /// The handler has ended the session.
    pub(crate) is_closing: &'a mut bool,
}

impl<'a, F: Framer> Context<'a, F> {
    pub(crate) const fn inline(inline: Inline<'a, F>) -> Self {
        Self { place: Place::Inline(inline) }
    }

    pub(crate) const fn remote(remote: Remote<'a, F>) -> Self {
        Self { place: Place::Pool(remote) }
    }

    /// The session. It may be kept, and used with a [`Handle`] from anywhere.
    pub fn id(&self) -> SessionId {
        match &self.place {
            Place::Inline(inline) => inline.link.id,
            Place::Pool(remote) => remote.session,
        }
    }

    /// The other end of the connection.
    pub fn peer_address(&self) -> SocketAddr {
        match &self.place {
            Place::Inline(inline) => inline.link.peer,
            Place::Pool(remote) => remote.peer,
        }
    }

    /// The time at which the event came in, read once for a batch of events.
    pub fn now(&self) -> Instant {
        match &self.place {
            Place::Inline(inline) => inline.desk.now,
            Place::Pool(remote) => remote.now,
        }
    }

    /// The session's counts; on a handler thread those of the moment at which the event came in.
    pub fn stats(&self) -> SessionStats {
        match &self.place {
            Place::Inline(inline) => inline.link.stats,
            Place::Pool(remote) => remote.stats,
        }
    }

    /// A handle for the whole service, to be kept or given to other threads.
    pub fn handle(&self) -> &Handle {
        match &self.place {
            Place::Inline(inline) => &inline.desk.handle,
            Place::Pool(remote) => remote.handle,
        }
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// `Full` if the peer reads too slowly: then the session is being closed, or, under
    /// [`Overflow::Refuse`](crate::Overflow::Refuse), `writable` tells when to go on. `Closed` if the session is being
    /// closed, `TooLarge` for a payload beyond the framer's maximum.
    #[inline]
    pub fn send(&mut self, id: impl Into<PacketId>, payload: &[u8]) -> Result<(), SendError> {
        let framer = match &self.place {
            Place::Inline(inline) => &inline.desk.framer,
            Place::Pool(remote) => remote.framer,
        };
        if payload.len() > framer.max_payload_bytes() {
            return Err(SendError::TooLarge);
        }
        self.send_with(id, payload.len(), |target| target.put_slice(payload))
    }

    /// Sends a packet whose payload is written by `write`, straight into the memory that it is sent from: a slice of
    /// `most_payload_bytes` bytes, whose beginning `write` moves behind what it has written, as [`bytes::BufMut`] and
    /// [`std::io::Write`] do. What stands before is the payload; it may be shorter than announced, so a message need not know its
    /// length before it is encoded. (Where a slow session's ring goes round its end, it is written elsewhere and copied.)
    ///
    /// ```no_run
    /// # use bytes::BufMut;
    /// # fn reply(session: &mut fastport::Context<'_>, name: &str) -> Result<(), fastport::SendError> {
    /// session.send_with(7, 4 + name.len(), |target| {
    ///     target.put_u32(name.len() as u32);
    ///     target.put_slice(name.as_bytes());
    /// })
    /// # }
    /// ```
    /// # Errors
    /// As [`Context::send`]. `Full`, which is about what was announced, and `Closed` are said before `write` is called;
    /// `TooLarge` is about what it has written.
    ///
    /// # Panics
    /// If 4 GiB or more are announced.
    #[inline]
    pub fn send_with(
        &mut self,
        id: impl Into<PacketId>,
        most_payload_bytes: usize,
        write: impl FnOnce(&mut &mut [u8]),
    ) -> Result<(), SendError> {
        match &mut self.place {
            Place::Inline(inline) => inline.send_with(id.into(), most_payload_bytes, write),
            Place::Pool(remote) => remote.send_with(id.into(), most_payload_bytes, write),
        }
    }

    /// Sends a frame that was encoded before, and that other sessions may send too. Large frames are not copied.
    ///
    /// # Errors
    /// As [`Context::send`], except `TooLarge`.
    pub fn send_shared(&mut self, frame: SharedFrame) -> Result<(), SendError> {
        match &mut self.place {
            Place::Inline(Inline { link, desk, .. }) => {
                desk.admit(link, frame.len())?;
                link.queue.push_shared(frame, &desk.pool);
                desk.count_sent(link);
                Ok(())
            }
            Place::Pool(remote) => remote.post(frame),
        }
    }

    /// Sends a received packet on as it came. A large one is not copied: the receive buffer goes out itself, while there
    /// are receive buffers enough.
    ///
    /// # Errors
    /// As [`Context::send`].
    pub fn forward(&mut self, packet: PacketView<'_>) -> Result<(), SendError> {
        match &mut self.place {
            Place::Inline(inline) => inline.forward(packet.frame),
            Place::Pool(remote) => remote.post(packet.frame.into()),
        }
    }

    /// Ends the session gracefully: what is queued is sent, then the stream is ended, and the peer gets time to end its
    /// own. No packet is handed to the handler any more.
    pub fn close(&mut self) {
        self.end(CloseHow::Drain);
    }

    /// Ends the session at once by a reset. What is queued is dropped.
    pub fn abort(&mut self) {
        self.end(CloseHow::Abort);
    }

    fn end(&mut self, how: CloseHow) {
        match &mut self.place {
            Place::Inline(Inline { link, desk, .. }) => desk.close(link, CloseReason::Requested, how),
            Place::Pool(remote) => {
                *remote.is_closing = true;
                let key = remote.session.key();
                remote.outbox.push(Command::Close { key, reason: CloseReason::Requested, how });
            }
        }
    }
}

impl<F: Framer> Desk<F> {
    /// Checks that `bytes` more may be queued. An overflow may end the session.
    #[inline]
    fn admit(&mut self, link: &mut Link, bytes: usize) -> Result<(), SendError> {
        let admitted = link.admit(bytes, &self.options);
        if admitted == Err(SendError::Full) {
            self.mark_dirty(link);
        }
        admitted
    }

    #[inline]
    pub(crate) fn count_sent(&mut self, link: &mut Link) {
        link.stats.packets_sent += 1;
        self.stats.packets_sent += 1;
        self.mark_dirty(link);
    }
}

impl<F: Framer> Inline<'_, F> {
    #[inline]
    fn send_with(
        &mut self,
        id: PacketId,
        most_payload_bytes: usize,
        write: impl FnOnce(&mut &mut [u8]),
    ) -> Result<(), SendError> {
        let Self { link, desk, .. } = self;
        let most_frame_bytes = desk.framer.header_bytes().saturating_add(most_payload_bytes);
        desk.admit(link, most_frame_bytes)?;
        let mut framed = Ok(());
        link.queue.write(most_frame_bytes, &desk.pool, |target| {
            framed = write_frame(&desk.framer, id, target, write);
        });
        framed?;
        desk.count_sent(link);
        Ok(())
    }

    fn forward(&mut self, frame: &[u8]) -> Result<(), SendError> {
        let Self { link, desk, lease } = self;
        desk.admit(link, frame.len())?;
        let part =
            lease.filter(|_| may_be_held(link, frame, &desk.receive_pool)).and_then(|lease| lease.slice_of(frame));
        match part {
            Some(part) => link.queue.push_lease(part),
            None => link.queue.write(frame.len(), &desk.pool, |ring| ring.put_slice(frame)),
        }
        desk.count_sent(link);
        Ok(())
    }
}

/// Writes a frame whose payload is what `write` writes; nothing if that is too large.
#[inline]
fn write_frame<F: Framer>(
    framer: &F,
    id: PacketId,
    target: &mut &mut [u8],
    write: impl FnOnce(&mut &mut [u8]),
) -> Result<(), SendError> {
    let memory = std::mem::take(target);
    let (header, payload) = memory.split_at_mut(framer.header_bytes());
    let most_bytes = payload.len();
    let mut rest = payload;
    write(&mut rest);
    let payload_bytes = most_bytes.saturating_sub(rest.len());
    let framed = framer.write_header(id, payload_bytes, header);
    let frame_bytes = if framed.is_ok() { header.len() + payload_bytes } else { 0 };
    *target = &mut memory[frame_bytes..];
    Ok(framed?)
}

/// Whether a session may keep a receive buffer until it is sent.
fn may_be_held(link: &Link, frame: &[u8], receive_pool: &BufferPool) -> bool {
    if frame.len() < FORWARDED_BYTES || link.queue.segments() > FORWARDED_SEGMENTS {
        return false;
    }
    let pool = receive_pool.stats();
    pool.allocated <= pool.max_slots / 2
}

impl<F: Framer> Remote<'_, F> {
    // Inlined, it would take the registers that sending on the worker needs.
    #[inline(never)]
    fn send_with(
        &mut self,
        id: PacketId,
        most_payload_bytes: usize,
        write: impl FnOnce(&mut &mut [u8]),
    ) -> Result<(), SendError> {
        self.check()?;
        let frame = self.encode(id, most_payload_bytes, write)?;
        self.handle.announce(self.session, frame.len())?;
        self.outbox.push(Command::Send { key: self.session.key(), frame });
        Ok(())
    }

    fn encode(
        &mut self,
        id: PacketId,
        most_payload_bytes: usize,
        write: impl FnOnce(&mut &mut [u8]),
    ) -> Result<SharedFrame, SendError> {
        let most_frame_bytes = self.framer.header_bytes().saturating_add(most_payload_bytes);
        if self.scratch.capacity() < most_frame_bytes {
            *self.scratch = ByteRing::with_capacity(most_frame_bytes);
        }
        let mut framed = Ok(());
        let encode = |target: &mut &mut [u8]| framed = write_frame(self.framer, id, target, write);
        self.scratch.append(most_frame_bytes, encode).expect("the ring is empty and large enough");
        framed?;
        let frame = self.scratch.readable().0.into();
        self.scratch.clear();
        Ok(frame)
    }

    fn post(&mut self, frame: SharedFrame) -> Result<(), SendError> {
        self.check()?;
        self.handle.announce(self.session, frame.len())?;
        self.outbox.push(Command::Send { key: self.session.key(), frame });
        Ok(())
    }

    fn check(&self) -> Result<(), SendError> {
        if *self.is_closing {
            return Err(SendError::Closed);
        }
        self.handle.check(self.session)
    }
}

impl<F: Framer> std::fmt::Debug for Place<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(inline) => write!(f, "{} on its worker", inline.link.id),
            Self::Pool(remote) => write!(f, "{} on a handler thread", remote.session),
        }
    }
}
