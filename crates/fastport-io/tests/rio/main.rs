//! What Registered I/O does beyond the conformance suite, over the emulator: requests and commits, credit and slots, and
//! failures of every kind. The emulator ends the process on a breach of a rule, so each of these tests is also one of the
//! rules.
#![cfg(windows)]

#[allow(dead_code, reason = "shared with the conformance suite, which uses more of it")]
#[path = "../conformance/rig.rs"]
mod rig;

mod emulated;

mod cancelling;
mod credit;
mod failures;
mod long_run;
mod reporting;
mod sending;
