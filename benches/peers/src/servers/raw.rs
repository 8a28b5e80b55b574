//! A hand-written io_uring loop without sessions or handlers: what the others are measured by.
//!
//! One `io_uring_enter` a batch, multishot accept and receive, and a reply that goes out of the receive buffer itself where
//! that holds whole frames. With `--variant` each reply is copied, as a handler would, into a last-in first-out pool of
//! send buffers, which stay in the cache.

use std::os::fd::IntoRawFd;

use fastport_peers::frame;
use fastport_peers::receive_ring::{ReceiveRing, receive};
use fastport_peers::server::Arguments;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use slab::Slab;

/// Completions between two looks at the kernel.
const BATCH: usize = 128;
/// The largest frame of the reference workload is received whole.
const BUFFER_BYTES: usize = 16 * 1024 + 512;

// What a completion is of: the low bits of its user data; the session stands above them.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const OTHER: u64 = 3;
const KIND_BITS: u32 = 2;

fn main() {
    let arguments = Arguments::read();
    let listener = arguments.listen().into_raw_fd();
    let ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(32 * 1024)
        .build(4096)
        .expect("io_uring_setup");
    let buffers = if arguments.variant { 256 } else { 1024 };
    let batch = if arguments.variant { 32 } else { BATCH };
    let receive_ring = ReceiveRing::new(&ring, buffers, BUFFER_BYTES).expect("a buffer ring");
    let mut server = Server {
        ring,
        receive_ring,
        listener,
        copies: arguments.variant,
        sessions: Slab::new(),
        starved: Vec::new(),
        pool: Vec::new(),
    };
    server.accept();
    let mut completions = Vec::with_capacity(batch);
    loop {
        server.enter();
        completions.extend(server.ring.completion().take(batch));
        for completion in completions.drain(..) {
            server.handle(&completion);
        }
        server.receive_ring.publish();
        while let Some(key) = server.starved.pop() {
            server.receive(key);
        }
    }
}

/// Where the bytes lie that are being sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    Nothing,
    /// In that receive buffer, which is kept meanwhile.
    ReceiveBuffer(u16),
    /// In the session's own `sending` buffer.
    Own,
}

struct Session {
    descriptor: i32,
    state: Sending,
    /// What is left to send.
    start: *const u8,
    left: usize,
    sending: Vec<u8>,
    /// Replies that wait for the send that is under way.
    next: Vec<u8>,
    /// The beginning of a frame whose rest has not come.
    incomplete: Vec<u8>,
    is_receiving: bool,
    is_closing: bool,
}

struct Server {
    ring: IoUring,
    receive_ring: ReceiveRing,
    listener: i32,
    copies: bool,
    sessions: Slab<Box<Session>>,
    /// Sessions whose receive has ended, for instance for want of buffers.
    starved: Vec<usize>,
    pool: Vec<Vec<u8>>,
}

