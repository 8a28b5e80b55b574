//! Sockets of a simulated network, as the programs that own them see them.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::time::Duration;

use super::connection::Side;
use super::errors::Failure;
use super::plan::Fault;
use super::state::State;
use crate::error::{Error, Result};
use crate::operation::SocketId;
use crate::slab::Key;

/// Where the system takes ports from for those who ask for none.
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

pub(super) struct Endpoint {
    pub(super) kind: Kind,
    is_ipv6: bool,
    pub(super) bound: Option<SocketAddr>,
    /// Owners in the program; closed with the last.
    handles: u32,
    pub(super) attachments: Vec<Attachment>,
    /// Tells the events of an earlier connect from those of the present one.
    pub(super) attempt: u32,
    /// Requests of the present connect that found a full backlog.
    pub(super) requests: u32,
    options: Options,
}

pub(super) enum Kind {
    Fresh,
    /// The request is on its way, or waits at the listener.
    Connecting(SocketAddr),
    /// The latest connect has failed; nobody was told yet.
    Failed(Failure),
    Listening(Backlog),
    Connected {
        connection: Key,
        side: Side,
    },
}

pub(super) struct Backlog {
    /// Connections that nobody has accepted yet, oldest first.
    pub(super) waiting: VecDeque<Key>,
    pub(super) limit: usize,
}

/// A provider that the socket is attached to.
pub(super) struct Attachment {
    pub(super) provider: usize,
    /// What it calls the socket.
    pub(super) socket: SocketId,
    /// It was told of a change and has not looked yet.
    pub(super) is_told: bool,
}

/// Options that are kept. Only the lingering changes anything here.
#[derive(Clone, Copy, Default)]
struct Options {
    linger: Option<Duration>,
    no_delay: bool,
    keep_alive: bool,
    nonblocking: bool,
}

/// A switch of a socket that is just remembered.
#[derive(Clone, Copy)]
pub(crate) enum Switch {
    NoDelay,
    KeepAlive,
    Nonblocking,
}

impl State {
    pub(super) fn create(&mut self, is_ipv6: bool) -> Result<Key> {
        if self.strikes(Fault::NoDescriptors) {
            return Err(Error::from(Failure::NoDescriptors).during("cannot create a socket"));
        }
        self.insert_endpoint(Kind::Fresh, is_ipv6, None)
    }

    pub(super) fn insert_endpoint(&mut self, kind: Kind, is_ipv6: bool, bound: Option<SocketAddr>) -> Result<Key> {
        self.endpoints.insert(Endpoint {
            kind,
            is_ipv6,
            bound,
            handles: 1,
            attachments: Vec::new(),
            attempt: 0,
            requests: 0,
            options: Options::default(),
        })
    }

    fn endpoint(&self, key: Key) -> io::Result<&Endpoint> {
        // Every handle keeps its endpoint, so there is always one.
        self.endpoints.get(key).ok_or_else(|| Failure::BadSocket.into())
    }

    fn endpoint_mut(&mut self, key: Key) -> io::Result<&mut Endpoint> {
        self.endpoints.get_mut(key).ok_or_else(|| Failure::BadSocket.into())
    }

    // Addresses

    pub(super) fn local_address(&self, key: Key) -> io::Result<SocketAddr> {
        let endpoint = self.endpoint(key)?;
        Ok(endpoint.bound.unwrap_or_else(|| SocketAddr::new(unspecified(endpoint.is_ipv6), 0)))
    }

    pub(super) fn peer_address(&self, key: Key) -> io::Result<SocketAddr> {
        let not_connected = || io::Error::from(Failure::NotConnected);
        match self.endpoint(key)?.kind {
            Kind::Connected { connection, side } => self.peer_of(connection, side).ok_or_else(not_connected),
            _ => Err(not_connected()),
        }
    }

    pub(super) fn bind(&mut self, key: Key, address: SocketAddr) -> io::Result<()> {
        let endpoint = self.endpoint(key)?;
        if endpoint.bound.is_some() || endpoint.is_ipv6 != address.is_ipv6() {
            return Err(Failure::Invalid.into());
        }
        let address = if address.port() == 0 { self.free_address(address.ip())? } else { address };
        if self.bound.contains_key(&address) {
            return Err(Failure::AddressInUse.into());
        }
        self.bound.insert(address, key);
        self.endpoint_mut(key)?.bound = Some(address);
        Ok(())
    }

    /// The next address of that host with a free port.
    fn free_address(&mut self, host: IpAddr) -> io::Result<SocketAddr> {
        let ports = u16::MAX - FIRST_EPHEMERAL_PORT;
        for _ in 0..ports {
            self.next_port = (self.next_port + 1) % ports;
            let address = SocketAddr::new(host, FIRST_EPHEMERAL_PORT + self.next_port);
            if !self.bound.contains_key(&address) {
                return Ok(address);
            }
        }
        Err(Failure::AddressInUse.into())
    }

