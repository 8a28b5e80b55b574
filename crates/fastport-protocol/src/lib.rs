//! FastPort's wire messages.
//!
//! A packet on the wire is `[size u16 BE][id u16 BE][payload]`. Framing belongs to the session
//! crate; this crate knows what an id means and how a payload is read and written:
//!
//! - [`packet_id`]: the ids, one constant each;
//! - [`commons`], [`tests`], [`benchmark`], [`admin`]: the message types, one module for each
//!   protobuf package, generated from `proto/*.proto` and checked in;
//! - [`Encode`], [`Decode`], [`DecodeOwned`]: the traits through which sessions see any message,
//!   whatever protobuf library made it;
//! - [`views`]: borrowed forms of the messages on the hot path, read and written without a copy
//!   or an allocation;
//! - [`behaviour`]: what a server answers, as functions without I/O.
//!
//! Nothing here does I/O, reads a clock or keeps state. Malformed input is an error, never a
//! panic.
//!
//! ```
//! use fastport_protocol::views::{EchoRequestView, EchoResponseView};
//! use fastport_protocol::{Decode, Encode, behaviour};
//!
//! let request = EchoRequestView { data: b"hello", ..Default::default() };
//! let payload = request.to_wire();
//!
//! // On the server: `data` still points into `payload`.
//! let response = behaviour::answer_echo_view(&EchoRequestView::decode_from(&payload)?);
//! let answer = response.to_wire();
//!
//! assert_eq!(EchoResponseView::decode_from(&answer)?.data, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod behaviour;
mod codec;
mod error;
mod messages;
pub mod packet_id;
pub mod views;
mod wire;

pub use codec::{Decode, DecodeOwned, Encode};
pub use error::{DecodeError, EncodeError};
pub use messages::{admin, benchmark, commons, tests};

/// The TCP port that servers listen on and clients connect to unless told otherwise.
pub const DEFAULT_PORT: u16 = 6628;
