//! The C ABI of servers, as a C program calls it.

#![allow(clippy::missing_safety_doc, reason = "callbacks of tests")]

mod closing;
mod connecting;
mod exchange;
mod life;
mod misuse;
mod probe;
