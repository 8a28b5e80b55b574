//! Framed TCP sessions over any FastPort I/O provider.
//!
//! A [`Service`] runs workers: threads that each own an I/O provider, their sessions and a [`Handler`]. A handler is told
//! what happens to its sessions and acts on them through a [`Context`]; any other thread does so through a [`Handle`].
//!
//! ```
//! use fastport::{Context, Handler, PacketView, Service};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
//!         // A client that does not read its replies is closed by the service.
//!         let _ = session.send(packet.id, packet.payload);
//!     }
//! }
//!
//! let service = Service::builder(|_worker| Echo).workers(2).listen("127.0.0.1:0".parse()?).start()?;
//! println!("{} listens on {:?}", service.backend(), service.local_addresses());
//! let report = service.stop(std::time::Duration::from_secs(5));
//! assert_eq!(report.failure, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The way of a packet
//!
//! The kernel fills a buffer of the worker's pool. A [`Framer`] finds the packets in it, and the handler sees each where it
//! lies, as a [`PacketView`]. A reply is written straight into the session's send queue, which takes a pool slot for as long
//! as it holds something. When a batch of events is handled, each session posts one send, and all of them reach the
//! kernel together. Nothing on this way is locked, and in steady state nothing is allocated.
//!
//! # What is limited
//!
//! Sessions ([`ServiceOptions::max_sessions`]), what a slow reader may leave unread ([`SessionOptions`]), silence
//! ([`SessionOptions::idle_limit`]), frames ([`Framer::max_frame_bytes`]), buffers (the pools), what other threads may have
//! on the way to a worker ([`SendError::Full`]); and, where asked for, what clients nobody knows may do: sessions from one
//! address, accepts, packets and bytes a second, the time that a packet takes, memory for all send queues ([`Limits`]). A
//! process without descriptors serves whom it can and refuses the rest.
//! A panic of the handler ends the session that it was called for.

#![forbid(unsafe_code)]

pub mod framer;
pub mod packet;
pub mod timer;

mod context;
mod error;
mod handler;
mod limits;
mod options;
mod service;
mod session;
mod sync;

/// What the fuzz targets reach of the inside.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    /// Plays a script against a session; panics if it breaks a promise.
    pub fn session(script: &[u8]) {
        crate::session::model::check(script);
    }
}

pub use context::Context;
pub use error::{Error, SendError};
pub use framer::{Frame, Framer, InvalidFrame, LengthDelimitedFramer, PacketFramer};
pub use handler::Handler;
pub use limits::{Limits, Refusal};
pub use options::{Balance, ConnectOptions, HandlerThreads, Overflow, Reconnect, ServiceOptions, SessionOptions};
pub use packet::{Packet, PacketHeader, PacketId, PacketView, PayloadTooLarge};
#[cfg(feature = "sim")]
pub use service::SimService;
pub use service::{Handle, Service, ServiceBuilder, ServiceStats, SessionHandle, SharedFrame, StopReport};
pub use session::{CloseReason, SessionId, SessionStats};
pub use timer::{TimerId, TimerWheel};
