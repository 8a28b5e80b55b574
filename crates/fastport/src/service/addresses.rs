//! How many sessions the clients of each address have. The acceptors ask, where a limit is set; packets do not come by.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

/// Sessions by address, shared by the workers. It knows those addresses only that have sessions.
pub(super) struct Addresses {
    limit: u32,
    sessions: Mutex<HashMap<IpAddr, u32>>,
}

impl Addresses {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, sessions: Mutex::default() }
    }

    /// Counts one more session for a client's address. False at the limit.
    pub(super) fn claim(&self, peer: SocketAddr) -> bool {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sessions.entry(origin(peer)).or_default();
        let is_free = *count < self.limit;
        *count += u32::from(is_free);
        is_free
    }

    /// Undoes a [`claim`](Self::claim) that succeeded.
    pub(super) fn release(&self, peer: SocketAddr) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = origin(peer);
        if let Some(count) = sessions.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&origin);
            }
        }
    }
}

/// What counts as one address: an IPv4 address, also as IPv6 spells it, or an IPv6 network.
fn origin(peer: SocketAddr) -> IpAddr {
    const NETWORK: u128 = !(u64::MAX as u128);
    match peer.ip().to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 1000)
    }

    #[test]
    fn places_of_an_address_come_free_and_are_forgotten() {
        let addresses = Addresses::new(2);
        assert!(addresses.claim(peer("10.0.0.1")) && addresses.claim(peer("10.0.0.1")));
        assert!(!addresses.claim(peer("10.0.0.1")));
        assert!(addresses.claim(peer("10.0.0.2")), "others have places of their own");
        addresses.release(peer("10.0.0.1"));
        assert!(addresses.claim(peer("10.0.0.1")));
        for address in ["10.0.0.1", "10.0.0.1", "10.0.0.2"] {
            addresses.release(peer(address));
        }
        assert!(addresses.sessions.lock().unwrap().is_empty());
    }

    #[test]
    fn neighbours_in_an_ipv6_network_and_both_spellings_of_ipv4_are_one() {
        let addresses = Addresses::new(1);
        assert!(addresses.claim(peer("2001:db8:1:2:3:4:5:6")));
        assert!(!addresses.claim(peer("2001:db8:1:2:ffff::1")));
        assert!(addresses.claim(peer("2001:db8:1:3::1")));
        assert!(addresses.claim(peer("192.0.2.1")));
        assert!(!addresses.claim(peer("::ffff:192.0.2.1")));
    }
}
