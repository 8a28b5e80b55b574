//! Framed TCP sessions.

pub mod packet;

pub use packet::{Packet, PacketHeader, PacketId, PacketView, PayloadTooLarge};
