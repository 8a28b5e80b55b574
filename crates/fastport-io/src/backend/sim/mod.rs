//! A simulated TCP network, to test programs with: deterministic, with a time of its own, and as nasty as wanted.
//!
//! ```text
//!   Sim (provider) ── SimDriver ──┐
//!   Sim (provider) ── SimDriver ──┼── SimNetwork: clock, events, sockets, connections, faults ── seed
//!   Socket (simulated) ───────────┘
//! ```
//! [`SimNetwork`] is made from a seed and a [`FaultPlan`]; the providers that are opened on it keep the contract of
//! [`AsyncIoProvider`](crate::AsyncIoProvider) like all others. A handler, a protocol or a whole service that is generic
//! over the provider runs on it unchanged, and a run that failed is repeated exactly by its seed.
//!
//! It behaves like a TCP: bytes in order, the end of a stream behind its last byte, bounded buffers on both sides, a
//! backlog for each listener, refusals, resets that drop what was not read.
//!
//! | file | subject |
//! |---|---|
//! | `network` | the handle, scheduling |
//! | `state` | clock, events, who is told what |
//! | `endpoint`, `handshake`, `connection` | sockets; how connections begin; bytes, ends and resets |
//! | `driver`, `transfer`, `lane` | the provider's part: operations, their bytes, and when their completions are told |
//! | `plan`, `random` | what goes wrong, and the numbers that decide it |

mod connection;
mod driver;
mod endpoint;
mod errors;
mod handle;
mod handshake;
mod lane;
mod network;
mod plan;
mod random;
mod state;
mod transfer;

pub(crate) use self::driver::SimDriver;
pub(crate) use self::endpoint::Switch;
pub(crate) use self::handle::SimSocket;

pub use self::network::{Entered, SimNetwork, SimStats};
pub use self::plan::{Fault, FaultCounts, FaultPlan};
pub use self::random::Random;

/// A provider on a simulated network. [`AsyncIoProvider::open`](crate::AsyncIoProvider::open) opens it on the network that
/// was entered on the thread; see [`SimNetwork::enter`].
pub type Sim = crate::proactor::Proactor<SimDriver>;
