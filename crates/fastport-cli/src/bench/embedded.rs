//! The server that a benchmark brings along.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fastport::Service;
use fastport_io::Choice;

use super::load::{self, Run};
use crate::answers::{Answers, Unanswered};
use crate::failure::{Failure, Result};

/// How long sessions may take to close; the load generator has closed them all before.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A server in this process, on a free port of the loopback interface. The same handlers as in `fastport server`.
pub(super) struct EmbeddedServer {
    service: Service,
    address: SocketAddr,
}

impl EmbeddedServer {
    /// Starts a server that has room for the run's workload.
    ///
    /// # Errors
    /// If the service cannot start.
    pub(super) fn start(run: &Run<'_>) -> Result<Self> {
        let unanswered = Arc::new(Unanswered::default());
        let service = Service::builder(move |_worker| Answers::new(Arc::clone(&unanswered)))
            .backend(Choice::Only(run.backend))
            .workers(usize::from(run.server_workers))
            .session_options(load::session_options(run.workload)?)
            .provider(run.provider.clone())
            .max_sessions(run.workload.sessions as usize)
            .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .start()
            .map_err(|error| Failure::new(format!("cannot start the embedded server: {error}")))?;
        let address = service.local_addresses()[0];
        Ok(Self { service, address })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and waits for its threads.
    pub(super) fn stop(self) {
        self.service.stop(CLOSE_LIMIT);
    }
}
