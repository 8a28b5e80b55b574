//! The options of `fastport server` that limit what clients may do.

use std::time::Duration;

use clap::Args;
use fastport::{Limits, PacketFramer};

use super::values::{seconds_above_zero, size_bytes};
use crate::failure::{Failure, Result};

/// None of these is set by default.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits for clients (off by default)")]
pub(crate) struct LimitArgs {
    /// The most sessions at once from one address (of IPv6: from one network of 64 bits); further clients are turned away.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_sessions_per_address: Option<u32>,

    /// The most clients that each address to listen on accepts in a second; further ones are turned away.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_accepts_per_second: Option<u32>,

    /// The largest packet, header included; a larger one closes its session. Replies are bound to it too.
    #[arg(long, value_name = "BYTES", value_parser = size_bytes)]
    max_packet: Option<usize>,

    /// The most packets from a client in a second; beyond it the session is closed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_packets_per_second: Option<u32>,

    /// The most bytes from a client in a second, at least the largest packet; beyond it the session is closed.
    #[arg(long, value_name = "BYTES", value_parser = size_bytes)]
    max_bytes_per_second: Option<usize>,

    /// Close sessions whose first packet is not there after this time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_above_zero)]
    first_packet_timeout: Option<Duration>,

    /// Close sessions that began a packet and did not finish it within this time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_above_zero)]
    packet_timeout: Option<Duration>,

    /// Close sessions whose client reads nothing of what waits for it for this time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_above_zero)]
    read_timeout: Option<Duration>,

    /// The most bytes in the send queues of all sessions; beyond it those with the most are closed. At least --send-limit for
    /// each worker.
    #[arg(long, value_name = "BYTES", value_parser = size_bytes)]
    send_memory: Option<usize>,
}

impl LimitArgs {
    /// The limits of the service, which checks them against its other options.
    pub(crate) fn limits(&self) -> Result<Limits> {
        let bytes_per_second = self.max_bytes_per_second.map(u32::try_from).transpose().map_err(|_| {
            Failure::usage(format!(
                "--max-bytes-per-second must be below {} bytes; leave it out for no limit",
                u32::MAX
            ))
        })?;
        Ok(Limits {
            sessions_per_address: self.max_sessions_per_address,
            accepts_per_second: self.max_accepts_per_second,
            packets_per_second: self.max_packets_per_second,
            bytes_per_second,
            first_packet: self.first_packet_timeout,
            unfinished_packet: self.packet_timeout,
            unread: self.read_timeout,
            queued_bytes: self.send_memory,
        })
    }

    /// Cuts the streams, up to the largest packet.
    pub(crate) fn framer(&self) -> Result<PacketFramer> {
        let Some(bytes) = self.max_packet else { return Ok(PacketFramer::default()) };
        PacketFramer::with_max_frame_bytes(bytes).map_err(|error| Failure::usage(format!("--max-packet: {error}")))
    }
}
