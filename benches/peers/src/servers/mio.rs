//! mio: hand-written, edge-triggered epoll. What readiness can reach.

use std::io::{ErrorKind, Read, Write};

use fastport_peers::frame;
use fastport_peers::server::Arguments;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX - 1);

fn main() {
    let listener = Arguments::read().listen();
    listener.set_nonblocking(true).expect("O_NONBLOCK");
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new().expect("epoll");
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).expect("register");
    let mut events = Events::with_capacity(1024);
    let mut sessions: Slab<Session> = Slab::new();
    // One read buffer, shared by all sessions.
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            assert!(error.kind() == ErrorKind::Interrupted, "epoll_wait: {error}");
            continue;
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, poll.registry(), &mut sessions);
                continue;
            }
            let Some(session) = sessions.get_mut(event.token().0) else { continue };
            let lives = (!event.is_readable() || session.read(&mut buffer).is_ok())
                && session.write().is_ok()
                && session.register(poll.registry(), event.token()).is_ok();
            if !lives {
                drop(sessions.remove(event.token().0));
            }
        }
    }
}

fn accept(listener: &TcpListener, registry: &Registry, sessions: &mut Slab<Session>) {
    while let Ok((mut stream, _)) = listener.accept() {
        let entry = sessions.vacant_entry();
        registry.register(&mut stream, Token(entry.key()), Interest::READABLE).expect("register");
        entry.insert(Session { stream, incomplete: Vec::new(), replies: Vec::new(), sent: 0, awaits_room: false });
    }
}

struct Session {
    stream: TcpStream,
    /// The beginning of a frame whose rest has not come.
    incomplete: Vec<u8>,
    replies: Vec<u8>,
    /// Bytes of `replies` that are on their way.
    sent: usize,
    awaits_room: bool,
}

/// The session is over: by its peer, an error, or a malformed frame.
struct Ended;

impl Session {
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Ended> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(Ended),
                Ok(count) => {
                    self.received(&buffer[..count])?;
                    // A read that leaves room has emptied the socket.
                    if count < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Ended),
            }
        }
    }

    fn received(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        if self.incomplete.is_empty() {
            let whole = frame::answer(bytes, &mut self.replies).map_err(|_| Ended)?;
            self.incomplete.extend_from_slice(&bytes[whole..]);
        } else {
            self.incomplete.extend_from_slice(bytes);
            let whole = frame::answer(&self.incomplete, &mut self.replies).map_err(|_| Ended)?;
            self.incomplete.drain(..whole);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Ended> {
        while self.sent < self.replies.len() {
            match self.stream.write(&self.replies[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Ended),
            }
        }
        self.replies.clear();
        self.sent = 0;
        Ok(())
    }

    /// Asks for writability for as long as something waits to be written.
    fn register(&mut self, registry: &Registry, token: Token) -> std::io::Result<()> {
        let awaits_room = !self.replies.is_empty();
        if awaits_room == self.awaits_room {
            return Ok(());
        }
        self.awaits_room = awaits_room;
        let interest = if awaits_room { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        registry.reregister(&mut self.stream, token, interest)
    }
}
