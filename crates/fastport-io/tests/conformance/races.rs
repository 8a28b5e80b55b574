//! Cancelling at the very moment of success: what has happened is delivered or stays for the next operation.
//!
//! The peer is a plain socket of the standard library, whose calls have taken effect when they return. So the provider
//! has the success at hand, and has not been asked for it, when the cancellation is requested.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use fastport_io::{AsyncIoProvider, CloseMode, ErrorCode, OpId, ProviderConfig, SocketId};

use crate::rig::{Listener, Outcome, Rig};

/// Enough to meet different orders of events; each takes some ten microseconds.
const ROUNDS: usize = 40;

/// How far the provider is when the peer acts: in half of the rounds the system has the operation already.
fn begin<P: AsyncIoProvider>(rig: &mut Rig<P>, round: usize) {
    match round % 4 {
        0 => {}
        1 => {
            rig.provider.flush().unwrap();
        }
        _ => rig.turn(),
    }
}

/// A connection to a plain socket, attached.
fn connection_to_a_plain_peer<P: AsyncIoProvider>(rig: &mut Rig<P>) -> (SocketId, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    (rig.attach(accepted.into()), peer)
}

/// The connection came by the operation, or waits for the next one.
fn assert_not_lost<P: AsyncIoProvider>(rig: &mut Rig<P>, listener: Listener, accept: OpId, mut peer: TcpStream) {
    let mut delivered = Vec::new();
    loop {
        let step = rig.step_of(accept);
        let more = step.more;
        match step.result {
            Ok(_) => delivered.push(step.into_socket()),
            Err(error) => assert_eq!(error.code(), ErrorCode::Cancelled),
        }
        if !more {
            break;
        }
    }
    if delivered.is_empty() {
        let again = rig.accept(listener.id);
        delivered.push(rig.final_of(again).into_socket());
    }
    assert_eq!(delivered.len(), 1);
    let server = rig.attach(delivered.remove(0));
    peer.write_all(b"not lost").unwrap();
    assert_eq!(rig.receive_exactly(server, 8), b"not lost");
    rig.close_now(server);
}

pub(crate) fn a_connection_is_not_lost_to_a_late_cancel_of_its_accept<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    for round in 0..ROUNDS {
        let accept = rig.accept(listener.id);
        begin(&mut rig, round);
        let peer = TcpStream::connect(listener.address).unwrap();
        rig.provider.cancel(accept).unwrap();
        assert_not_lost(&mut rig, listener, accept, peer);
    }
}

pub(crate) fn a_connection_is_not_lost_to_a_late_cancel_of_its_accept_stream<P: AsyncIoProvider>(
    config: &ProviderConfig,
) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    for round in 0..ROUNDS {
        let accepting = rig.accept_stream(listener.id);
        begin(&mut rig, round);
        let peer = TcpStream::connect(listener.address).unwrap();
        rig.provider.cancel(accepting).unwrap();
        assert_not_lost(&mut rig, listener, accepting, peer);
    }
}

/// With the listener goes its queue, so the late connection is delivered or closed; its peer is told in either case.
pub(crate) fn a_connection_that_is_late_for_its_closed_listener_is_delivered_or_closed<P: AsyncIoProvider>(
    config: &ProviderConfig,
) {
    let mut rig = Rig::<P>::open(config);
    for round in 0..ROUNDS {
        let listener = rig.listen();
        rig.accept_stream(listener.id);
        begin(&mut rig, round);
        let peer = TcpStream::connect(listener.address).unwrap();
        let close = rig.close(listener.id, CloseMode::Graceful);
        assert!(rig.final_of(close).result.is_ok());
        // Dropping what was delivered closes it, too.
        drop(rig.take_arrived());
        peer.set_read_timeout(Some(crate::rig::WAIT_LIMIT)).unwrap();
        match std::io::Read::read(&mut &peer, &mut [0; 1]) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

pub(crate) fn data_is_not_lost_to_a_late_cancel_of_its_receive<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (socket, mut peer) = connection_to_a_plain_peer(&mut rig);
    for round in 0..ROUNDS {
        let receive = rig.receive(socket, 64);
        begin(&mut rig, round);
        peer.write_all(b"late").unwrap();
        rig.provider.cancel(receive).unwrap();
        let last = rig.final_of(receive);
        if last.result.is_ok() {
            assert_eq!(last.bytes(), b"late");
        } else {
            assert_eq!(last.code(), ErrorCode::Cancelled);
            assert_eq!(rig.receive_exactly(socket, 4), b"late");
        }
    }
}

pub(crate) fn data_is_not_lost_to_a_late_cancel_of_its_stream<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (socket, mut peer) = connection_to_a_plain_peer(&mut rig);
    for round in 0..ROUNDS {
        let stream = rig.receive_stream(socket);
        begin(&mut rig, round);
        peer.write_all(b"late").unwrap();
        rig.provider.cancel(stream).unwrap();
        let mut received = Vec::new();
        loop {
            let step = rig.step_of(stream);
            if !step.more {
                assert_eq!(step.code(), ErrorCode::Cancelled);
                break;
            }
            received.extend_from_slice(step.bytes());
        }
        received.extend(rig.receive_exactly(socket, 4 - received.len()));
        assert_eq!(received, b"late");
    }
    assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
}

/// A cancelled send is whole, or not begun, or cut; what arrived is always a beginning of what was sent.
pub(crate) fn a_cancelled_send_is_cut_nowhere_but_at_its_end<P: AsyncIoProvider>(config: &ProviderConfig) {
    let sent = crate::rig::pattern(40, 2 << 20);
    let mut rig = Rig::<P>::open(config);
    for round in 0..4 {
        let (client, server) = rig.pair();
        rig.narrow(client, server);
        let send = rig.send(client, sent.clone());
        begin(&mut rig, round);
        // It may be complete already.
        let _ = rig.provider.cancel(send);
        let last = rig.final_of(send);
        rig.close_now(client);
        let received = rig.receive_to_end(server);
        crate::rig::assert_same(&received, &sent[..received.len()]);
        if last.result.is_ok() {
            assert_eq!(received.len(), sent.len());
        }
    }
}