    /// Binds a socket that is about to connect, unless its owner has done so.
    pub(super) fn bind_for_connect(&mut self, key: Key) -> Result<SocketAddr> {
        let endpoint = self.endpoint(key)?;
        if let Some(bound) = endpoint.bound {
            return Ok(bound);
        }
        let host = if endpoint.is_ipv6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        self.bind(key, SocketAddr::new(host, 0))?;
        Ok(self.local_address(key)?)
    }

    pub(super) fn listen(&mut self, key: Key, backlog: i32) -> io::Result<()> {
        if self.endpoint(key)?.bound.is_none() {
            let is_ipv6 = self.endpoint(key)?.is_ipv6;
            self.bind(key, SocketAddr::new(unspecified(is_ipv6), 0))?;
        }
        let endpoint = self.endpoint_mut(key)?;
        // As Linux counts: one more than asked for.
        let limit = usize::try_from(backlog).unwrap_or(0) + 1;
        match &mut endpoint.kind {
            Kind::Fresh => endpoint.kind = Kind::Listening(Backlog { waiting: VecDeque::new(), limit }),
            Kind::Listening(listening) => listening.limit = limit,
            _ => return Err(Failure::Invalid.into()),
        }
        Ok(())
    }

    /// Who listens at an address.
    pub(super) fn listener_at(&self, address: SocketAddr) -> Option<Key> {
        let everywhere = SocketAddr::new(unspecified(address.is_ipv6()), address.port());
        let key = self.bound.get(&address).or_else(|| self.bound.get(&everywhere))?;
        matches!(self.endpoints.get(*key)?.kind, Kind::Listening(_)).then_some(*key)
    }

    // Options

    pub(super) fn set_linger(&mut self, key: Key, linger: Option<Duration>) -> io::Result<()> {
        self.endpoint_mut(key)?.options.linger = linger;
        Ok(())
    }

    pub(super) fn set(&mut self, key: Key, switch: Switch, on: bool) -> io::Result<()> {
        let options = &mut self.endpoint_mut(key)?.options;
        match switch {
            Switch::NoDelay => options.no_delay = on,
            Switch::KeepAlive => options.keep_alive = on,
            Switch::Nonblocking => options.nonblocking = on,
        }
        Ok(())
    }

    pub(super) fn is_set(&self, key: Key, switch: Switch) -> io::Result<bool> {
        let options = &self.endpoint(key)?.options;
        Ok(match switch {
            Switch::NoDelay => options.no_delay,
            Switch::KeepAlive => options.keep_alive,
            Switch::Nonblocking => options.nonblocking,
        })
    }

    pub(super) fn shut_down(&mut self, key: Key, direction: Shutdown) -> io::Result<()> {
        let Kind::Connected { connection, side } = self.endpoint(key)?.kind else {
            return Err(Failure::NotConnected.into());
        };
        if self.is_reset(connection, side) {
            return Err(Failure::NotConnected.into());
        }
        if direction != Shutdown::Write {
            self.end_reading(connection, side);
        }
        if direction != Shutdown::Read {
            self.end_writing(connection, side);
        }
        Ok(())
    }

    // Handles

    pub(super) fn duplicate(&mut self, key: Key) -> io::Result<()> {
        self.endpoint_mut(key)?.handles += 1;
        Ok(())
    }

    /// A handle is dropped; the last one closes the socket.
    pub(super) fn release(&mut self, key: Key) {
        let Some(endpoint) = self.endpoints.get_mut(key) else { return };
        endpoint.handles -= 1;
        if endpoint.handles > 0 {
            return;
        }
        let Some(endpoint) = self.endpoints.remove(key) else { return };
        if let Some(bound) = endpoint.bound
            && self.bound.get(&bound) == Some(&key)
        {
            self.bound.remove(&bound);
        }
        match endpoint.kind {
            Kind::Fresh | Kind::Connecting(_) | Kind::Failed(_) => {}
            Kind::Listening(backlog) => {
                for connection in backlog.waiting {
                    self.abort(connection, Side::Server);
                }
            }
            Kind::Connected { connection, side } if endpoint.options.linger == Some(Duration::ZERO) => {
                self.abort(connection, side);
            }
            Kind::Connected { connection, side } => self.close(connection, side),
        }
    }

    // Attachments

    pub(super) fn attach(&mut self, key: Key, provider: usize, socket: SocketId) -> Result<()> {
        if self.strikes(Fault::FailedAttach) {
            return Err(Failure::NoMemory.into());
        }
        self.endpoint_mut(key)?.attachments.push(Attachment { provider, socket, is_told: false });
        Ok(())
    }

    pub(super) fn detach(&mut self, key: Key, provider: usize) {
        if let Some(endpoint) = self.endpoints.get_mut(key) {
            endpoint.attachments.retain(|attachment| attachment.provider != provider);
        }
    }
}

const fn unspecified(is_ipv6: bool) -> IpAddr {
    if is_ipv6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
}
