//! The selector of macOS, iOS and the BSDs: `kqueue(2)`, woken by a user event.
//!
//! # Filters
//! The read filter (`EV_CLEAR`) is there as long as the socket. The write filter (`EV_ONESHOT`) is added when a send was
//! refused or a connect goes on: these systems trigger it by every acknowledgement of the peer, which would wake the
//! server once more for each packet.
//!
//! Each tells for itself. `EV_EOF` on the read filter says that nothing more will arrive: the peer has ended its data or
//! the connection is broken. On the write filter it says that nothing can be sent any more, which may be this side's own
//! doing, so it makes the socket writable (a send then fails) but never readable. Neither is taken for the end of file:
//! that is a receive of 0 bytes, after all data. `fflags` is the error of the connection only beside `EV_EOF`; it is
//! handed on, because some implementations take it off the socket to show it.
//!
//! # Portability
//! Sends on macOS do not heed `MSG_DONTWAIT` (`sosendcheck` in XNU's uipc_socket.c), so attached sockets are made
//! non-blocking. `EVFILT_USER` is missing before NetBSD 10 and on older OpenBSD: a pipe stands in. No filter tells of
//! urgent data that lies in front of other data; what is behind the mark is found when more arrives.
//!
//! Built with `--cfg fastport_libkqueue`, the selector runs on Linux over libkqueue, for the tests.

mod system;

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{Errno, ioctl_fionbio};

use self::system::{Event, Queue};
use super::{Readiness, Selector};
use crate::config::ProviderConfig;
use crate::error::{Error, Result};
use crate::info::Backend;
use crate::waker::WakeSignal;

/// A kqueue and what ends its waits.
pub struct KqueueSelector {
    queue: Arc<Queue>,
    wake: WakeSource,
    /// Never holds more than the capacity it was made with.
    events: Vec<Event>,
}

/// What a signal arrives by.
enum WakeSource {
    /// An event of the queue's own.
    UserEvent,
    /// For systems without user events. Each signal is one byte, and is read off.
    Pipe { reader: PipeReader, writer: Arc<PipeWriter> },
}

/// Stands for the source of wakes; ids of sockets are never 0.
const WAKE_TOKEN: u64 = 0;

/// What every system can count. Returning early is allowed.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

impl Selector for KqueueSelector {
    const BACKEND: Backend = Backend::Kqueue;
    const NEEDS_NONBLOCKING: bool = true;

    fn open(config: &ProviderConfig, notes: &mut Vec<String>) -> Result<Self> {
        let queue = Queue::open().map_err(|errno| error(errno).during("cannot create a kqueue"))?;
        let wake = match queue.change(&[Event::watch_user(WAKE_TOKEN)]) {
            Ok(()) => WakeSource::UserEvent,
            Err(errno) => {
                notes.push(format!("EVFILT_USER: {}; woken by a pipe", error(errno)));
                WakeSource::pipe(&queue).map_err(|error| error.during("cannot watch a pipe"))?
            }
        };
        Ok(Self { queue: Arc::new(queue), wake, events: Vec::with_capacity(config.queue_depth as usize) })
    }

    fn wake_signal(&self) -> Box<dyn WakeSignal> {
        match &self.wake {
            WakeSource::UserEvent => Box::new(UserEventSignal(Arc::clone(&self.queue))),
            WakeSource::Pipe { writer, .. } => Box::new(PipeSignal(Arc::clone(writer))),
        }
    }

    fn add(&self, socket: BorrowedFd<'_>, token: u64) -> Result<()> {
        self.queue.change(&[Event::watch_read(socket, token)]).map_err(error)
    }

    fn await_room(&self, socket: BorrowedFd<'_>, token: u64) -> Result<()> {
        self.queue.change(&[Event::watch_write_once(socket, token)]).map_err(error)
    }

