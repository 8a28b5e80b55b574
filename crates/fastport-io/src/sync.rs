//! Mutexes and atomics of what threads share: those of the standard library, or of loom, which tries every order in which
//! threads can take their steps (`ci/loom`).

#[cfg(fastport_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};
#[cfg(not(fastport_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};
