//! Framed TCP sessions.

pub mod framer;
pub mod packet;
pub mod timer;

pub use framer::{Frame, Framer, InvalidFrame, LengthDelimitedFramer, PacketFramer};
pub use packet::{Packet, PacketHeader, PacketId, PacketView, PayloadTooLarge};
pub use timer::{TimerId, TimerWheel};
