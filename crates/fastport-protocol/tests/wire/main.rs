//! The crate as its users see it: bytes on the wire, messages in and out.

mod behaviour;
mod codec;
mod golden_bytes;
mod messages;
mod payloads;
mod round_trips;
mod views_match_prost;
