//! How events reach the handler: on the worker itself, or over a queue to a handler thread.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fastport_io::{BufferPool, Lease};

use crate::context::{Context, Desk, Inline};
use crate::framer::Framer;
use crate::handler::Handler;
use crate::limits::Refusal;
use crate::session::{CloseHow, CloseReason, Flow, Link, Session, SessionId, SessionStats};

/// Takes a worker's events to the handler. The worker is generic over it, so that an inline handler is called directly.
pub(crate) trait Delivery<F: Framer>: 'static {
    fn accepted(&mut self, link: &mut Link, desk: &mut Desk<F>);
    fn connected(&mut self, link: &mut Link, desk: &mut Desk<F>, token: u64);
    fn connect_failed(&mut self, desk: &mut Desk<F>, token: u64, address: SocketAddr, error: &fastport_io::Error);
    fn refused(&mut self, desk: &mut Desk<F>, peer: SocketAddr, reason: Refusal);
    /// Bytes of an open session.
    fn received(&mut self, session: &mut Session, desk: &mut Desk<F>, lease: &Lease);
    /// The end of the peer's stream. What came before it is to be answered before the session drains.
    fn peer_ended(&mut self, link: &mut Link, desk: &mut Desk<F>);
    fn sent(&mut self, link: &mut Link, desk: &mut Desk<F>, bytes: usize);
    fn writable(&mut self, link: &mut Link, desk: &mut Desk<F>);
    fn closed(&mut self, desk: &mut Desk<F>, session: SessionId, reason: CloseReason, stats: &SessionStats);
    fn tick(&mut self, desk: &mut Desk<F>);
}

/// The handler lives on the worker.
pub(crate) struct InlineDelivery<F, H> {
    handler: H,
    framer: F,
    pool: BufferPool,
}

impl<F: Framer, H: Handler<F>> InlineDelivery<F, H> {
    pub(crate) fn new(handler: H, desk: &Desk<F>) -> Self {
        Self { handler, framer: desk.framer.clone(), pool: desk.pool.clone() }
    }

    /// Calls the handler for a session. A panic ends the session and nothing else.
    #[inline]
    fn call(&mut self, link: &mut Link, desk: &mut Desk<F>, event: impl FnOnce(&mut H, &mut Context<'_, F>)) {
        let handler = &mut self.handler;
        let called = catch_unwind(AssertUnwindSafe(|| {
            event(handler, &mut Context::inline(Inline { link, desk, lease: None }));
        }));
        if let Err(panic) = called {
            close_after_panic(link, desk, &*panic);
        }
    }

    /// Calls the handler where there is no session to close.
    fn call_without_session(&mut self, desk: &mut Desk<F>, event: impl FnOnce(&mut H)) {
        let handler = &mut self.handler;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| event(handler))) {
            desk.stats.handler_panics += 1;
            tracing::error!(panic = panic_text(&*panic), "the handler panicked");
        }
    }
}

impl<F: Framer, H: Handler<F>> Delivery<F> for InlineDelivery<F, H> {
    fn accepted(&mut self, link: &mut Link, desk: &mut Desk<F>) {
        self.call(link, desk, H::accepted);
    }

    fn connected(&mut self, link: &mut Link, desk: &mut Desk<F>, token: u64) {
        self.call(link, desk, |handler, session| handler.connected(session, token));
    }

    fn connect_failed(&mut self, desk: &mut Desk<F>, token: u64, address: SocketAddr, error: &fastport_io::Error) {
        self.call_without_session(desk, |handler| handler.connect_failed(token, address, error));
    }

    fn refused(&mut self, desk: &mut Desk<F>, peer: SocketAddr, reason: Refusal) {
        self.call_without_session(desk, |handler| handler.refused(peer, reason));
    }

    #[inline]
    fn received(&mut self, session: &mut Session, desk: &mut Desk<F>, lease: &Lease) {
        let Session { receiver, link } = session;
        let Self { handler, framer, pool } = self;
        let before = link.stats.packets_received;
        let fed = catch_unwind(AssertUnwindSafe(|| {
            receiver.feed(framer, pool, lease, |frame, lease| {
                link.stats.packets_received += 1;
                handler.packet(&mut Context::inline(Inline { link, desk, lease }), framer.view(frame));
                if link.is_open() { Flow::Continue } else { Flow::Stop }
            })
        }));
        desk.stats.packets_received += link.stats.packets_received - before;
        match fed {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => {
                tracing::debug!(session = %link.id, peer = %link.peer, %fault, "not a frame; the session is closed");
                desk.close(link, CloseReason::of_frame(fault), CloseHow::AtOnce);
            }
            Err(panic) => close_after_panic(link, desk, &*panic),
        }
    }

    fn peer_ended(&mut self, link: &mut Link, desk: &mut Desk<F>) {
        desk.peer_ended(link);
    }

    #[inline]
    fn sent(&mut self, link: &mut Link, desk: &mut Desk<F>, bytes: usize) {
        self.call(link, desk, |handler, session| handler.sent(session, bytes));
    }

    fn writable(&mut self, link: &mut Link, desk: &mut Desk<F>) {
        self.call(link, desk, H::writable);
    }

    fn closed(&mut self, desk: &mut Desk<F>, session: SessionId, reason: CloseReason, stats: &SessionStats) {
        self.call_without_session(desk, |handler| handler.closed(session, reason, stats));
    }

    fn tick(&mut self, desk: &mut Desk<F>) {
        let now = desk.now;
        self.call_without_session(desk, |handler| handler.tick(now));
    }
}

#[cold]
fn close_after_panic<F>(link: &mut Link, desk: &mut Desk<F>, panic: &(dyn Any + Send)) {
    desk.stats.handler_panics += 1;
    tracing::error!(session = %link.id, peer = %link.peer, panic = panic_text(panic), "the handler panicked");
    desk.close(link, CloseReason::HandlerPanic, CloseHow::Abort);
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return text;
    }
    panic.downcast_ref::<String>().map_or("(no message)", String::as_str)
}