    fn remove(&self, socket: BorrowedFd<'_>) {
        match self.queue.change(&[Event::forget_read(socket), Event::forget_write(socket)]) {
            // There mostly is no write filter.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => tracing::debug!(%errno, "a socket was not watched any more"),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, mut tell: impl FnMut(Readiness)) -> Result<bool> {
        match self.queue.wait(&mut self.events, timeout.map(|timeout| timeout.min(LONGEST_WAIT))) {
            Ok(()) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(errno) => return Err(error(errno).during("cannot wait for events")),
        }
        let mut woken = false;
        for event in &self.events {
            if event.token() == WAKE_TOKEN {
                woken = true;
                continue;
            }
            tell(readiness(event));
        }
        if woken {
            self.wake.take();
        }
        Ok(woken)
    }
}

impl WakeSource {
    fn pipe(queue: &Queue) -> Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        ioctl_fionbio(&reader, true).map_err(error)?;
        ioctl_fionbio(&writer, true).map_err(error)?;
        queue.change(&[Event::watch_read(reader.as_fd(), WAKE_TOKEN)]).map_err(error)?;
        Ok(Self::Pipe { reader, writer: Arc::new(writer) })
    }

    /// Takes off what the signals left.
    fn take(&mut self) {
        if let Self::Pipe { reader, .. } = self {
            // Wakes coalesce before they come here: more than a few bytes never wait. An error means that there are none.
            let _ = reader.read(&mut [0; 64]);
        }
    }
}

fn readiness(event: &Event) -> Readiness {
    let ended = event.is_end();
    Readiness {
        token: event.token(),
        readable: event.is_read(),
        writable: event.is_write(),
        more_behind: event.is_read() && ended,
        failure: event.failure(),
    }
}

fn error(errno: Errno) -> Error {
    Error::from_os(errno.raw_os_error())
}

/// Triggers the user event of a selector.
struct UserEventSignal(Arc<Queue>);

impl WakeSignal for UserEventSignal {
    fn signal(&self) {
        if let Err(errno) = self.0.change(&[Event::trigger_user(WAKE_TOKEN)]) {
            tracing::error!(%errno, "a provider could not be woken");
        }
    }
}

/// Writes to the pipe of a selector.
struct PipeSignal(Arc<PipeWriter>);

