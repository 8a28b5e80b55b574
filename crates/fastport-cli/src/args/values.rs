//! Values with units on the command line: sizes, times and addresses, each with an error that says what is accepted.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use fastport_io::BusyPoll;

use crate::failure::Failure;

/// The longest time that is accepted: a year, far from any overflow.
const MAX_SECONDS: f64 = 365.0 * 86_400.0;

/// A size in bytes: a number, with `K`, `M` or `G` for powers of 1024.
pub(crate) fn size_bytes(text: &str) -> Result<usize, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let count: usize = digits.parse().map_err(|_| "give a number of bytes, such as 4096, 64K or 16M".to_owned())?;
    count.checked_mul(1 << shift).ok_or_else(|| "this is more memory than there can be".to_owned())
}

/// A time in seconds; fractions are fine.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "give a number of seconds, such as 5 or 0.25".to_owned())?;
    if !(0.0..=MAX_SECONDS).contains(&seconds) {
        return Err(format!("give 0 to {MAX_SECONDS} seconds"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// As [`seconds`], but zero is refused.
pub(crate) fn seconds_above_zero(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("give more than 0 seconds".to_owned()),
        duration => Ok(duration),
    }
}

/// `off`, `always`, or the microseconds of looking for work before sleeping, at most a second.
pub(crate) fn busy_poll(text: &str) -> Result<BusyPoll, String> {
    match (text, text.parse()) {
        ("off", _) => Ok(BusyPoll::Off),
        ("always", _) => Ok(BusyPoll::Always),
        (_, Ok(microseconds @ 1..=1_000_000)) => Ok(BusyPoll::Spin(Duration::from_micros(microseconds))),
        _ => Err("give off, always, or 1 to 1000000 microseconds".to_owned()),
    }
}

/// The first address behind `HOST:PORT`. A host name is looked up, which may take as long as the system's resolver.
pub(crate) fn resolve(host_and_port: &str) -> Result<SocketAddr, Failure> {
    let unusable = |reason: &dyn std::fmt::Display| {
        Failure::new(format!(
            "cannot use the address '{host_and_port}': {reason}; give HOST:PORT, such as 127.0.0.1:6628"
        ))
    };
    let mut addresses = host_and_port.to_socket_addrs().map_err(|error| unusable(&error))?;
    addresses.next().ok_or_else(|| unusable(&"no address has this name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_a_suffix_in_any_case() {
        assert_eq!(size_bytes("4096"), Ok(4096));
        assert_eq!(size_bytes("64k"), Ok(65_536));
        assert_eq!(size_bytes("64K"), Ok(65_536));
        assert_eq!(size_bytes("2M"), Ok(2 << 20));
        assert_eq!(size_bytes("1g"), Ok(1 << 30));
    }

    #[test]
    fn sizes_that_are_none_or_too_large_are_refused() {
        for text in ["", "K", "-1", "1.5K", "1KB", "é", "99999999999999999999", "99999999999999G"] {
            assert!(size_bytes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_are_seconds_with_fractions() {
        assert_eq!(seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert!(seconds_above_zero("0").is_err());
        for text in ["", "-1", "NaN", "inf", "1e300", "5s"] {
            assert!(seconds(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn busy_polling_is_off_always_or_for_a_time() {
        assert_eq!(busy_poll("off"), Ok(BusyPoll::Off));
        assert_eq!(busy_poll("always"), Ok(BusyPoll::Always));
        assert_eq!(busy_poll("50"), Ok(BusyPoll::Spin(Duration::from_micros(50))));
        for refused in ["", "0", "1000001", "-1", "on"] {
            assert!(busy_poll(refused).unwrap_err().contains("always"), "{refused}");
        }
    }

    #[test]
    fn an_address_without_a_port_is_refused_with_an_example() {
        let failure = resolve("127.0.0.1").unwrap_err();
        assert!(failure.to_string().contains("HOST:PORT"), "{failure}");
        assert_eq!(resolve("127.0.0.1:6628").unwrap(), SocketAddr::from(([127, 0, 0, 1], 6628)));
    }
}
