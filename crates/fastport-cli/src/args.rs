//! The command line.
//!
//! Only what an option accepts on its own is checked here (exit code 2). Backends stay text until a subcommand starts,
//! because a backend that does not exist and one that does not run here end in the same way: one line, exit code 1.

mod backend;
mod limits;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fastport_io::BusyPoll;

pub(crate) use backend::{BackendArgs, RioArgs, receive_pool};
use limits::LimitArgs;
pub(crate) use values::resolve;
use values::{busy_poll, seconds, seconds_above_zero, size_bytes};

use crate::bench::MAX_PAYLOAD_BYTES;
use crate::doctor::DoctorArgs;

/// The most sessions that can be asked for.
const MAX_SESSIONS: i64 = 1_000_000;

/// Where servers listen and clients connect unless told otherwise.
const DEFAULT_ADDRESS: &str = "127.0.0.1:6628";

/// FastPort: framed TCP sessions over io_uring, epoll and their kin.
#[derive(Debug, Parser)]
#[command(name = "fastport", version, propagate_version = true)]
pub(crate) struct CommandLine {
    /// What to log on standard error: a level, or targets with levels ('warn,fastport=debug').
    /// [default: info for 'server', warn for the others]
    #[arg(long, value_name = "FILTER", env = "FASTPORT_LOG", global = true, display_order = 100)]
    pub(crate) log: Option<String>,

    /// Run Registered I/O over its emulator.
    #[cfg(all(windows, feature = "rio-emulator"))]
    #[arg(long, global = true, hide = true)]
    pub(crate) rio_emulator: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve echo and benchmark requests until Ctrl-C or SIGTERM.
    Server(ServerArgs),
    /// Send echo requests and print the replies with their round-trip times.
    Client(ClientArgs),
    /// Measure latency and throughput, of a server of its own or of the one at --addr.
    Bench(BenchArgs),
    /// Tell which backends run here, why not the others, and what to change.
    Doctor(DoctorArgs),
}

/// Options of `fastport server`.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Address to listen on; may be repeated. Port 0 takes any free one, which is then printed.
    #[arg(long, value_name = "IP:PORT", default_value = DEFAULT_ADDRESS)]
    pub(crate) bind: Vec<SocketAddr>,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    /// Take the next best backend, with a warning, if the chosen one cannot start.
    #[arg(long)]
    pub(crate) fallback: bool,

    /// Threads that serve sessions. [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,

    /// What a worker without work does: sleep at once (off), look for work for so many microseconds first, or never sleep
    /// (always). Halves the round trip of a lone client, for up to a core of each worker.
    #[arg(long, value_name = "off|MICROSECONDS|always", default_value = "off", value_parser = busy_poll)]
    pub(crate) busy_poll: BusyPoll,

    /// Let workers wait for their turn on cores that are shared with other programs, and handle what came meanwhile in one
    /// go (SCHED_BATCH, Linux): more packets for the same processor time, later by up to a time slice.
    #[arg(long)]
    pub(crate) batch_scheduling: bool,

    /// The most memory for receive buffers of one worker (64K, 32M, …).
    #[arg(long, value_name = "BYTES", value_parser = size_bytes)]
    pub(crate) pool_size: Option<usize>,

    /// Size of one receive buffer. Best is the largest packet that is common.
    #[arg(long, value_name = "BYTES", value_parser = size_bytes)]
    pub(crate) slot_size: Option<usize>,

    /// The most sessions at once; further clients are turned away.
    #[arg(long, value_name = "N", default_value = "65536", value_parser = clap::value_parser!(u32).range(1..=MAX_SESSIONS))]
    pub(crate) max_sessions: u32,

    /// The most bytes that may wait to be sent to a client that reads too slowly; beyond it the session is closed.
    #[arg(long, value_name = "BYTES", default_value = "4M", value_parser = size_bytes)]
    pub(crate) send_limit: usize,

    /// Close sessions that were silent for this long. [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = seconds_above_zero)]
    pub(crate) idle: Option<Duration>,

    /// How long sessions may take to send what is queued after the first Ctrl-C or SIGTERM; a second one ends at once.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) drain_timeout: Duration,

    /// How often each worker logs the use of its pools and its batches, at level 'debug'; Registered I/O at 'info'.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds_above_zero)]
    pub(crate) log_period: Duration,

    /// File with a filter as for --log. It is looked at every second, so the log can be changed while the server runs.
    /// While there is no such file, or nothing in it, --log counts.
    #[arg(long, value_name = "FILE", display_order = 101)]
    pub(crate) log_filter_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// Options of `fastport client`.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// Texts to send, each as one request, in place of generated bytes.
    #[arg(value_name = "TEXT", conflicts_with_all = ["stdin", "size"])]
    pub(crate) texts: Vec<String>,

    /// Send each line of standard input as one request.
    #[arg(long, conflicts_with_all = ["size", "count"])]
    pub(crate) stdin: bool,

    /// Server to connect to.
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_ADDRESS)]
    pub(crate) addr: String,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    /// How many requests to send; texts are sent that often each. [default: 4 without texts, 1 with]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// Bytes of content in each request.
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = clap::value_parser!(u32).range(0..=MAX_PAYLOAD_BYTES))]
    pub(crate) size: u32,

    /// Pause between a reply and the next request.
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub(crate) interval: Duration,

    /// How long to wait for the connection, and for each reply.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds_above_zero)]
    pub(crate) timeout: Duration,
}