impl WakeSignal for PipeSignal {
    fn signal(&self) {
        match (&*self.0).write(&[1]) {
            Ok(_) => {}
            // It is full of signals that the selector has still to see.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => tracing::error!(%error, "a provider could not be woken"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Shutdown, TcpListener, TcpStream};

    fn selector() -> KqueueSelector {
        let mut notes = Vec::new();
        let selector = KqueueSelector::open(&ProviderConfig::default(), &mut notes).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        selector
    }

    /// As on a system without user events.
    fn selector_with_pipe() -> KqueueSelector {
        let queue = Queue::open().unwrap();
        let wake = WakeSource::pipe(&queue).unwrap();
        KqueueSelector { queue: Arc::new(queue), wake, events: Vec::with_capacity(32) }
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Collects until what was told of the socket satisfies `wanted`.
    fn until(selector: &mut KqueueSelector, wanted: impl Fn(&Readiness) -> bool) -> Readiness {
        for _ in 0..100 {
            let mut found = None;
            selector
                .wait(Some(Duration::from_millis(100)), |told| found = found.or(Some(told).filter(&wanted)))
                .unwrap();
            if let Some(found) = found {
                return found;
            }
        }
        panic!("it was not told within ten seconds");
    }

    fn is_silent(selector: &mut KqueueSelector) -> bool {
        let mut told = false;
        selector.wait(Some(Duration::ZERO), |_| told = true).unwrap();
        !told
    }

    #[test]
    fn the_present_state_is_told_once_after_add() {
        let mut selector = selector();
        let (mut client, server) = pair();
        client.write_all(b"x").unwrap();
        selector.add(server.as_fd(), 7).unwrap();
        let told = until(&mut selector, |_| true);
        let readable = Readiness { token: 7, readable: true, writable: false, more_behind: false, failure: None };
        assert_eq!(told, readable);
        assert!(is_silent(&mut selector));
    }

    #[test]
    fn room_to_send_is_told_once_each_time_it_is_awaited() {
        let mut selector = selector();
        let (client, server) = pair();
        selector.add(server.as_fd(), 7).unwrap();
        assert!(is_silent(&mut selector));
        for _ in 0..2 {
            selector.await_room(server.as_fd(), 7).unwrap();
            assert!(until(&mut selector, |_| true).writable);
            assert!(is_silent(&mut selector));
        }
        // The read filter is as it was.
        drop(client);
        assert!(until(&mut selector, |_| true).more_behind);
    }

    #[test]
    fn every_arrival_is_an_edge_and_the_end_of_data_is_told_as_such() {
        let mut selector = selector();
        let (mut client, mut server) = pair();
        selector.add(server.as_fd(), 7).unwrap();
        for _ in 0..2 {
            client.write_all(b"x").unwrap();
            assert!(!until(&mut selector, |told| told.readable).more_behind);
        }
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(until(&mut selector, |told| told.more_behind).failure, None);
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"xx");
        selector.remove(server.as_fd());
        drop(client);
        assert!(is_silent(&mut selector));
    }

    #[test]
    fn ending_the_own_data_makes_no_socket_readable() {
        let mut selector = selector();
        let (client, server) = pair();
        selector.add(server.as_fd(), 7).unwrap();
        selector.await_room(server.as_fd(), 7).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        let mut readable = false;
        selector.wait(Some(Duration::from_millis(10)), |told| readable |= told.readable).unwrap();
        assert!(!readable);
        drop(client);
    }

    #[test]
    fn a_reset_is_told_in_both_directions_with_its_reason_or_left_on_the_socket() {
        let mut selector = selector();
        let (client, server) = pair();
        selector.add(server.as_fd(), 7).unwrap();
        let client = crate::Socket::from(client);
        client.set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let told = until(&mut selector, |told| told.readable);
        assert!(told.more_behind);
        let received = rustix::net::recv(&server, &mut [0; 8], rustix::net::RecvFlags::DONTWAIT);
        assert_eq!(told.failure.or(received.err()), Some(Errno::CONNRESET));
    }

    #[test]
    fn each_signal_ends_one_wait_by_user_event_and_by_pipe() {
        for mut selector in [selector(), selector_with_pipe()] {
            let signal = selector.wake_signal();
            for _ in 0..3 {
                signal.signal();
                assert!(selector.wait(Some(Duration::from_secs(10)), |_| panic!("there is no socket")).unwrap());
                assert!(!selector.wait(Some(Duration::from_nanos(10)), |_| panic!("there is no socket")).unwrap());
            }
        }
    }

    #[test]
    fn a_signal_from_another_thread_ends_a_wait_for_ever() {
        for mut selector in [selector(), selector_with_pipe()] {
            let signal = selector.wake_signal();
            std::thread::scope(|scope| {
                scope.spawn(move || signal.signal());
                while !selector.wait(None, |_| panic!("there is no socket")).unwrap() {}
            });
        }
    }

    #[test]
    fn more_signals_than_a_pipe_holds_are_one_wake() {
        let mut selector = selector_with_pipe();
        let signal = selector.wake_signal();
        for _ in 0..100_000 {
            signal.signal();
        }
        assert!(selector.wait(Some(Duration::from_secs(10)), |_| panic!("there is no socket")).unwrap());
    }

    #[test]
    fn waits_beyond_what_the_system_can_count_are_accepted() {
        let mut selector = selector();
        selector.wake_signal().signal();
        assert!(selector.wait(Some(Duration::MAX), |_| panic!("there is no socket")).unwrap());
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_refused() {
        let selector = selector();
        // SAFETY: no process may open that many descriptors; the number is used only to have it refused.
        let nobody_s = unsafe { BorrowedFd::borrow_raw(i32::MAX) };
        assert_eq!(selector.add(nobody_s, 7).unwrap_err().os_code(), Errno::BADF.raw_os_error());
    }
}
