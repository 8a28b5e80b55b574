//! What a provider is and can do.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorCode};

/// An I/O interface of an operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Linux io_uring, kernel 5.6 or newer.
    IoUring,
    /// Linux epoll.
    Epoll,
    /// macOS and BSD kqueue.
    Kqueue,
    /// Windows I/O completion ports.
    Iocp,
    /// Windows Registered I/O.
    Rio,
    /// A simulated network; it exists with the feature `sim`, and is never chosen by itself.
    Sim,
}

impl Backend {
    /// All of those of systems, whether this one has them or not.
    pub const ALL: [Self; 5] = [Self::IoUring, Self::Epoll, Self::Kqueue, Self::Iocp, Self::Rio];

    /// The name by which it is chosen and reported.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
            Self::Kqueue => "kqueue",
            Self::Iocp => "iocp",
            Self::Rio => "rio",
            Self::Sim => "sim",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|backend| backend.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            Error::new(
                ErrorCode::InvalidArgument,
                format!("unknown backend '{name}'; choose auto, io_uring, epoll, kqueue, iocp or rio"),
            )
        })
    }
}

/// Something that one provider does better than the plain way. The same calls work without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Registered regions are known to the kernel.
    BufferRegistration,
    /// Sockets are known to the kernel by number.
    FixedFileSet,
    /// Many operations reach the kernel by one call.
    Batching,
    /// Sends without a copy in the kernel.
    ZeroCopySend,
    /// One request accepts many connections.
    MultishotAccept,
    /// One request receives many times.
    MultishotReceive,
    /// The kernel takes receive buffers from a ring when data is there.
    BufferRing,
    /// Completions are worked off only when the owner asks (`IORING_SETUP_DEFER_TASKRUN`).
    DeferredTaskWork,
}

impl Feature {
    const ALL: [Self; 8] = [
        Self::BufferRegistration,
        Self::FixedFileSet,
        Self::Batching,
        Self::ZeroCopySend,
        Self::MultishotAccept,
        Self::MultishotReceive,
        Self::BufferRing,
        Self::DeferredTaskWork,
    ];

    /// The name by which it is asked for, case ignored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BufferRegistration => "BufferRegistration",
            Self::FixedFileSet => "FixedFileSet",
            Self::Batching => "Batching",
            Self::ZeroCopySend => "ZeroCopySend",
            Self::MultishotAccept => "MultishotAccept",
            Self::MultishotReceive => "MultishotReceive",
            Self::BufferRing => "BufferRing",
            Self::DeferredTaskWork => "DeferredTaskWork",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of features.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Features(u32);

impl Features {
    /// The set with one more feature.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | feature.bit())
    }

    /// The set with one more feature, if `condition` holds.
    #[must_use]
    pub const fn with_if(self, condition: bool, feature: Feature) -> Self {
        if condition { self.with(feature) } else { self }
    }

    /// True if the feature is in the set.
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// The set as bits, in the order of [`Feature`].
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The features in the set.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.into_iter().filter(move |&feature| self.has(feature))
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Facts about an open provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderInfo {
    /// The interface in use.
    pub backend: Backend,
    /// What it does better than the plain way, as found on this system.
    pub features: Features,
    /// Entries of the submission queue.
    pub queue_depth: u32,
    /// Entries of the completion queue, or of the event array.
    pub completion_depth: u32,
    /// The most operations in flight at once.
    pub max_operations: u32,
    /// Wanted features that the system refused, each with its reason.
    pub notes: Vec<String>,
}

impl ProviderInfo {
    /// True if the provider has the feature of that name (case ignored); false for unknown names.
    pub fn supports(&self, feature: &str) -> bool {
        self.features.iter().any(|known| known.name().eq_ignore_ascii_case(feature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_found_by_name_in_any_case() {
        for backend in Backend::ALL {
            assert_eq!(backend.name().to_uppercase().parse::<Backend>().unwrap(), backend);
        }
        assert!("select".parse::<Backend>().unwrap_err().to_string().contains("choose auto"));
    }

    #[test]
    fn features_are_asked_by_name_and_unknown_names_are_false() {
        let info = ProviderInfo {
            backend: Backend::Epoll,
            features: Features::default().with(Feature::Batching),
            queue_depth: 32,
            completion_depth: 32,
            max_operations: 1,
            notes: Vec::new(),
        };
        assert!(info.supports("batching"));
        assert!(!info.supports("BufferRegistration"));
        assert!(!info.supports("Teleportation"));
    }
}