/// Options of `fastport bench`.
///
/// Without options that describe a workload, a standard set of them is run.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Server to measure. [default: a server inside this process]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) addr: Option<String>,

    /// Backends to compare; runs take turns. [default: all that work here, but rio]
    ///
    /// With --addr this is the load generator's, otherwise the embedded server's too.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) backend: Vec<String>,

    #[command(flatten)]
    pub(crate) rio: RioArgs,

    /// Workers of the embedded server.
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "addr", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: u16,

    /// Threads of the load generator.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) io_threads: u16,

    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,

    /// Requests of each session in one run, in place of --secs.
    #[arg(long, value_name = "N", conflicts_with = "secs", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) iterations: Option<u32>,

    /// How long one run is measured.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds_above_zero)]
    pub(crate) secs: Duration,

    /// Requests of each session before the measurement. [default: about 5 000 for all sessions together, at least 10 each]
    #[arg(long, value_name = "N")]
    pub(crate) warmup: Option<u32>,

    /// How often everything is run.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,

    /// Give up on a connection or a reply that does not come for this long.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds_above_zero)]
    pub(crate) timeout: Duration,

    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

/// Where results go beside the table.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub(crate) struct ReportArgs {
    /// Write one line for each run to this file; '-' is standard output, and the table then goes to standard error.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,

    /// As --csv, as a JSON array of objects.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// As --csv, as a page with plots and tables, which needs no other file.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// The options that describe a workload of one's own.
#[derive(Debug, Args)]
#[command(next_help_heading = "A workload of one's own")]
pub(crate) struct WorkloadArgs {
    /// What the workload is called in the results. [default: custom]
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,

    /// Connections. [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_SESSIONS))]
    pub(crate) sessions: Option<u32>,

    /// Requests that each session has under way at once. [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) depth: Option<u32>,

    /// Bytes of payload in each request. [default: 64]
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["payload_min", "payload_max"], value_parser = clap::value_parser!(u32).range(0..=MAX_PAYLOAD_BYTES))]
    pub(crate) payload: Option<u32>,

    /// Random payload sizes, from this …
    #[arg(long, value_name = "BYTES", requires = "payload_max", value_parser = clap::value_parser!(u32).range(0..=MAX_PAYLOAD_BYTES))]
    pub(crate) payload_min: Option<u32>,

    /// … to this.
    #[arg(long, value_name = "BYTES", requires = "payload_min", value_parser = clap::value_parser!(u32).range(0..=MAX_PAYLOAD_BYTES))]
    pub(crate) payload_max: Option<u32>,

    /// Different payloads, generated before the run. [default: 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) payload_pool: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn refusal(arguments: &[&str]) -> ErrorKind {
        CommandLine::try_parse_from(arguments).unwrap_err().kind()
    }

    #[test]
    fn the_definitions_are_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_bench_without_arguments_is_complete() {
        let line = CommandLine::try_parse_from(["fastport", "bench"]).unwrap();
        let Command::Bench(bench) = line.command else { panic!("not a bench") };
        assert!(bench.addr.is_none() && bench.backend.is_empty() && bench.iterations.is_none());
        assert_eq!(bench.secs, Duration::from_secs(2));
    }

    #[test]
    fn backends_are_separated_by_commas() {
        let line = CommandLine::try_parse_from(["fastport", "bench", "--backend", "io_uring,epoll"]).unwrap();
        let Command::Bench(bench) = line.command else { panic!("not a bench") };
        assert_eq!(bench.backend, ["io_uring", "epoll"]);
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(refusal(&["fastport", "bench", "--iterations", "5", "--secs", "1"]), ErrorKind::ArgumentConflict);
        assert_eq!(
            refusal(&["fastport", "bench", "--payload", "5", "--payload-min", "1", "--payload-max", "2"]),
            ErrorKind::ArgumentConflict
        );
        assert_eq!(refusal(&["fastport", "bench", "--payload-min", "5"]), ErrorKind::MissingRequiredArgument);
        assert_eq!(refusal(&["fastport", "client", "--stdin", "hello"]), ErrorKind::ArgumentConflict);
        for command in ["server", "client", "bench"] {
            assert_eq!(refusal(&["fastport", command, "--rio", "--backend", "iocp"]), ErrorKind::ArgumentConflict);
        }
    }

    #[test]
    fn the_switch_for_registered_io_is_its_name() {
        let CommandLine { command: Command::Server(server), .. } =
            CommandLine::try_parse_from(["fastport", "server", "--rio"]).unwrap()
        else {
            panic!("not a server")
        };
        assert_eq!(server.backend.name(), "rio");
        let CommandLine { command: Command::Bench(bench), .. } =
            CommandLine::try_parse_from(["fastport", "bench", "--rio"]).unwrap()
        else {
            panic!("not a bench")
        };
        assert_eq!(bench.rio.or_names(&bench.backend), ["rio"]);
    }

    #[test]
    fn values_outside_their_range_are_refused() {
        assert_eq!(refusal(&["fastport", "bench", "--sessions", "0"]), ErrorKind::ValueValidation);
        assert_eq!(refusal(&["fastport", "bench", "--payload", "65531"]), ErrorKind::ValueValidation);
        assert_eq!(refusal(&["fastport", "server", "--workers", "0"]), ErrorKind::ValueValidation);
        assert_eq!(refusal(&["fastport", "server", "--idle", "0"]), ErrorKind::ValueValidation);
    }
}
