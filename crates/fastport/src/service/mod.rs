//! The service: workers that each own a provider and its sessions, and the handles that reach them.

mod handle;
mod hub;
mod mailbox;
mod slots;
mod stats;

pub use handle::{Handle, SessionHandle, SharedFrame};
pub use stats::ServiceStats;

pub(crate) use mailbox::Command;
