//! The emulator catches a breach of every rule: for each there is a caller that breaks it. Where a rule says what the
//! system does, and not what the caller must do, the test shows a caller that relied on the opposite.
#![cfg(windows)]

mod caller;
mod disorder;
mod memory;
mod notification;
mod queues;
mod requests;
mod teardown;
