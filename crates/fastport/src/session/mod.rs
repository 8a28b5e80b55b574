//! A session: one connection that carries frames. It knows no provider, no thread and no clock.
//!
//! The worker feeds it with what was received, asks it what to send, and tells it the time. Everything here can therefore be
//! tested without a socket.

mod close;
mod id;
mod link;
#[cfg(any(test, fuzzing))]
pub(crate) mod model;
mod receive;
mod send_queue;
mod stats;
mod watch;

pub use close::CloseReason;
pub use id::SessionId;
pub use stats::SessionStats;

pub(crate) use close::CloseHow;
pub(crate) use id::{MAX_SESSIONS, MAX_WORKERS};
pub(crate) use link::{Action, DrainStage, Link, idle_slack};
pub(crate) use receive::{Flow, Receiver};
pub(crate) use watch::Watch;

/// Both halves of a session. They are apart so that a handler can send while it looks at a frame.
///
/// With thousands of sessions each packet finds its session outside the nearest cache. So what a packet needs stands
/// together, here and in [`Link`], and the rest behind it.
#[repr(C)]
pub(crate) struct Session {
    pub(crate) receiver: Receiver,
    pub(crate) link: Link,
}

const _: () = assert!(size_of::<Session>() <= 256, "10 000 idle sessions have a budget");
