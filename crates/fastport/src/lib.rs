//! Framed TCP sessions over any FastPort I/O provider.

pub mod framer;
pub mod packet;
pub mod timer;

mod context;
mod error;
mod handler;
mod options;
mod service;
mod session;

pub use context::Context;
pub use error::{Error, SendError};
pub use fastport_io::buffer::Reservation;
pub use framer::{Frame, Framer, InvalidFrame, LengthDelimitedFramer, PacketFramer};
pub use handler::Handler;
pub use options::{Balance, ConnectOptions, HandlerThreads, Overflow, Reconnect, ServiceOptions, SessionOptions};
pub use packet::{Packet, PacketHeader, PacketId, PacketView, PayloadTooLarge};
#[cfg(feature = "sim")]
pub use service::SimService;
pub use service::{Handle, Service, ServiceBuilder, ServiceStats, SessionHandle, SharedFrame, StopReport};
pub use session::{CloseReason, SessionId, SessionStats};
pub use timer::{TimerId, TimerWheel};
