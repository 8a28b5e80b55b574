//! Sends of many sockets by one call: Linux's asynchronous I/O, `io_submit(2)`.
//!
//! On a socket nothing of it is asynchronous: `io_submit` makes one send after another, each is over when it returns, and
//! `io_getevents(2)` only hands out how they ended. What is gained are the ways into the kernel and back.
//!
//! A send of this kind has no `MSG_` flags. Those of the request stand for them: `RWF_NOWAIT` for `MSG_DONTWAIT` and
//! `RWF_NOSIGNAL`, which Linux has since 6.18, for `MSG_NOSIGNAL`. On kernels without them a batch would block, or a peer
//! that is gone would kill the process, so there each send stays a call.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use arrayvec::ArrayVec;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::calls::{self, CallResult};
use crate::error::Error;
use crate::operation::{SendAtOnce, SocketId};
use crate::socket::unix::retry;

/// Fewer sends than this are no cheaper in a batch, which takes two calls.
pub(super) const FEWEST_SENDS: usize = 3;

/// The most sends of one call. Twice or half as many make no difference that can be measured.
const MOST_SENDS: usize = 32;

/// Makes up to [`MOST_SENDS`] sends by one call, and takes their results by another.
pub(super) struct SendBatch {
    context: libc::c_ulong,
    blocks: [ControlBlock; MOST_SENDS],
    ranges: [[libc::iovec; 2]; MOST_SENDS],
    events: [Event; MOST_SENDS],
}

/// `struct iocb` of `linux/aio_abi.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ControlBlock {
    data: u64,
    #[cfg(target_endian = "little")]
    key: u32,
    rw_flags: u32,
    #[cfg(target_endian = "big")]
    key: u32,
    opcode: u16,
    priority: i16,
    descriptor: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event_descriptor: u32,
}

/// `struct io_event` of `linux/aio_abi.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    data: u64,
    block: u64,
    result: i64,
    second_result: i64,
}

const _: () = assert!(size_of::<ControlBlock>() == 64 && size_of::<Event>() == 32, "the kernel's layout");

const IOCB_CMD_PWRITE: u16 = 1;
const IOCB_CMD_PWRITEV: u16 = 8;
const RWF_NOWAIT: u32 = 0x8;
const RWF_NOSIGNAL: u32 = 0x100;

impl SendBatch {
    /// Sets it up, and tries it on a pair of sockets.
    ///
    /// # Errors
    /// `EOPNOTSUPP` from kernels before 6.18, `EAGAIN` at the limit `fs.aio-max-nr`, others from sandboxes.
    pub(super) fn open() -> CallResult<Box<Self>> {
        let mut context: libc::c_ulong = 0;
        // SAFETY: the call writes one word.
        checked(unsafe { libc::syscall(libc::SYS_io_setup, MOST_SENDS, &raw mut context) })?;
        let mut batch = Box::new(Self {
            context,
            blocks: [ControlBlock::default(); MOST_SENDS],
            ranges: [[libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 2]; MOST_SENDS],
            events: [Event::default(); MOST_SENDS],
        });
        let (socket, _peer) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let mut trial = [SendAtOnce::new(SocketId::from_bits(1), b"?", b"")];
        batch.prepare(0, 0, &trial[0], socket.as_fd());
        batch.submit(0..1, &mut trial)?;
        match &trial[0].taken {
            Ok(_) => Ok(batch),
            Err(error) => Err(Errno::from_raw_os_error(error.os_code())),
        }
    }

    /// Makes all sends that are not empty and whose socket is found.
    pub(super) fn make<'s>(
        &mut self,
        sends: &mut [SendAtOnce<'_>],
        find_socket: impl Fn(SocketId) -> Option<BorrowedFd<'s>>,
    ) {
        for sends in sends.chunks_mut(MOST_SENDS) {
            let mut prepared = 0;
            for (index, send) in sends.iter().enumerate() {
                if !send.first.is_empty()
                    && let Some(socket) = find_socket(send.socket)
                {
                    self.prepare(prepared, index, send, socket);
                    prepared += 1;
                }
            }
            let mut made = 0;
            while made < prepared {
                made += self.submit(made..prepared, sends).unwrap_or_else(|_| {
                    // A batch says only that its first send cannot be made; the call itself says why.
                    let send = &mut sends[self.blocks[made].data as usize];
                    if let Some(socket) = find_socket(send.socket) {
                        calls::send(socket, send);
                    }
                    1
                });
            }
        }
    }

