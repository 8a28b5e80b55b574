//! The selector of Linux: `epoll(7)`, edge-triggered, woken by an `eventfd(2)`; sends go out together by `io_submit(2)`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use super::aio::{self, SendBatch};
use super::{Readiness, Selector, calls};
use crate::config::ProviderConfig;
use crate::error::{Error, Result};
use crate::info::{Backend, Feature, Features};
use crate::operation::{SendAtOnce, SocketId};
use crate::waker::WakeSignal;

/// An epoll instance and the eventfd that ends its waits.
pub struct EpollSelector {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    /// Never holds more than the capacity it was made with.
    events: Vec<epoll::Event>,
    /// The kernel has `epoll_pwait2` (5.11), which takes nanoseconds; otherwise waits are rounded up to milliseconds.
    nanosecond_waits: bool,
    /// Makes several sends by one call, if the kernel can.
    batch: Option<Box<SendBatch>>,
}

/// Stands for the eventfd; ids of sockets are never 0.
const WAKE_TOKEN: u64 = 0;

impl Selector for EpollSelector {
    const BACKEND: Backend = Backend::Epoll;
    const NEEDS_NONBLOCKING: bool = false;

    fn open(config: &ProviderConfig, notes: &mut Vec<String>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| error(errno).during("cannot create an epoll instance"))?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| error(errno).during("cannot create an eventfd"))?;
        // Edge-triggered, so each write is told once and nobody has to read the counter.
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE_TOKEN), epoll::EventFlags::IN | epoll::EventFlags::ET)
            .map_err(|errno| error(errno).during("cannot watch the eventfd"))?;
        let mut selector = Self {
            epoll,
            wake: Arc::new(wake),
            events: Vec::with_capacity(config.queue_depth as usize),
            nanosecond_waits: true,
            batch: None,
        };
        if config.epoll.batched_sends {
            match SendBatch::open() {
                Ok(batch) => selector.batch = Some(batch),
                Err(errno) => notes.push(format!(
                    "io_submit without signals (6.18, within fs.aio-max-nr): {}; each send is a call of its own",
                    error(errno)
                )),
            }
        }
        if let Err(errno) = selector.wait_nanoseconds(Duration::ZERO) {
            // ENOSYS from an old kernel; other errors from sandboxes that do not know the call.
            selector.nanosecond_waits = false;
            notes.push(format!("epoll_pwait2: {}; waits are rounded up to milliseconds", error(errno)));
        }
        Ok(selector)
    }

    fn features(&self) -> Features {
        Features::default().with_if(self.batch.is_some(), Feature::Batching)
    }

    fn wake_signal(&self) -> Box<dyn WakeSignal> {
        Box::new(EventFdSignal(Arc::clone(&self.wake)))
    }

    fn add(&self, socket: BorrowedFd<'_>, token: u64) -> Result<()> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::PRI
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token), flags).map_err(error)
    }

    fn remove(&self, socket: BorrowedFd<'_>) {
        // Closing would do it as well, unless someone holds a duplicate of the descriptor.
        if let Err(errno) = epoll::delete(&self.epoll, socket) {
            tracing::debug!(%errno, "a socket was not watched any more");
        }
    }

    #[inline]
    fn send_each<'s>(
        &mut self,
        sends: &mut [SendAtOnce<'_>],
        find_socket: impl Fn(SocketId) -> Option<BorrowedFd<'s>>,
    ) {
        match &mut self.batch {
            Some(batch) if sends.len() >= aio::FEWEST_SENDS => batch.make(sends, find_socket),
            _ => calls::send_each(sends, find_socket),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, mut tell: impl FnMut(Readiness)) -> Result<bool> {
        match self.collect(timeout) {
            Ok(()) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(errno) => return Err(error(errno).during("cannot wait for events")),
        }
        let mut woken = false;
        for event in &self.events {
            // Copies, because the kernel's structure is packed.
            let (token, flags) = (event.data.u64(), event.flags);
            if token == WAKE_TOKEN {
                woken = true;
                continue;
            }
            tell(readiness(token, flags));
        }
        Ok(woken)
    }
}

