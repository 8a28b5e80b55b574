//! Sends and receives between the memory of operations and the connections of the network, with what can go wrong in them.

use super::connection::{Side, Transferred};
use super::driver::SocketState;
use super::endpoint::Kind;
use super::errors::Failure;
use super::lane::Report;
use super::plan::Fault;
use super::state::State;
use crate::error::{Error, Result};
use crate::operation::{OpId, OpKind};
use crate::proactor::Core;
use crate::slab::Key;

/// What a try came to.
pub(super) enum Tried {
    Nothing,
    Achieved(Report),
    /// Bytes of a send were taken, but not all of them.
    SentPart(u32),
    /// A stream found no buffer.
    NoBuffer,
}

pub(super) fn send(state: &mut State, core: &mut Core<SocketState>, id: OpId, connection: Key, side: Side) -> Tried {
    let Some(transfer) = core.transfer(id) else { return Tried::Nothing };
    let (start, bytes) = transfer.first;
    let rest = transfer.second.map_or(0, |(_, bytes)| bytes);
    // SAFETY: the operation keeps this range alive until it is finished, which is after this call, and nothing else runs
    // on this thread, to which the memory belongs, while it lasts.
    let part = unsafe { std::slice::from_raw_parts(start.cast_const(), bytes) };
    match send_part(state, connection, side, part) {
        Ok(0) => Tried::Nothing,
        Ok(taken) if taken as usize == bytes && rest == 0 => Tried::Achieved(Report::Sent(taken)),
        Ok(taken) => Tried::SentPart(taken),
        Err(error) => Tried::Achieved(Report::Finished(Err(error))),
    }
}

/// Sends what the connection takes of `bytes`; 0 if it has no room.
pub(super) fn send_part(state: &mut State, connection: Key, side: Side, bytes: &[u8]) -> Result<u32> {
    if let Some(error) = transfer_fault(state, connection) {
        return Err(error);
    }
    let mut part = bytes;
    if part.len() > 1 && state.strikes(Fault::ShortSend) {
        part = &part[..state.random.within(&(1..=part.len() as u64 - 1)) as usize];
    }
    match state.send(connection, side, part) {
        Transferred::Bytes(taken) => Ok(taken as u32),
        Transferred::Nothing => Ok(0),
        Transferred::End => Err(Failure::Ended.into()),
        Transferred::Reset => Err(Failure::Reset.into()),
    }
}

pub(super) fn receive(state: &mut State, core: &mut Core<SocketState>, id: OpId, connection: Key, side: Side) -> Tried {
    if !state.is_readable(connection, side) {
        return Tried::Nothing;
    }
    if let Some(error) = transfer_fault(state, connection) {
        return Tried::Achieved(Report::Finished(Err(error)));
    }
    let is_stream = core.op(id).is_some_and(|op| op.kind == OpKind::ReceiveStream);
    if is_stream {
        if state.receivable(connection, side) == 0 {
            let end = state.receive(connection, side, &mut []);
            return Tried::Achieved(Report::Finished(ended(end)));
        }
        let Some(mut buffer) = core.pool.acquire() else { return Tried::NoBuffer };
        return match receive_into(state, connection, side, &mut buffer) {
            Transferred::Bytes(bytes) => Tried::Achieved(Report::Bytes(buffer.freeze(bytes))),
            end => Tried::Achieved(Report::Finished(ended(end))),
        };
    }
    let Some(transfer) = core.transfer(id) else { return Tried::Nothing };
    let (start, bytes) = transfer.first;
    // SAFETY: the range is initialised memory that belongs to the operation alone until it is finished, which is after
    // this call.
    let buffer = unsafe { std::slice::from_raw_parts_mut(start, bytes) };
    match receive_into(state, connection, side, buffer) {
        Transferred::Bytes(bytes) => Tried::Achieved(Report::Received(bytes as u32)),
        Transferred::End => Tried::Achieved(Report::Received(0)),
        end => Tried::Achieved(Report::Finished(ended(end))),
    }
}

fn receive_into(state: &mut State, connection: Key, side: Side, buffer: &mut [u8]) -> Transferred {
    if state.strikes(Fault::Scribble) {
        let noise = state.random.next() as u8;
        buffer.fill(noise);
    }
    let available = state.receivable(connection, side).min(buffer.len());
    let mut limit = buffer.len();
    if available > 1 && state.strikes(Fault::ShortReceive) {
        limit = state.random.within(&(1..=available as u64 - 1)) as usize;
    }
    state.receive(connection, side, &mut buffer[..limit])
}

fn ended(how: Transferred) -> Result<u32> {
    match how {
        Transferred::End => Ok(0),
        _ => Err(Failure::Reset.into()),
    }
}

/// What goes wrong in a transfer: a lack of buffers, which passes. A reset is found by the transfer itself.
fn transfer_fault(state: &mut State, connection: Key) -> Option<Error> {
    if state.strikes(Fault::Reset) {
        state.tear_down(connection);
        return None;
    }
    let no_buffers = state.strikes(Fault::NoBuffers);
    no_buffers.then(|| Failure::NoBuffers.into())
}

/// The connection that a transfer works on. `None` if it is still to be made.
pub(super) fn connection_of(state: &State, endpoint: Key) -> Result<Option<(Key, Side)>> {
    match state.endpoints.get(endpoint).map(|endpoint| &endpoint.kind) {
        Some(Kind::Connected { connection, side }) => Ok(Some((*connection, *side))),
        Some(Kind::Connecting(_)) => Ok(None),
        _ => Err(Failure::NotConnected.into()),
    }
}
