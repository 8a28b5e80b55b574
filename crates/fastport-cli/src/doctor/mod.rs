//! `fastport doctor`: which backends run here, why not the others, and what to change.
//!
//! [`facts`] reads the system, [`advice`] judges what was read, [`report`] is both as text and as JSON.

mod advice;
mod facts;
mod report;

use std::io::{self, Write};

use clap::Args;
use fastport_io::{AsyncIoProvider, Backend, Choice, ProviderConfig, ProviderInfo, Visitor, with_backend};

use self::facts::Facts;
use self::report::{BackendReport, Report};
use crate::backend;
use crate::failure::{Failure, Result};

/// Options of `fastport doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// I/O backend that has to run here: auto, io_uring, epoll, kqueue, iocp or rio. Exit code 1 if it does not.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) backend: String,

    /// Write a JSON object instead of text. A limit of null means that there is none.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Examines the system and prints what it found.
///
/// # Errors
/// If the chosen backend cannot run here, with the words that the server would have for it; the report is printed before.
pub(crate) fn run(args: &DoctorArgs) -> Result<()> {
    let choice: Choice = args.backend.parse()?;
    let config = ProviderConfig::default();
    let selected = fastport_io::select(choice, &config);
    let chosen = selected.as_ref().ok().map(|selection| selection.backend);
    let backends = Backend::ALL.into_iter().map(|backend| examine(backend, chosen, &config)).collect();
    let report = Report::new(backends, Facts::read());
    print(&report, args.json).map_err(|error| Failure::new(format!("cannot write the report: {error}")))?;
    selected.map(drop).map_err(|error| backend::refused(&error))
}

/// Opens a provider, looks at it, and closes it again.
fn examine(backend: Backend, chosen: Option<Backend>, config: &ProviderConfig) -> BackendReport {
    struct Look<'a>(&'a ProviderConfig);
    impl Visitor for Look<'_> {
        type Output = fastport_io::Result<ProviderInfo>;
        fn visit<P: AsyncIoProvider + 'static>(self) -> Self::Output {
            P::open(self.0).map(|provider| provider.info().clone())
        }
    }
    let looked = with_backend(backend, Look(config)).and_then(|opened| opened);
    BackendReport::new(backend, chosen == Some(backend), looked)
}

fn print(report: &Report, json: bool) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut output, report)?;
        writeln!(output)?;
    } else {
        write!(output, "{report}")?;
    }
    output.flush()
}
