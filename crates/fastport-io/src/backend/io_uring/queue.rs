//! The submission queue: entries, the memory that they point to until the kernel has read them, and what to do when the
//! queue is full.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::{IoUring, opcode, squeue, types};
use rustix::io::Errno;
use socket2::SockAddr;

use super::tag::Tag;
use crate::error::{Error, Result};

/// Memory that a submission entry points to. The kernel has read it when the entry is consumed
/// (`IORING_FEAT_SUBMIT_STABLE`, 5.5), so there is one for each place in the queue.
struct Scratch {
    message: libc::msghdr,
    vectors: [libc::iovec; 2],
    address: Option<SockAddr>,
}

pub(super) struct Queue {
    ring: IoUring,
    scratch: Box<[Scratch]>,
    /// Entries pushed since the start; the low bits are the place of the next one.
    pushed: u32,
    /// Entries without scratch memory that found the queue full.
    backlog: VecDeque<squeue::Entry>,
    extended_wait: bool,
    /// For kernels without extended waits: where the timeout request finds its limit.
    limit: Box<types::Timespec>,
}

impl Queue {
    pub(super) fn new(ring: IoUring, extended_wait: bool) -> Self {
        let entries = ring.params().sq_entries() as usize;
        let scratch = (0..entries)
            .map(|_| Scratch {
                // SAFETY: a msghdr of zeros has no buffers, no address and no control data.
                message: unsafe { std::mem::zeroed() },
                vectors: [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 2],
                address: None,
            })
            .collect();
        Self {
            ring,
            scratch,
            pushed: 0,
            backlog: VecDeque::new(),
            extended_wait,
            limit: Box::new(types::Timespec::new()),
        }
    }

    pub(super) fn ring(&mut self) -> &mut IoUring {
        &mut self.ring
    }

    /// Makes room for one entry, by handing the queue to the kernel if it is full. False if the kernel takes nothing now
    /// (its completion queue is full): the caller tries again after it has looked at completions.
    pub(super) fn make_room(&mut self) -> bool {
        if self.backlog.is_empty() && !self.ring.submission().is_full() {
            return true;
        }
        if let Err(error) = self.submit(0, None) {
            tracing::debug!(%error, "submission failed; it is tried again with the next poll");
        }
        self.backlog.is_empty() && !self.ring.submission().is_full()
    }

    /// Queues an entry that points to no scratch memory. Never fails: what finds no room waits in a backlog.
    pub(super) fn push(&mut self, entry: squeue::Entry) {
        if self.make_room() {
            self.push_now(&entry);
        } else {
            self.backlog.push_back(entry);
        }
    }

    fn push_now(&mut self, entry: &squeue::Entry) {
        // SAFETY: what the entry points to is kept until its completion by the operation, or until its consumption by
        // the scratch memory of its place.
        let pushed = unsafe { self.ring.submission().push(entry) };
        assert!(pushed.is_ok(), "room was made before");
        self.pushed = self.pushed.wrapping_add(1);
    }

    /// The scratch memory of the next place. Call only after `make_room` said yes, and push at once.
    fn next_scratch(&mut self) -> &mut Scratch {
        let place = self.pushed as usize & (self.scratch.len() - 1);
        &mut self.scratch[place]
    }

    /// Queues an entry that sends two ranges. Call only after `make_room` said yes.
    pub(super) fn push_send_message(
        &mut self,
        first: (*mut u8, usize),
        second: (*mut u8, usize),
        build: impl FnOnce(*const libc::msghdr) -> squeue::Entry,
    ) {
        let scratch = self.next_scratch();
        scratch.vectors = [first, second]
            .map(|(start, bytes)| libc::iovec { iov_base: start.cast::<libc::c_void>(), iov_len: bytes });
        scratch.message.msg_iov = scratch.vectors.as_mut_ptr();
        scratch.message.msg_iovlen = 2;
        let entry = build(&raw const scratch.message);
        self.push_now(&entry);
    }

    /// Queues an entry that names an address. Call only after `make_room` said yes.
    pub(super) fn push_connect(
        &mut self,
        address: SockAddr,
        build: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> squeue::Entry,
    ) {
        let address = self.next_scratch().address.insert(address);
        let entry = build(address.as_ptr().cast(), address.len());
        self.push_now(&entry);
    }

    /// Entries that wait to be handed to the kernel.
    pub(super) fn waiting(&mut self) -> usize {
        self.ring.submission().len() + self.backlog.len()
    }

    /// Hands the queue to the kernel, waits for `want` completions (0 or 1) at most `limit` long, and lets the kernel work
    /// off what it put off for this thread. Returns how many entries were taken.
    ///
    /// A passed limit, a signal and a full completion queue are no errors: the caller looks at completions in any case.
    pub(super) fn submit(&mut self, want: usize, limit: Option<Duration>) -> Result<usize> {
        let mut taken = 0;
        loop {
            while !self.backlog.is_empty() && !self.ring.submission().is_full() {
                if let Some(entry) = self.backlog.pop_front() {
                    self.push_now(&entry);
                }
            }
            let last = self.backlog.is_empty();
            // Waiting only with the last round, when the kernel has everything.
            match self.enter(if last { want } else { 0 }, limit) {
                Ok(count) => taken += count,
                Err(error) => {
                    return match Errno::from_io_error(&error) {
                        // EBUSY: completions wait to be seen.
                        Some(Errno::INTR | Errno::TIME | Errno::BUSY) => Ok(taken),
                        // The kernel has no memory for requests now. Whoever would have waited gives it some time.
                        Some(Errno::AGAIN) => {
                            if want > 0 {
                                std::thread::sleep(limit.map_or(NO_MEMORY_PAUSE, |limit| limit.min(NO_MEMORY_PAUSE)));
                            }
                            Ok(taken)
                        }
                        _ => Err(Error::from(error).during("io_uring_enter failed")),
                    };
                }
            }
            if last {
                return Ok(taken);
            }
        }
    }

    fn enter(&mut self, want: usize, limit: Option<Duration>) -> io::Result<usize> {
        if want == 0 {
            let waiting = self.ring.submission().len() as u32;
            // SAFETY: no argument is passed. GETEVENTS makes the kernel run the deferred work without sleeping.
            return unsafe { self.ring.submitter().enter::<libc::sigset_t>(waiting, 0, ENTER_GETEVENTS, None) };
        }
        let Some(limit) = limit else { return self.ring.submit_and_wait(want) };
        let limit = types::Timespec::new().sec(limit.as_secs()).nsec(limit.subsec_nanos());
        if self.extended_wait {
            return self.ring.submitter().submit_with_args(want, &types::SubmitArgs::new().timespec(&limit));
        }
        *self.limit = limit;
        // The request ends after its time or with the first other completion, so none is left over from an earlier wait.
        let entry = opcode::Timeout::new(&raw const *self.limit).count(1).build().user_data(Tag::Ignored.bits());
        if self.ring.submission().is_full() {
            return self.ring.submit();
        }
        self.push_now(&entry);
        self.ring.submit_and_wait(want)
    }
}

/// How long a kernel without memory for requests (`EAGAIN`, io_uring_enter(2)) is left alone.
const NO_MEMORY_PAUSE: Duration = Duration::from_millis(1);

/// `IORING_ENTER_GETEVENTS` (io_uring_enter(2)).
const ENTER_GETEVENTS: u32 = 1;
