//! What an application implements.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::framer::{Framer, PacketFramer};
use crate::limits::Refusal;
use crate::packet::PacketView;
use crate::session::{CloseReason, SessionId, SessionStats};

/// The application's side of its sessions.
///
/// Each worker, or each handler thread of a pool, has a handler of its own, made by the closure given to
/// [`Service::builder`](crate::Service::builder). So its methods take `&mut self` and need no locks; what handlers share
/// they hold in an `Arc`. All events of a session come from the same handler, one after another:
///
/// ```text
/// accepted | connected    once, first
/// packet, sent, writable  any number, in the order of the stream
/// closed                  once, last: after the socket's last operation
/// ```
///
/// A method runs on the worker's thread and holds up all its sessions, so it must not wait for anything; for handlers that
/// do, see [`HandlerThreads::Pool`](crate::HandlerThreads::Pool).
///
/// A panic in a method that has a session closes that session with
/// [`HandlerPanic`](CloseReason::HandlerPanic); the handler is used on, so it should keep its own state in order.
///
/// A handler for one framer names it, `impl Handler<LengthDelimitedFramer> for …`; one for any framer is generic:
///
/// ```
/// use fastport::{Context, Framer, Handler, PacketView};
///
/// struct Echo;
///
/// impl<F: Framer> Handler<F> for Echo {
///     fn packet(&mut self, session: &mut Context<'_, F>, packet: PacketView<'_>) {
///         // A client that does not read its replies is closed by the service.
///         let _ = session.send(packet.id, packet.payload);
///     }
/// }
/// ```
#[allow(unused_variables, reason = "the default methods do nothing, and their parameters keep their names")]
pub trait Handler<F: Framer = PacketFramer>: Send + 'static {
    /// A client has connected.
    fn accepted(&mut self, session: &mut Context<'_, F>) {}

    /// A client was accepted and closed at once, because of a limit. When many come in vain this is called often.
    fn refused(&mut self, peer: SocketAddr, reason: Refusal) {}

    /// A connection stands that [`Handle::connect`](crate::Handle::connect) asked for; `token` is what was given there.
    fn connected(&mut self, session: &mut Context<'_, F>, token: u64) {}

    /// An attempt to connect has failed. If reconnecting was asked for, the next one follows by itself.
    fn connect_failed(&mut self, token: u64, address: SocketAddr, error: &fastport_io::Error) {}

    /// A whole packet has arrived. It lies in the receive buffer and is gone after the call.
    fn packet(&mut self, session: &mut Context<'_, F>, packet: PacketView<'_>);

    /// The system has taken `bytes` more bytes of what was sent, headers included.
    fn sent(&mut self, session: &mut Context<'_, F>, bytes: usize) {}

    /// The send queue was above its high-water mark, or refused a message, and is down to the low-water mark again.
    fn writable(&mut self, session: &mut Context<'_, F>) {}

    /// The session is over. Called exactly once for each session that was accepted or connected.
    fn closed(&mut self, session: SessionId, reason: CloseReason, stats: &SessionStats) {}

    /// The period set by [`ServiceBuilder::tick`](crate::ServiceBuilder::tick) is over. Late ticks are not made up for.
    ///
    /// For what is to happen at other times a handler can have a [`TimerWheel`](crate::TimerWheel), and take out here what is
    /// due (`examples/world.rs`).
    fn tick(&mut self, now: Instant) {}
}

/// When the tick after the one of `deadline` is due, which was called at `now`. Ticks that are late are not made up for.
pub(crate) fn next_tick(deadline: Instant, period: Duration, now: Instant) -> Instant {
    let next = deadline + period;
    if next > now { next } else { now + period }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_their_period_and_are_not_made_up_for() {
        let (start, period) = (Instant::now(), Duration::from_millis(10));
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(next_tick(at(10), period, at(10)), at(20));
        assert_eq!(next_tick(at(10), period, at(19)), at(20));
        assert_eq!(next_tick(at(10), period, at(20)), at(30));
        assert_eq!(next_tick(at(10), period, at(75)), at(85));
    }
}