impl EpollSelector {
    /// Fills `events`.
    fn collect(&mut self, timeout: Option<Duration>) -> Result<(), Errno> {
        self.events.clear();
        match timeout {
            Some(timeout) if self.nanosecond_waits && !timeout.is_zero() => self.wait_nanoseconds(timeout),
            timeout => {
                let timeout = timeout.map(|timeout| timespec(timeout.min(LONGEST_WAIT)));
                epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()).map(|_| ())
            }
        }
    }

    /// `epoll_pwait2(2)`, which rustix and glibc offer only to programs that need no kernel before 5.11.
    fn wait_nanoseconds(&mut self, timeout: Duration) -> Result<(), Errno> {
        // struct __kernel_timespec: two 64-bit integers on every architecture.
        let timeout = timeout.min(LONGEST_WAIT);
        let timeout = [timeout.as_secs() as i64, i64::from(timeout.subsec_nanos())];
        self.events.clear();
        // SAFETY: the vector has room for as many events as are asked for, in the kernel's layout, which rustix's type
        // has; the time limit lives until the call returns; there is no signal mask, so its size is not read.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.capacity() as libc::c_int,
                timeout.as_ptr(),
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        if count < 0 {
            return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL));
        }
        // SAFETY: the kernel wrote that many events, at most as many as the capacity.
        unsafe { self.events.set_len(count as usize) };
        Ok(())
    }
}

/// What epoll can wait in one call, in milliseconds as a C int (24 days). Returning early is allowed.
const LONGEST_WAIT: Duration = Duration::from_millis(i32::MAX as u64);

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) as _ }
}

fn readiness(token: u64, flags: epoll::EventFlags) -> Readiness {
    use epoll::EventFlags as Flags;
    let broken = flags.intersects(Flags::HUP | Flags::ERR);
    let more_behind = broken || flags.intersects(Flags::RDHUP | Flags::PRI);
    Readiness {
        token,
        readable: more_behind || flags.contains(Flags::IN),
        writable: broken || flags.contains(Flags::OUT),
        more_behind,
        // It stays on the socket.
        failure: None,
    }
}

fn error(errno: Errno) -> Error {
    Error::from_os(errno.raw_os_error())
}

/// Writes to the eventfd of a selector.
struct EventFdSignal(Arc<OwnedFd>);

impl WakeSignal for EventFdSignal {
    fn signal(&self) {
        // The counter holds 2^64 - 2 wakes, so it never refuses one.
        if let Err(errno) = rustix::io::write(self.0.as_fd(), &1_u64.to_ne_bytes()) {
            tracing::error!(%errno, "a provider could not be woken");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn selector() -> EpollSelector {
        EpollSelector::open(&ProviderConfig::default(), &mut Vec::new()).unwrap()
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Collects until something is told of a socket.
    fn next(selector: &mut EpollSelector) -> Readiness {
        for _ in 0..100 {
            let mut told = None;
            selector.wait(Some(Duration::from_millis(100)), |readiness| told = Some(readiness)).unwrap();
            if let Some(told) = told {
                return told;
            }
        }
        panic!("nothing was told within ten seconds");
    }

    fn silent(selector: &mut EpollSelector) -> bool {
        let mut told = false;
        selector.wait(Some(Duration::ZERO), |_| told = true).unwrap();
        !told
    }

    #[test]
    fn the_present_state_is_told_once_after_add() {
        let mut selector = selector();
        let (_client, server) = pair();
        selector.add(server.as_fd(), 7).unwrap();
        let writable = Readiness { token: 7, readable: false, writable: true, more_behind: false, failure: None };
        assert_eq!(next(&mut selector), writable);
        assert!(silent(&mut selector));
    }

    #[test]
    fn every_arrival_is_an_edge_and_the_end_of_data_is_told_as_such() {
        let mut selector = selector();
        let (mut client, mut server) = pair();
        selector.add(server.as_fd(), 7).unwrap();
        next(&mut selector);
        for _ in 0..2 {
            client.write_all(b"x").unwrap();
            let told = next(&mut selector);
            assert!(told.readable && !told.more_behind);
        }
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(next(&mut selector).more_behind);
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"xx");
        selector.remove(server.as_fd());
        drop(client);
        assert!(silent(&mut selector));
    }

    #[test]
    fn each_signal_ends_one_wait_with_or_without_a_clock_of_nanoseconds() {
        for nanosecond_waits in [true, false] {
            let mut selector = selector();
            selector.nanosecond_waits &= nanosecond_waits;
            let signal = selector.wake_signal();
            for _ in 0..3 {
                signal.signal();
                assert!(selector.wait(Some(Duration::from_secs(10)), |_| panic!("there is no socket")).unwrap());
                assert!(!selector.wait(Some(Duration::from_nanos(10)), |_| panic!("there is no socket")).unwrap());
            }
        }
    }

    #[test]
    fn waits_beyond_what_the_system_can_count_are_accepted() {
        for nanosecond_waits in [true, false] {
            let mut selector = selector();
            selector.nanosecond_waits &= nanosecond_waits;
            selector.wake_signal().signal();
            assert!(selector.wait(Some(Duration::MAX), |_| panic!("there is no socket")).unwrap());
        }
    }
}
