//! A server of C's from its creation to its end.
//!
//! ```text
//!   created ──start──▶ running ──stop, wait──▶ ending ──▶ ended
//!      └──────────────────── destroy ───────────────────────▲
//! ```

use std::ffi::CStr;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use fastport::{Handle, Service, ServiceOptions, StopReport};
use fastport_io::{Error, ErrorCode, Result};

use super::callbacks::{Callbacks, Caller};
use super::fp_server;
use super::framing::Framing;
use crate::error::invalid;

pub(super) struct Server {
    pub(super) framing: Framing,
    pub(super) callbacks: Callbacks,
    life: Mutex<Life>,
    has_ended: Condvar,
    /// How the running service is reached; kept after its end. Callbacks come before the start is over, so it is not part
    /// of `life`, which a start holds all the time.
    handle: RwLock<Option<Handle>>,
    backend: OnceLock<&'static CStr>,
}

enum Life {
    Created(Box<ServiceOptions>),
    Running(Service),
    /// A thread waits for the service's threads.
    Ending,
    /// With its report, if it ever ran.
    Ended(Option<Box<StopReport>>),
}

impl Server {
    pub(super) fn new(options: ServiceOptions, framing: Framing, callbacks: Callbacks) -> Self {
        Self {
            framing,
            callbacks,
            life: Mutex::new(Life::Created(Box::new(options))),
            has_ended: Condvar::new(),
            handle: RwLock::new(None),
            backend: OnceLock::new(),
        }
    }

    /// Adds an address to listen on, before the start.
    pub(super) fn listen(&self, address: SocketAddr) -> Result<()> {
        match &mut *lock(self.life.lock()) {
            Life::Created(options) => {
                options.listen.push(address);
                Ok(())
            }
            _ => Err(started_already()),
        }
    }

    /// Starts the service. `number` is the server's own handle, for its callbacks.
    pub(super) fn start(self: &Arc<Self>, number: fp_server) -> Result<()> {
        let mut life = lock(self.life.lock());
        let options = match &*life {
            Life::Created(options) => (**options).clone(),
            _ => return Err(started_already()),
        };
        let server = Arc::clone(self);
        let builder = Service::builder(move |thread| Caller::new(Arc::clone(&server), number, thread));
        let service = match builder.framer(self.framing).options(options).start() {
            Ok(service) => service,
            Err(error) => {
                // A callback may have made it known already.
                *lock(self.handle.write()) = None;
                return Err(why_not_started(error));
            }
        };
        self.runs_with(&service.handle());
        let _ = self.backend.set(crate::provider::backend_name(service.backend()));
        *life = Life::Running(service);
        Ok(())
    }

    /// Makes the running service known to all threads.
    pub(super) fn runs_with(&self, handle: &Handle) {
        lock(self.handle.write()).get_or_insert_with(|| handle.clone());
    }

    pub(super) fn is_running(&self) -> bool {
        lock(self.handle.read()).is_some()
    }

    /// Does something short with the service.
    pub(super) fn with_handle<R>(&self, act: impl FnOnce(&Handle) -> Result<R>) -> Result<R> {
        match &*lock(self.handle.read()) {
            Some(handle) => act(handle),
            None => Err(Error::new(ErrorCode::NotInitialized, "the server does not run; call fp_server_start first")),
        }
    }

    /// The backend in use, once the server runs.
    pub(super) fn backend(&self) -> Option<&'static CStr> {
        self.backend.get().copied()
    }

    /// Waits until the service has ended. Several threads may.
    pub(super) fn wait(&self) -> Result<StopReport> {
        let mut life = lock(self.life.lock());
        loop {
            match std::mem::replace(&mut *life, Life::Ending) {
                Life::Running(service) => {
                    drop(life);
                    let report = service.wait();
                    *lock(self.life.lock()) = Life::Ended(Some(Box::new(report.clone())));
                    self.has_ended.notify_all();
                    return Ok(report);
                }
                Life::Ending => life = lock(self.has_ended.wait(life)),
                Life::Ended(Some(report)) => {
                    *life = Life::Ended(Some(report.clone()));
                    return Ok(*report);
                }
                never_ran @ (Life::Created(_) | Life::Ended(None)) => {
                    *life = never_ran;
                    return Err(Error::new(ErrorCode::NotInitialized, "the server was not started"));
                }
            }
        }
    }

    /// Drains for at most `drain_limit` and waits for the end. An error if the server had ended already.
    pub(super) fn stop(&self, drain_limit: Duration) -> Result<StopReport> {
        if matches!(&*lock(self.life.lock()), Life::Ended(_)) {
            return Err(Error::new(ErrorCode::NotInitialized, "the server has stopped already"));
        }
        self.with_handle(|handle| {
            handle.stop(drain_limit);
            Ok(())
        })?;
        self.wait()
    }

    /// Ends the server whatever it does, without draining. When this returns, no callback runs any more.
    pub(super) fn end(&self) {
        {
            let mut life = lock(self.life.lock());
            if matches!(&*life, Life::Created(_)) {
                *life = Life::Ended(None);
            }
        }
        // What cannot be stopped or waited for has never run.
        let _ = self.with_handle(|handle| {
            handle.stop(Duration::ZERO);
            Ok(())
        });
        let _ = self.wait();
    }
}

fn started_already() -> Error {
    Error::new(
        ErrorCode::AlreadyInitialized,
        "the server was started already; a server starts once, create another one",
    )
}

fn why_not_started(error: fastport::Error) -> Error {
    match error {
        fastport::Error::Io(error) => error,
        error @ fastport::Error::Options(_) => invalid(error.to_string()),
        error => Error::new(ErrorCode::NoResources, error.to_string()),
    }
}

fn lock<G>(locked: std::result::Result<G, PoisonError<G>>) -> G {
    locked.unwrap_or_else(PoisonError::into_inner)
}
