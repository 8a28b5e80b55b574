//! Choosing a backend at run time: the best that can really be set up, with the reasons why better ones were passed over.

use std::fmt;
use std::str::FromStr;

use crate::backend;
use crate::config::ProviderConfig;
use crate::error::{Error, ErrorCode, Result};
use crate::info::Backend;

/// The environment variable that overrides `auto`.
pub const BACKEND_VARIABLE: &str = "FASTPORT_BACKEND";

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The best that works here, or what [`BACKEND_VARIABLE`] says.
    #[default]
    Auto,
    /// This one or an error.
    Only(Backend),
}

impl FromStr for Choice {
    type Err = Error;

    /// `auto` or the name of a backend, in any case.
    fn from_str(name: &str) -> Result<Self> {
        if name.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        name.parse().map(Self::Only)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Only(backend) => backend.fmt(f),
        }
    }
}

/// A backend that works here.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The one to use.
    pub backend: Backend,
    /// Better ones that could not be set up, and why.
    pub passed_over: Vec<(Backend, Error)>,
}

impl fmt::Display for Selection {
    /// `epoll (io_uring: blocked by …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.backend)?;
        for (backend, error) in &self.passed_over {
            write!(f, " ({backend}: {error})")?;
        }
        Ok(())
    }
}

/// Finds the backend for a choice by trying to set it up with `config`.
///
/// With [`Choice::Auto`] the variable `FASTPORT_BACKEND` is read first; `auto` and an empty value count as unset. The reason
/// for a fall-back is kept in the [`Selection`]; telling it is the caller's part, so that it is told once.
///
/// # Errors
/// The reason why the chosen backend cannot run here; with `Auto`, all reasons if none can; `InvalidArgument` for a name in
/// the variable that does not exist.
pub fn select(choice: Choice, config: &ProviderConfig) -> Result<Selection> {
    config.check()?;
    match choice {
        Choice::Only(backend) => only(backend, config),
        Choice::Auto => match from_environment()? {
            Some(backend) => only(backend, config).map_err(|error| error.during(format_args!("{BACKEND_VARIABLE}"))),
            None => best(config),
        },
    }
}

/// Why `backend` cannot run here, or `Ok` if it can.
pub fn is_supported(backend: Backend) -> Result<()> {
    backend::probe(backend, &ProviderConfig::default())
}

/// All backends that can run here, best first.
pub fn supported() -> Vec<Backend> {
    backend::COMPILED.iter().copied().filter(|&backend| is_supported(backend).is_ok()).collect()
}

fn from_environment() -> Result<Option<Backend>> {
    let Ok(name) = std::env::var(BACKEND_VARIABLE) else { return Ok(None) };
    if name.is_empty() {
        return Ok(None);
    }
    match name.parse::<Choice>().map_err(|error| error.during(format_args!("{BACKEND_VARIABLE}={name}")))? {
        Choice::Auto => Ok(None),
        Choice::Only(backend) => Ok(Some(backend)),
    }
}

fn only(backend: Backend, config: &ProviderConfig) -> Result<Selection> {
    backend::probe(backend, config).map_err(|error| error.during(backend))?;
    Ok(Selection { backend, passed_over: Vec::new() })
}

fn best(config: &ProviderConfig) -> Result<Selection> {
    let mut passed_over = Vec::new();
    for &backend in backend::COMPILED {
        match backend::probe(backend, config) {
            Ok(()) => return Ok(Selection { backend, passed_over }),
            Err(error) => passed_over.push((backend, error)),
        }
    }
    let reasons: Vec<String> = passed_over.iter().map(|(backend, error)| format!("{backend}: {error}")).collect();
    Err(Error::new(ErrorCode::PlatformNotSupported, format!("no backend works here ({})", reasons.join("; "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_parsed_in_any_case() {
        assert_eq!("AUTO".parse::<Choice>().unwrap(), Choice::Auto);
        assert_eq!("Epoll".parse::<Choice>().unwrap(), Choice::Only(Backend::Epoll));
        assert_eq!("io_uring".parse::<Choice>().unwrap(), Choice::Only(Backend::IoUring));
        assert!("fastest".parse::<Choice>().is_err());
    }

    #[test]
    fn a_backend_of_another_system_is_refused_with_those_that_exist() {
        let foreign = if cfg!(windows) { Backend::Epoll } else { Backend::Iocp };
        let error = select(Choice::Only(foreign), &ProviderConfig::default()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PlatformNotSupported);
        assert!(error.to_string().contains("this system has"), "{error}");
    }

    #[test]
    fn auto_finds_a_backend_that_is_among_the_supported() {
        let selection = best(&ProviderConfig::default()).unwrap();
        assert!(supported().contains(&selection.backend));
    }
    #[cfg(unix)]
    #[test]
    fn a_trial_interrupts_no_call_of_its_caller() {
        use std::io::{ErrorKind, Read};
        use std::os::unix::net::UnixStream;
        use std::time::Duration;

        for _ in 0..20 {
            supported();
            let (mut reader, _writer) = UnixStream::pair().unwrap();
            reader.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            assert_eq!(reader.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }
}