impl Server {
    /// Submits, and waits if nothing has completed.
    fn enter(&mut self) {
        let wanted = usize::from(self.ring.completion().is_empty());
        if let Err(error) = self.ring.submit_and_wait(wanted) {
            assert!(matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)), "io_uring_enter: {error}");
        }
    }

    fn push(&mut self, entry: squeue::Entry, kind: u64, key: usize) {
        let entry = entry.user_data((key as u64) << KIND_BITS | kind);
        // SAFETY: what an entry refers to (a session's buffers, the receive ring) stays where it is until its completion.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit().expect("io_uring_enter");
        }
    }

    fn accept(&mut self) {
        self.push(opcode::AcceptMulti::new(types::Fd(self.listener)).build(), ACCEPT, 0);
    }

    fn receive(&mut self, key: usize) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.is_closing || session.is_receiving {
            return;
        }
        session.is_receiving = true;
        let descriptor = session.descriptor;
        self.push(receive(descriptor), RECEIVE, key);
    }

    fn send(&mut self, key: usize) {
        let session = &self.sessions[key];
        let entry = opcode::Send::new(types::Fd(session.descriptor), session.start, session.left as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.push(entry, SEND, key);
    }

    fn handle(&mut self, completion: &cqueue::Entry) {
        let key = (completion.user_data() >> KIND_BITS) as usize;
        match completion.user_data() & ((1 << KIND_BITS) - 1) {
            ACCEPT => self.accepted(completion),
            RECEIVE => self.received(key, completion),
            SEND => self.sent(key, completion.result()),
            _ => {}
        }
    }

    fn accepted(&mut self, completion: &cqueue::Entry) {
        if completion.result() >= 0 {
            let key = self.sessions.insert(Box::new(Session {
                descriptor: completion.result(),
                state: Sending::Nothing,
                start: std::ptr::null(),
                left: 0,
                sending: Vec::new(),
                next: Vec::new(),
                incomplete: Vec::new(),
                is_receiving: false,
                is_closing: false,
            }));
            self.receive(key);
        } else {
            eprintln!("accept: error {}", -completion.result());
        }
        if !cqueue::more(completion.flags()) {
            self.accept();
        }
    }

    fn received(&mut self, key: usize, completion: &cqueue::Entry) {
        let (result, flags) = (completion.result(), completion.flags());
        if let Some(buffer) = cqueue::buffer_select(flags)
            && !(result > 0 && self.take(key, buffer, result as usize))
        {
            self.receive_ring.give_back(buffer);
        }
        if !cqueue::more(flags) {
            self.sessions[key].is_receiving = false;
            self.starved.push(key);
        }
        if result <= 0 && result != -libc::ENOBUFS {
            self.close(key);
        }
        self.free_if_over(key);
    }

    /// Answers what lies in a receive buffer. True if the buffer is kept, because the reply goes out of it.
    fn take(&mut self, key: usize, buffer: u16, len: usize) -> bool {
        let bytes = self.receive_ring.bytes(buffer, len);
        let session = &mut self.sessions[key];
        if session.is_closing {
            return false;
        }
        let whole = if session.incomplete.is_empty() {
            let whole = frame::walk(bytes, |_| {});
            session.incomplete.extend_from_slice(&bytes[whole.unwrap_or(0)..]);
            match whole {
                Ok(0) => return false,
                Ok(whole) if session.state == Sending::Nothing && !self.copies => {
                    session.state = Sending::ReceiveBuffer(buffer);
                    session.start = bytes.as_ptr();
                    session.left = whole;
                    self.send(key);
                    return true;
                }
                Ok(whole) if session.state == Sending::Nothing => {
                    session.next = self.pool.pop().unwrap_or_default();
                    session.next.extend_from_slice(&bytes[..whole]);
                    Ok(whole)
                }
                Ok(whole) => {
                    session.next.extend_from_slice(&bytes[..whole]);
                    Ok(whole)
                }
                malformed => malformed,
            }
        } else {
            session.incomplete.extend_from_slice(bytes);
            let whole = frame::walk(&session.incomplete, |_| {});
            if let Ok(whole) = whole {
                if whole == session.incomplete.len() && session.next.is_empty() {
                    std::mem::swap(&mut session.incomplete, &mut session.next);
                } else {
                    session.next.extend(session.incomplete.drain(..whole));
                }
            }
            whole
        };
        match whole {
            Ok(_) => self.send_next(key),
            Err(frame::Malformed) => self.close(key),
        }
        false
    }

    fn send_next(&mut self, key: usize) {
        let session = &mut self.sessions[key];
        if session.state != Sending::Nothing || session.next.is_empty() {
            return;
        }
        std::mem::swap(&mut session.sending, &mut session.next);
        session.state = Sending::Own;
        session.start = session.sending.as_ptr();
        session.left = session.sending.len();
        self.send(key);
    }

    fn sent(&mut self, key: usize, result: i32) {
        let session = &mut self.sessions[key];
        if result > 0 && (result as usize) < session.left {
            // SAFETY: fewer bytes than are left of the same buffer.
            session.start = unsafe { session.start.add(result as usize) };
            session.left -= result as usize;
            return self.send(key);
        }
        match std::mem::replace(&mut session.state, Sending::Nothing) {
            Sending::ReceiveBuffer(buffer) => self.receive_ring.give_back(buffer),
            Sending::Own => {
                session.sending.clear();
                if self.copies {
                    self.pool.push(std::mem::take(&mut session.sending));
                }
            }
            Sending::Nothing => {}
        }
        if result <= 0 {
            self.close(key);
        } else {
            self.send_next(key);
        }
        self.free_if_over(key);
    }

    /// Ends the receive and a send that waits. The session is freed when both are over.
    fn close(&mut self, key: usize) {
        let session = &mut self.sessions[key];
        if !session.is_closing {
            session.is_closing = true;
            let entry = opcode::Shutdown::new(types::Fd(session.descriptor), libc::SHUT_RDWR).build();
            self.push(entry, OTHER, key);
        }
    }

    fn free_if_over(&mut self, key: usize) {
        let session = &self.sessions[key];
        if session.is_closing && !session.is_receiving && session.state == Sending::Nothing {
            let descriptor = self.sessions.remove(key).descriptor;
            self.push(opcode::Close::new(types::Fd(descriptor)).build(), OTHER, key);
        }
    }
}
