//! `fastport server`: serves echo and benchmark requests until it is told to end.

use std::io::{self, Write};
use std::sync::Arc;

use fastport::{Service, ServiceOptions, SessionOptions};
use fastport_io::{Backend, Choice, ProviderConfig, RioOptions, Scheduling};

use crate::answers::{Answers, Unanswered};
use crate::args::{self, ServerArgs};
use crate::failure::{Failure, Result};
use crate::logging::Logging;
use crate::{backend, descriptors, signals};

/// Serves until the first SIGINT or SIGTERM, then drains.
///
/// # Errors
/// If the log filter cannot be read, the backend or a listener cannot be set up, or the service fails.
pub(crate) fn run(args: &ServerArgs, logging: Logging) -> Result<()> {
    if let Some(file) = &args.log_filter_file {
        logging.follow(file.clone())?;
    }
    let rio = &args.backend.rio;
    let provider = rio.apply(provider_config(args)?)?;
    let choose = if args.fallback { backend::choose_or_fall_back } else { backend::choose };
    let backend = choose(args.backend.name(), &provider)?;
    rio.warn_unless_used(&[backend]);
    descriptors::raise_limit();

    let unanswered = Arc::new(Unanswered::default());
    let workers = args.workers.map_or(ServiceOptions::default().workers, usize::from);
    let service = start(args, backend, provider, workers, &unanswered)?;
    let handle = service.handle();
    let drain_limit = args.drain_timeout;
    signals::on_first_request_to_end(move || {
        tracing::info!(?drain_limit, "draining; a second signal ends at once");
        handle.stop(drain_limit);
    })?;
    announce(&service, workers);

    let report = service.wait();
    tracing::info!(
        accepted = report.stats.accepted,
        refused = report.stats.refused,
        aborted = report.aborted,
        packets_received = report.stats.packets_received,
        packets_sent = report.stats.packets_sent,
        unknown_ids = unanswered.unknown_ids(),
        unparsable = unanswered.unparsable(),
        undeliverable = unanswered.undeliverable(),
        "server ended"
    );
    report.failure.map_or(Ok(()), |error| Err(Failure::new(format!("the service failed: {error}"))))
}

fn start(
    args: &ServerArgs,
    backend: Backend,
    provider: ProviderConfig,
    workers: usize,
    unanswered: &Arc<Unanswered>,
) -> Result<Service> {
    let defaults = SessionOptions::default();
    let session = SessionOptions {
        limit_bytes: args.send_limit,
        high_water_bytes: defaults.high_water_bytes.min(args.send_limit),
        low_water_bytes: defaults.low_water_bytes.min(args.send_limit),
        idle_limit: args.idle,
        ..defaults
    };
    let framer = args.limits.framer()?;
    let unanswered = Arc::clone(unanswered);
    let mut builder = Service::builder(move |_worker| Answers::new(Arc::clone(&unanswered)))
        .framer(framer)
        .limits(args.limits.limits()?)
        .backend(Choice::Only(backend))
        .provider(provider)
        .session_options(session)
        .workers(workers)
        .scheduling(if args.batch_scheduling { Scheduling::Batch } else { Scheduling::Inherited })
        .max_sessions(args.max_sessions as usize)
        .log_period(Some(args.log_period));
    for address in &args.bind {
        builder = builder.listen(*address);
    }
    builder.start().map_err(|error| refused(&error))
}

/// The provider of each worker, with the pool that the command line asks for.
fn provider_config(args: &ServerArgs) -> Result<ProviderConfig> {
    /// A receive stream, a send, a close; and some for listeners and timers.
    const OPERATIONS_PER_SESSION: u32 = 4;

    let defaults = ProviderConfig::default();
    let receive_pool = args::receive_pool("--", args.slot_size, args.pool_size, &defaults.receive_pool)?;
    let max_operations = defaults.max_operations.max(args.max_sessions * OPERATIONS_PER_SESSION);
    let rio = RioOptions { log_period: args.log_period, ..defaults.rio };
    Ok(ProviderConfig { receive_pool, max_operations, busy_poll: args.busy_poll, rio, ..defaults })
}

/// The first line on standard output, which scripts wait for: where the server can be reached.
fn announce(service: &Service, workers: usize) {
    let addresses: Vec<String> = service.local_addresses().iter().map(ToString::to_string).collect();
    let plural = if workers == 1 { "" } else { "s" };
    let mut output = io::stdout();
    let (addresses, backend) = (addresses.join(", "), service.backend());
    let line = format!("listening on {addresses} ({backend}, {workers} worker{plural})");
    if let Err(error) = writeln!(output, "{line}").and_then(|()| output.flush()) {
        tracing::warn!(%error, "cannot write to standard output: {line}");
    }
}

fn refused(error: &fastport::Error) -> Failure {
    let fastport::Error::Io(cause) = error else { return Failure::new(error) };
    let remedy = match io::Error::from_raw_os_error(cause.os_code()).kind() {
        _ if cause.os_code() == 0 => return Failure::new(error),
        io::ErrorKind::AddrInUse => "stop the program that has it, or choose another port with --bind",
        io::ErrorKind::AddrNotAvailable => "choose an address of this machine with --bind",
        io::ErrorKind::PermissionDenied => "choose a port from 1024 on with --bind, or ask for the privilege",
        _ => return Failure::new(error),
    };
    Failure::new(format!("{error}; {remedy}"))
}
