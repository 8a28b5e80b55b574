//! Tests of the simulated network itself: that it behaves like a TCP, that each fault really happens, and that a seed
//! repeats. That its provider keeps the contract is shown by the conformance suite.
#![cfg(feature = "sim")]

mod faults;
mod party;
mod tcp;
mod time;
