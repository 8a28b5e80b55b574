//! FastPort for C and C++: one C ABI over the providers of `fastport-io` and the servers of `fastport`.
//!
//! `include/fastport/fastport.h` is made from the items of this crate by cbindgen, so their comments are the manual of C
//! programmers. What holds for every call:
//!
//! - **Results.** A call returns 0 ([`FP_OK`](error::FP_OK)) or an error number, the same numbers on every system. What it
//!   produces goes through pointers, which are not written if it fails. Why a call failed is kept for each thread
//!   ([`fp_last_error_message`](error::fp_last_error_message)).
//! - **Handles** are 64-bit numbers with a generation. 0, a number that never was a handle, one that was destroyed, and one
//!   of another kind are answered with `FP_INVALID_ARGUMENT`.
//! - **Panics** end at the ABI: a bug in FastPort becomes `FP_OPERATION_FAILED` and never unwinds into C.
//! - **Threads.** Every call may be made from any thread, unless it says otherwise.
//!
//! | room | subject |
//! |---|---|
//! | `error.rs` | error numbers, the last error of a thread, the guard around every entry |
//! | `handle.rs` | the tables from handles to objects |
//! | `pointer.rs` | texts and places for results that C passes |
//! | `provider/` | `fp_provider_*`: sockets, operations and completions |
//! | `session/` | `fp_server_*` and `fp_session_*`: framed servers |

// Names are those of C, so that what stands here and what stands in the header is found by one search.
#![allow(non_camel_case_types, reason = "types carry the names that C programs use")]
#![allow(clippy::missing_safety_doc, reason = "each function tells in prose what its pointers must be")]

pub mod error;
pub mod provider;
pub mod session;

mod handle;
mod pointer;
