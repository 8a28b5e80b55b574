//! Windows Registered I/O for systems that have none, and for tests that must not forgive.
//!
//! The emulator fills the same `RIO_EXTENSION_FUNCTION_TABLE` as Windows does, over ordinary overlapped calls, so that a
//! caller of Registered I/O runs on Wine. It is made to find faults of its caller:
//!
//! - It checks every `Rule` of the interface and reports a `Breach`: by default it ends the process, because whatever
//!   the caller does next is undefined on Windows; a test of the rules themselves collects them instead.
//! - It is stricter than the documents. A request queue's share of a completion queue comes back only when its socket is
//!   closed **and** its last completion was dequeued; a range may not be sent twice at a time; who goes to sleep has
//!   committed what was deferred.
//! - It is disorderly, by a seed: requests and completions are held, completions of different sockets change places,
//!   notifications come late, early, or for nothing, a deferred request starts at once or only when committed.
//!
//! ```text
//!   caller ──▶ table.rs ──▶ kernel.rs: queues, requests, buffers, credit ◀── engine.rs: one thread that moves everything
//!     │                          ▲                                              │
//!     └── closesocket, WSASocket ┘ sockets.rs                                   └──▶ WSASend, WSARecv, the caller's port
//! ```
//!
//! `Emulator` is the way in. Outside Windows the crate is empty. It is test support: nothing that is released may
//! depend on it.

#![cfg(windows)]

mod completion_queue;
mod disorder;
mod emulator;
mod engine;
mod exclusion;
mod guard;
mod kernel;
mod request_queue;
mod rules;
mod sockets;
mod table;

pub use disorder::Disorder;
pub use emulator::{Census, Emulator, OnBreach, Settings};
pub use rules::{Breach, Rule};
pub use table::query;
