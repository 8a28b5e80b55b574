//! A simulated network with virtual time and faults, to test programs on (feature `sim`).
//!
//! ```
//! use fastport_io::sim::{Fault, FaultPlan, SimNetwork};
//! use fastport_io::{AsyncIoProvider, CompletionBatch, ProviderConfig};
//! use std::time::Duration;
//!
//! // Everything follows from the seed: the same one repeats the same run.
//! let plan = FaultPlan::default().with(Fault::Reset, 0.01).with(Fault::SlowCompletion, 0.3);
//! let network = SimNetwork::new(42, plan);
//! let mut provider = network.provider(&ProviderConfig::default())?;
//! provider.timeout(Duration::from_secs(86_400), 1)?;
//! let mut batch = CompletionBatch::with_capacity(1);
//! // A day in no time.
//! assert_eq!(provider.process_completions(&mut batch, None)?, 1);
//! assert!(network.elapsed() >= Duration::from_secs(86_400));
//! # Ok::<(), fastport_io::Error>(())
//! ```
//!
//! Code that is generic over [`AsyncIoProvider`](crate::AsyncIoProvider) runs on [`Sim`]; what opens its provider itself
//! is run inside [`SimNetwork::enter`].

pub use crate::backend::{Entered, Fault, FaultCounts, FaultPlan, Random, Sim, SimNetwork, SimStats};
