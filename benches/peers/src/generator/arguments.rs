//! The command line.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use fastport_peers::frame::{HEADER_BYTES, MAX_FRAME_BYTES};

/// Loads a server of framed packets and prints what it did as one line of JSON.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// The server.
    #[arg(long)]
    pub(crate) addr: SocketAddr,
    /// Sessions that ask.
    #[arg(long, default_value_t = 1)]
    pub(crate) sessions: usize,
    /// Sessions that ask once and are silent from then on.
    #[arg(long, default_value_t = 0)]
    pub(crate) idle: usize,
    /// Requests that each session has under way.
    #[arg(long, default_value_t = 1)]
    pub(crate) depth: usize,
    /// Payload bytes, or a range like 4096..16384 from which each request takes one at random.
    #[arg(long, default_value = "64")]
    pub(crate) payload: Payload,
    /// What the payload is.
    #[arg(long, value_enum, default_value_t = Content::Bytes)]
    pub(crate) content: Content,
    /// One session more, with this many requests under way; its replies count neither as packets nor in the times.
    #[arg(long, default_value_t = 0)]
    pub(crate) flood: usize,
    /// How long to measure, in seconds.
    #[arg(long, default_value = "1.5", value_parser = seconds)]
    pub(crate) secs: Duration,
    /// How long to load before measuring, in seconds.
    #[arg(long, default_value = "0.4", value_parser = seconds)]
    pub(crate) warmup: Duration,
    /// The server's process, whose CPU time and memory are measured.
    #[arg(long)]
    pub(crate) server_pid: Option<u32>,
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Content {
    /// Anything; the server sends the frame back as it is.
    Bytes,
    /// An echo request of FastPort's protocol with that many data bytes.
    Echo,
    /// A benchmark request of FastPort's protocol with that many payload bytes.
    Benchmark,
}

/// The range of payload sizes.
#[derive(Clone, Debug)]
pub(crate) struct Payload(pub(crate) RangeInclusive<usize>);

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse::<usize>().map_err(|error| format!("{part}: {error}"));
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        Ok(Self(number(least)?..=number(most)?))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map_err(|error| format!("{error}"))
        .and_then(|secs| Duration::try_from_secs_f64(secs).map_err(|error| error.to_string()))
}

impl Arguments {
    /// Room for the fields of a message around its payload.
    const MESSAGE_BYTES: usize = 64;

    pub(crate) fn check(&self) -> Result<(), String> {
        let most =
            MAX_FRAME_BYTES - HEADER_BYTES - if self.content == Content::Bytes { 0 } else { Self::MESSAGE_BYTES };
        let (least, largest) = (*self.payload.0.start(), *self.payload.0.end());
        if least > largest || largest > most {
            return Err(format!("payload {least}..{largest}: choose 0 to {most}, the smaller one first"));
        }
        if self.content != Content::Bytes && least != largest {
            return Err("messages have one size: give --payload one number".to_owned());
        }
        if self.sessions == 0 || self.depth == 0 {
            return Err("--sessions and --depth are at least 1".to_owned());
        }
        Ok(())
    }
}
