//! How a service is asked for.

use std::net::SocketAddr;
use std::time::Duration;

use fastport_io::{Choice, PoolConfig, ProviderConfig, Scheduling, SocketOptions};

use crate::error::Error;
use crate::framer::{Framer, PacketFramer};
use crate::limits::Limits;
use crate::options::{Balance, HandlerThreads, ServiceOptions, SessionOptions};

/// Sets a service up; made by [`Service::builder`](crate::Service::builder).
#[derive(Clone, Debug)]
pub struct ServiceBuilder<M, F = PacketFramer> {
    pub(super) make_handler: M,
    pub(super) framer: F,
    pub(super) options: ServiceOptions,
}

impl<M> ServiceBuilder<M> {
    pub(super) fn new(make_handler: M) -> Self {
        Self { make_handler, framer: PacketFramer::default(), options: ServiceOptions::default() }
    }
}

impl<M, F> ServiceBuilder<M, F> {
    /// Cuts streams by another framer. The handler must be one for it.
    #[must_use]
    pub fn framer<G: Framer>(self, framer: G) -> ServiceBuilder<M, G> {
        ServiceBuilder { make_handler: self.make_handler, framer, options: self.options }
    }

    /// Replaces all options.
    #[must_use]
    pub fn options(mut self, options: ServiceOptions) -> Self {
        self.options = options;
        self
    }

    /// See [`ServiceOptions::backend`].
    #[must_use]
    pub fn backend(mut self, backend: Choice) -> Self {
        self.options.backend = backend;
        self
    }

    /// See [`ServiceOptions::workers`].
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.options.workers = workers;
        self
    }

    /// Adds an address to listen on; see [`ServiceOptions::listen`].
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.options.listen.push(address);
        self
    }

    /// See [`ServiceOptions::backlog`].
    #[must_use]
    pub fn backlog(mut self, connections: i32) -> Self {
        self.options.backlog = connections;
        self
    }

    /// See [`ServiceOptions::socket`].
    #[must_use]
    pub fn socket_options(mut self, options: SocketOptions) -> Self {
        self.options.socket = options;
        self
    }

    /// See [`ServiceOptions::session`].
    #[must_use]
    pub fn session_options(mut self, options: SessionOptions) -> Self {
        self.options.session = options;
        self
    }

    /// See [`SessionOptions::idle_limit`].
    #[must_use]
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.options.session.idle_limit = Some(limit);
        self
    }

    /// See [`ServiceOptions::provider`].
    #[must_use]
    pub fn provider(mut self, config: ProviderConfig) -> Self {
        self.options.provider = config;
        self
    }

    /// See [`ServiceOptions::send_pool`].
    #[must_use]
    pub fn send_pool(mut self, config: PoolConfig) -> Self {
        self.options.send_pool = config;
        self
    }

    /// See [`ServiceOptions::batch`].
    #[must_use]
    pub fn batch(mut self, completions: usize) -> Self {
        self.options.batch = Some(completions);
        self
    }

    /// See [`ServiceOptions::max_sessions`].
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.options.max_sessions = sessions;
        self
    }

    /// See [`ServiceOptions::limits`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// See [`ServiceOptions::balance`].
    #[must_use]
    pub fn balance(mut self, balance: Balance) -> Self {
        self.options.balance = balance;
        self
    }

    /// See [`ServiceOptions::handlers`].
    #[must_use]
    pub fn handlers(mut self, threads: HandlerThreads) -> Self {
        self.options.handlers = threads;
        self
    }

    /// See [`ServiceOptions::scheduling`].
    #[must_use]
    pub fn scheduling(mut self, scheduling: Scheduling) -> Self {
        self.options.scheduling = scheduling;
        self
    }

    /// See [`ServiceOptions::tick`].
    #[must_use]
    pub fn tick(mut self, period: Duration) -> Self {
        self.options.tick = Some(period);
        self
    }

    /// See [`ServiceOptions::log_period`].
    #[must_use]
    pub fn log_period(mut self, period: Option<Duration>) -> Self {
        self.options.log_period = period;
        self
    }
}

impl<M, F: Framer> ServiceBuilder<M, F> {
    pub(super) fn check(&self) -> Result<(), Error> {
        self.options.check()?;
        let (workers, session_bytes) = (self.options.workers, self.options.session.limit_bytes);
        self.options.limits.check(workers, session_bytes, self.framer.max_frame_bytes())?;
        let (header_bytes, most_bytes) = (self.framer.header_bytes(), self.framer.max_frame_bytes());
        if header_bytes > most_bytes {
            return Err(Error::Options(format!(
                "a framer whose header takes {header_bytes} bytes and whose longest frame takes {most_bytes}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Context, Frame, Framer, Handler, PacketId, PacketView, PayloadTooLarge, Service};

    /// Its longest frame has no room for a header.
    #[derive(Clone)]
    struct Contradiction;

    impl Framer for Contradiction {
        fn header_bytes(&self) -> usize {
            8
        }

        fn max_frame_bytes(&self) -> usize {
            7
        }

        fn inspect(&self, _: &[u8]) -> Frame {
            Frame::NeedMore { at_least: 8 }
        }

        fn view<'a>(&self, frame: &'a [u8]) -> PacketView<'a> {
            PacketView { id: PacketId(0), payload: &frame[8..], frame }
        }

        fn write_header(&self, _: PacketId, _: usize, _: &mut [u8]) -> Result<(), PayloadTooLarge> {
            Ok(())
        }
    }

    struct Silent;

    impl Handler<Contradiction> for Silent {
        fn packet(&mut self, _: &mut Context<'_, Contradiction>, _: PacketView<'_>) {}
    }

    #[test]
    fn a_framer_that_has_no_room_for_its_header_is_refused() {
        let error = Service::builder(|_| Silent).framer(Contradiction).start().unwrap_err().to_string();
        assert!(error.contains("header takes 8 bytes") && error.contains("takes 7"), "{error}");
    }
}
