//! `fastport client`: sends echo requests one after another, and prints the replies with their round-trip times.

mod handler;
mod requests;

use std::io::{self, BufReader, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastport::{ConnectOptions, SendError, Service, SessionHandle};
use fastport_io::{Choice, ProviderConfig};
use fastport_protocol::commons::Header;
use fastport_protocol::views::EchoRequestView;
use fastport_protocol::{Encode, packet_id};

use crate::args::{self, ClientArgs};
use crate::backend;
use crate::failure::{Failure, Result};
use handler::{Event, Reply, Reporter};
use requests::{Content, requests};

/// How long the connection may take to close at the end.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Sends what the command line asks for.
///
/// # Errors
/// If the server cannot be reached, ends the connection, or leaves a request without its reply.
pub(crate) fn run(args: &ClientArgs) -> Result<()> {
    let server = args::resolve(&args.addr)?;
    let rio = &args.backend.rio;
    let provider = rio.apply(ProviderConfig::default())?;
    let backend = backend::choose(args.backend.name(), &provider)?;
    rio.warn_unless_used(&[backend]);
    let (sender, events) = mpsc::channel();
    let service = Service::builder(move |_worker| Reporter::new(sender.clone()))
        .backend(Choice::Only(backend))
        .provider(provider)
        .workers(1)
        .start()
        .map_err(|error| Failure::new(format!("cannot start the client: {error}")))?;

    let options = ConnectOptions { time_limit: args.timeout, ..ConnectOptions::default() };
    let asked = service.handle().connect(server, 0, options);
    asked.map_err(|error| Failure::new(format!("cannot connect to {server}: {error}")))?;
    let session = match events.recv() {
        Ok(Event::Connected(session)) => session,
        Ok(Event::ConnectFailed(error)) => return Err(unreachable(&args.addr, &error)),
        _ => return Err(Failure::new(format!("cannot connect to {server}: the connection ended at once"))),
    };

    let mut dialogue = Dialogue { session, events, timeout: args.timeout, next_id: 1, summary: Summary::default() };
    let done = dialogue.run(requests(args, BufReader::new(io::stdin())), args.interval);
    let shown = print(&dialogue.summary);
    service.stop(CLOSE_LIMIT);
    done.and(shown)?;
    dialogue.summary.judge()
}

fn unreachable(address: &str, error: &fastport_io::Error) -> Failure {
    let remedy = match error.code() {
        fastport_io::ErrorCode::ConnectionRefused => "nobody listens there; start one with 'fastport server'",
        fastport_io::ErrorCode::Timeout | fastport_io::ErrorCode::ConnectionTimeout => {
            "check the address and firewalls, or raise --timeout"
        }
        _ => "check the address",
    };
    Failure::new(format!("cannot connect to {address}: {error}; {remedy}"))
}

/// Requests and replies on one connection.
struct Dialogue {
    session: SessionHandle,
    events: Receiver<Event>,
    timeout: Duration,
    /// Ids go up by 2, because a reply has the id after its request's.
    next_id: u64,
    summary: Summary,
}

impl Dialogue {
    /// Sends the requests, each when the one before was answered or given up.
    ///
    /// # Errors
    /// If the connection ends, a request cannot be made, or standard output is closed.
    fn run(&mut self, requests: impl Iterator<Item = Result<Content>>, interval: Duration) -> Result<()> {
        for (index, content) in requests.enumerate() {
            if index > 0 && !interval.is_zero() {
                std::thread::sleep(interval);
            }
            self.exchange(&content?)?;
        }
        Ok(())
    }

    fn exchange(&mut self, content: &Content) -> Result<()> {
        let request_id = self.next_id;
        self.next_id += 2;
        let sent = Instant::now();
        self.send(request_id, content)?;
        self.summary.sent += 1;
        let sequence = self.summary.sent;
        let Some(reply) = self.reply_to(request_id)? else {
            return print(&format_args!("seq={sequence} no reply within {:?}", self.timeout));
        };
        if !reply.is_ok || reply.data != content.data() || reply.text != content.text() {
            return print(&format_args!("seq={sequence} the reply is not what was sent"));
        }
        let round_trip = reply.received.saturating_duration_since(sent);
        self.summary.record(round_trip);
        let time = Microseconds(round_trip);
        match content {
            Content::Data(data) => print(&format_args!("{} bytes: seq={sequence} time={time}", data.len())),
            Content::Text(text) => print(&format_args!("{text}  (seq={sequence} time={time})")),
        }
    }

    fn send(&self, request_id: u64, content: &Content) -> Result<()> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let request = EchoRequestView {
            header: Some(Header { request_id, timestamp_ms: since_epoch.as_millis() as u64 }),
            data: content.data(),
            data_str: content.text(),
        };
        match self.session.send(packet_id::ECHO, &request.to_wire()) {
            // The end of the connection comes as an event, with its reason: whoever waits for the reply will see it.
            Ok(()) | Err(SendError::Closed) => Ok(()),
            Err(error) => Err(Failure::new(format!("cannot send: {error}"))),
        }
    }

    /// The reply to a request, or `None` if it does not come in time. Replies to earlier requests come too late and are
    /// passed over.
    fn reply_to(&self, request_id: u64) -> Result<Option<Reply>> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(rest) {
                Ok(Event::Reply(reply)) if reply.request_id == request_id => return Ok(Some(reply)),
                Ok(Event::Closed(reason)) => {
                    return Err(Failure::new(format!("the connection ended before the reply: {reason}")));
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new("the client's worker has ended; --log debug may tell why"));
                }
            }
        }
    }
}

