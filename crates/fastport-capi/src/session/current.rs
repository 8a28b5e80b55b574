//! The callback that runs on this thread, so that calls made inside it find the session at hand.
//!
//! What a callback sends to its own session is then written straight into the session's send queue, and calls that would
//! wait for the callback to end can be refused.

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::ptr::NonNull;

use fastport::{Context, PacketView, SessionId};

use super::fp_server;
use super::framing::Framing;

/// One call into the program.
pub(super) struct Call<'a> {
    server: fp_server,
    session: Option<AtHand<'a>>,
    /// Why the program says that its callback failed.
    failure: RefCell<Option<String>>,
}

/// The session that the call is about.
struct AtHand<'a> {
    id: SessionId,
    context: NonNull<Context<'a, Framing>>,
    packet: Option<PacketView<'a>>,
}

thread_local! {
    /// Points to a call on this thread's stack while it runs.
    static CURRENT: Cell<Option<NonNull<Call<'static>>>> = const { Cell::new(None) };
}

/// Runs a callback without a session.
pub(super) fn run(server: fp_server, callback: impl FnOnce()) {
    enter(&Call { server, session: None, failure: RefCell::new(None) }, callback);
}

/// Runs a callback for a session, and for its packet if there is one.
pub(super) fn run_with<'a>(
    server: fp_server,
    context: &'a mut Context<'_, Framing>,
    packet: Option<PacketView<'a>>,
    callback: impl FnOnce(u64),
) {
    let id = context.id();
    let session = AtHand { id, context: NonNull::from(context).cast(), packet };
    enter(&Call { server, session: Some(session), failure: RefCell::new(None) }, || callback(id.to_bits()));
}

fn enter(call: &Call<'_>, callback: impl FnOnce()) {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.set(None);
        }
    }
    CURRENT.set(Some(NonNull::from(call).cast()));
    let leave = Leave;
    callback();
    drop(leave);
    if let Some(what) = call.failure.take() {
        // The service takes it for a panic of its handler: it logs and counts it, and resets the session.
        resume_unwind(Box::new(what));
    }
}

/// Looks at the callback that runs on this thread.
fn current<R>(look: impl FnOnce(&Call<'_>) -> R) -> Option<R> {
    // SAFETY: `enter` takes the pointer away before the call that it points to ends. What is looked at does not leave this
    // function but by `look`, for which any lifetime has to do.
    CURRENT.get().map(|call| look(unsafe { call.as_ref() }))
}

/// Whether this thread runs a callback of that server.
pub(super) fn is_inside(server: fp_server) -> bool {
    current(|call| call.server == server).unwrap_or(false)
}

/// Acts on the session whose callback runs on this thread, if it is this one.
pub(super) fn with_session<R>(
    server: fp_server,
    session: SessionId,
    act: impl FnOnce(&mut Context<'_, Framing>) -> R,
) -> Option<R> {
    current(|call| {
        let at_hand = call.session.as_ref().filter(|at_hand| call.server == server && at_hand.id == session)?;
        let mut context = at_hand.context;
        // SAFETY: `run_with` has the context to itself while the callback runs, which makes one call at a time; and `act`
        // is a method of the context that does not call the program.
        Some(act(unsafe { context.as_mut() }))
    })?
}

/// Looks at the packet that the callback on this thread was given.
pub(super) fn with_packet<R>(server: fp_server, look: impl FnOnce(PacketView<'_>) -> R) -> Option<R> {
    current(|call| {
        let at_hand = call.session.as_ref().filter(|_| call.server == server)?;
        at_hand.packet.map(look)
    })?
}

/// Keeps why the callback on this thread failed. False if there is none.
pub(super) fn fail(what: String) -> bool {
    current(|call| {
        call.failure.borrow_mut().get_or_insert(what);
    })
    .is_some()
}
