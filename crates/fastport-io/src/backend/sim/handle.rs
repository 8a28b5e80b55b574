//! A simulated socket in the hands of a program.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use super::endpoint::Switch;
use super::network::SimNetwork;
use crate::slab::Key;

/// One handle of a socket. Like a descriptor it may go to another thread; the last one that is dropped closes the socket.
pub(crate) struct SimSocket {
    network: SimNetwork,
    endpoint: Key,
}

impl SimSocket {
    /// Takes over the handle that a new endpoint is counted with.
    pub(super) const fn new(network: SimNetwork, endpoint: Key) -> Self {
        Self { network, endpoint }
    }

    pub(super) const fn endpoint(&self) -> Key {
        self.endpoint
    }

    pub(super) const fn network(&self) -> &SimNetwork {
        &self.network
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.network.lock().local_address(self.endpoint)
    }

    pub(crate) fn peer_address(&self) -> io::Result<SocketAddr> {
        self.network.lock().peer_address(self.endpoint)
    }

    pub(crate) fn bind(&self, address: &SocketAddr) -> io::Result<()> {
        self.network.lock().bind(self.endpoint, *address)
    }

    pub(crate) fn listen(&self, backlog: i32) -> io::Result<()> {
        self.network.lock().listen(self.endpoint, backlog)
    }

    pub(crate) fn shut_down(&self, direction: Shutdown) -> io::Result<()> {
        self.network.lock().shut_down(self.endpoint, direction)
    }

    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        self.network.lock().duplicate(self.endpoint)?;
        Ok(Self { network: self.network.clone(), endpoint: self.endpoint })
    }

    pub(crate) fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.network.lock().set_linger(self.endpoint, linger)
    }

    pub(crate) fn set(&self, switch: Switch, on: bool) -> io::Result<()> {
        self.network.lock().set(self.endpoint, switch, on)
    }

    pub(crate) fn is_set(&self, switch: Switch) -> io::Result<bool> {
        self.network.lock().is_set(self.endpoint, switch)
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.network.lock().release(self.endpoint);
    }
}

impl std::fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SimSocket").field(&self.endpoint).finish()
    }
}