/// Prints a line. Standard output may be a pipe that somebody has closed, which is no reason to panic.
fn print(line: &dyn std::fmt::Display) -> Result<()> {
    writeln!(io::stdout(), "{line}").map_err(|error| Failure::new(format!("cannot write to standard output: {error}")))
}

/// What came of all requests.
#[derive(Debug, Default)]
struct Summary {
    sent: u64,
    received: u64,
    shortest: Duration,
    longest: Duration,
    total: Duration,
}

impl Summary {
    fn record(&mut self, round_trip: Duration) {
        self.shortest = if self.received == 0 { round_trip } else { self.shortest.min(round_trip) };
        self.longest = self.longest.max(round_trip);
        self.total += round_trip;
        self.received += 1;
    }

    fn lost(&self) -> u64 {
        self.sent - self.received
    }

    fn judge(&self) -> Result<()> {
        match self.lost() {
            0 => Ok(()),
            lost => Err(Failure::new(format!("{lost} of {} requests got no correct reply", self.sent))),
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} sent, {} received, {} lost", self.sent, self.received, self.lost())?;
        if self.received == 0 {
            return Ok(());
        }
        let mean = Duration::from_secs_f64(self.total.as_secs_f64() / self.received as f64);
        let (shortest, mean, longest) = (Microseconds(self.shortest), Microseconds(mean), Microseconds(self.longest));
        write!(f, "; round trip min {shortest}, mean {mean}, max {longest}")
    }
}

/// A time in µs with one decimal.
struct Microseconds(Duration);

impl std::fmt::Display for Microseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} µs", self.0.as_secs_f64() * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_losses_and_times() {
        let mut summary = Summary { sent: 3, ..Summary::default() };
        summary.record(Duration::from_micros(100));
        summary.record(Duration::from_micros(50));
        assert_eq!(
            summary.to_string(),
            "3 sent, 2 received, 1 lost; round trip min 50.0 µs, mean 75.0 µs, max 100.0 µs"
        );
        assert!(summary.judge().is_err());
    }

    #[test]
    fn a_summary_without_replies_has_no_times() {
        assert_eq!(Summary::default().to_string(), "0 sent, 0 received, 0 lost");
        assert!(Summary::default().judge().is_ok());
    }
}