    /// Fills a control block for the send with that index.
    fn prepare(&mut self, place: usize, index: usize, send: &SendAtOnce<'_>, socket: BorrowedFd<'_>) {
        let (opcode, buffer, bytes) = if send.second.is_empty() {
            (IOCB_CMD_PWRITE, send.first.as_ptr().expose_provenance(), send.first.len())
        } else {
            self.ranges[place] = [range(send.first), range(send.second)];
            (IOCB_CMD_PWRITEV, self.ranges[place].as_ptr().expose_provenance(), 2)
        };
        self.blocks[place] = ControlBlock {
            data: index as u64,
            rw_flags: RWF_NOWAIT | RWF_NOSIGNAL,
            opcode,
            descriptor: socket.as_raw_fd() as u32,
            buffer: buffer as u64,
            bytes: bytes as u64,
            ..ControlBlock::default()
        };
    }

    /// Makes the sends of these control blocks up to one that the kernel does not take. Returns how many; there is an error if
    /// it is none.
    fn submit(&mut self, places: Range<usize>, sends: &mut [SendAtOnce<'_>]) -> CallResult<usize> {
        let mut pointers: ArrayVec<*mut ControlBlock, MOST_SENDS> =
            self.blocks[places].iter_mut().map(std::ptr::from_mut).collect();
        // SAFETY: the pointers are to control blocks that were filled for these sends. Blocks, ranges and bytes outlive the
        // call, and with it the sends: on a socket each is over when it returns, and `collect` waits for the end of all.
        let made = unsafe { libc::syscall(libc::SYS_io_submit, self.context, pointers.len(), pointers.as_mut_ptr()) };
        let made = checked(made)?;
        if made == 0 {
            return Err(Errno::INVAL);
        }
        self.collect(made, sends);
        Ok(made)
    }

    /// Takes the results of sends that were made.
    fn collect(&mut self, made: usize, sends: &mut [SendAtOnce<'_>]) {
        let mut left = made;
        while left > 0 {
            let context = self.context;
            let room = self.events.as_mut_ptr();
            let no_limit = std::ptr::null::<libc::timespec>();
            let wait = || {
                // SAFETY: there is room for as many events.
                checked(unsafe { libc::syscall(libc::SYS_io_getevents, context, left, left, room, no_limit) })
            };
            let count = retry(wait).expect("context and memory are valid");
            for event in &self.events[..count] {
                sends[event.data as usize].taken =
                    usize::try_from(event.result).map_err(|_| Error::from_os(-event.result as i32));
            }
            left -= count;
        }
    }
}

impl Drop for SendBatch {
    fn drop(&mut self) {
        // SAFETY: the context is this one's own, and nothing uses it any more.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}

fn range(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

fn checked(result: libc::c_long) -> CallResult<usize> {
    // rustix reads `errno` no more than this.
    usize::try_from(result).map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn sends_go_on_behind_one_that_the_kernel_refuses_to_batch() {
        let mut batch = match SendBatch::open() {
            Ok(batch) => batch,
            // Kernels before 6.18, or without this interface; sandboxes; the limit of the system.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::AGAIN) => return,
            Err(errno) => panic!("{errno}"),
        };
        // A file that cannot be written to ends a batch before it.
        let unwritable = std::fs::File::open("/dev/null").unwrap();
        let (sender, mut receiver) = UnixStream::pair().unwrap();
        for refused in 0..5 {
            let mut sends: Vec<_> =
                (0..5).map(|index| SendAtOnce::new(SocketId::from_bits(index), b"ab", b"c")).collect();
            batch.make(&mut sends, |socket| {
                Some(if socket.to_bits() == refused { unwritable.as_fd() } else { sender.as_fd() })
            });
            for (index, send) in sends.into_iter().enumerate() {
                match send.taken {
                    // What the call says, not what the batch says.
                    Err(error) => {
                        assert_eq!((index as u64, error.os_code()), (refused, Errno::NOTSOCK.raw_os_error()));
                    }
                    Ok(bytes) => assert_eq!((bytes, index as u64 != refused), (3, true)),
                }
            }
            let mut arrived = [0; 12];
            receiver.read_exact(&mut arrived).unwrap();
            assert_eq!(&arrived, b"abcabcabcabc");
        }
    }
}
