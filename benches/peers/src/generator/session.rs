//! A session: which requests are under way, and what of the replies has come.

use std::collections::VecDeque;
use std::time::Instant;

use fastport_peers::frame::{self, HEADER_BYTES};
use io_uring::{opcode, squeue, types};

use crate::message::{Message, NUMBER_BYTES};

/// Frames up to this size are written one after another; of larger ones only the beginning is, and the rest of all of them
/// is sent from the same memory.
const COPIED_FRAME_BYTES: usize = 2048;
/// What differs from one request to the next: header and number.
const HEAD_BYTES: usize = HEADER_BYTES + NUMBER_BYTES;

pub(crate) struct Session {
    descriptor: i32,
    /// Requests to have under way.
    depth: usize,
    /// Requests that may be sent, as their predecessors were answered.
    pub(crate) due: usize,
    pub(crate) is_sending: bool,
    next_number: u64,
    under_way: VecDeque<Request>,
    /// The head of the reply that is coming, as far as it has come.
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// Bytes of its body that have not come.
    body_left: usize,
    // What a send refers to stays until its completion.
    out: Vec<u8>,
    vectors: Vec<libc::iovec>,
    message_header: Box<libc::msghdr>,
    sending_bytes: usize,
}

struct Request {
    number: u64,
    sent: Instant,
    frame_bytes: usize,
}

/// A reply that is whole.
pub(crate) struct Reply {
    pub(crate) sent: Instant,
    pub(crate) frame_bytes: usize,
}

impl Session {
    pub(crate) fn new(descriptor: i32, depth: usize) -> Self {
        Self {
            descriptor,
            depth,
            due: depth,
            is_sending: false,
            next_number: 0,
            under_way: VecDeque::with_capacity(depth),
            head: [0; HEAD_BYTES],
            head_len: 0,
            body_left: 0,
            out: Vec::new(),
            vectors: Vec::new(),
            // SAFETY: a msghdr of zeros is a valid, empty one.
            message_header: Box::new(unsafe { std::mem::zeroed() }),
            sending_bytes: 0,
        }
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.descriptor
    }

    /// One send of all requests that are due.
    pub(crate) fn send(&mut self, message: &Message, now: Instant, mut choose: impl FnMut() -> usize) -> squeue::Entry {
        debug_assert!(!self.is_sending && self.due > 0, "one send at a time");
        self.is_sending = true;
        self.out.clear();
        self.vectors.clear();
        self.sending_bytes = 0;
        let copies = message.payload.len() + HEADER_BYTES <= COPIED_FRAME_BYTES;
        // The vectors point into `out`, which must not move.
        self.out.reserve(self.depth * if copies { message.payload.len() + HEADER_BYTES } else { HEAD_BYTES });
        while self.due > 0 {
            self.due -= 1;
            let payload = &message.payload[..choose()];
            let frame_bytes = payload.len() + HEADER_BYTES;
            self.under_way.push_back(Request { number: self.next_number, sent: now, frame_bytes });
            self.sending_bytes += frame_bytes;
            let head_at = self.out.len();
            self.out.extend_from_slice(&frame::header(frame_bytes, message.request_id));
            let own = if copies { payload.len() } else { payload.len().min(NUMBER_BYTES) };
            self.out.extend_from_slice(&payload[..own]);
            if message.is_numbered() {
                self.out[head_at + HEADER_BYTES..][..NUMBER_BYTES].copy_from_slice(&self.next_number.to_le_bytes());
            }
            self.next_number += 1;
            if !copies {
                self.vectors.push(vector(&self.out[head_at..]));
                self.vectors.push(vector(&payload[own..]));
            }
        }
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        if copies {
            let descriptor = types::Fd(self.descriptor);
            return opcode::Send::new(descriptor, self.out.as_ptr(), self.out.len() as u32).flags(flags).build();
        }
        self.message_header.msg_iov = self.vectors.as_mut_ptr();
        self.message_header.msg_iovlen = self.vectors.len() as _;
        opcode::SendMsg::new(types::Fd(self.descriptor), &raw const *self.message_header).flags(flags as u32).build()
    }

    pub(crate) fn sent(&mut self, result: i32) -> Result<(), String> {
        self.is_sending = false;
        if usize::try_from(result) == Ok(self.sending_bytes) {
            return Ok(());
        }
        Err(format!("sending {} bytes ended with {result}", self.sending_bytes))
    }

    /// Takes what has come, and shows each reply that is whole.
    pub(crate) fn received(
        &mut self,
        mut bytes: &[u8],
        message: &Message,
        mut visit: impl FnMut(Reply),
    ) -> Result<(), String> {
        let head_bytes = if message.is_numbered() { HEAD_BYTES } else { HEADER_BYTES };
        while !bytes.is_empty() {
            if self.head_len < head_bytes {
                let count = (head_bytes - self.head_len).min(bytes.len());
                self.head[self.head_len..self.head_len + count].copy_from_slice(&bytes[..count]);
                self.head_len += count;
                bytes = &bytes[count..];
                if self.head_len < head_bytes {
                    break;
                }
                self.body_left = self.check_head(message)? - head_bytes;
            }
            let count = self.body_left.min(bytes.len());
            self.body_left -= count;
            bytes = &bytes[count..];
            if self.body_left == 0 {
                self.head_len = 0;
                self.due += 1;
                let request = self.under_way.pop_front().expect("checked with the head");
                visit(Reply { sent: request.sent, frame_bytes: request.frame_bytes });
            }
        }
        Ok(())
    }

    /// The size of the reply that begins.
    fn check_head(&self, message: &Message) -> Result<usize, String> {
        let Some(request) = self.under_way.front() else { return Err("a reply that nobody asked for".to_owned()) };
        let size = frame::size(&self.head).map_err(|_| "a reply smaller than its header".to_owned())?;
        let id = u16::from_be_bytes([self.head[2], self.head[3]]);
        if id != message.reply_id {
            return Err(format!("a reply with id {id:#06x} instead of {:#06x}", message.reply_id));
        }
        if message.is_mirrored && size != request.frame_bytes {
            return Err(format!("a reply of {size} bytes instead of {}", request.frame_bytes));
        }
        if message.is_numbered() {
            let (_, number) = self.head.split_at(HEADER_BYTES);
            let number = u64::from_le_bytes(number.try_into().expect("8 bytes"));
            if number != request.number {
                return Err(format!("reply {number} where {} was due", request.number));
            }
        }
        Ok(size)
    }
}

fn vector(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}
