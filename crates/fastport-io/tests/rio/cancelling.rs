//! Cancelling and closing while requests are outstanding: the system has no call for it but closing the socket.

use fastport_io::{AsyncIoProvider, CloseMode, ErrorCode, OpId, ProviderConfig, Region, SocketId};
use fastport_rio_emulator::{Disorder, Settings};

use crate::emulated::Emulated;
use crate::rig::{Outcome, Rig, WAIT_LIMIT};

/// More than the system takes without a reader.
const BYTES: usize = 32 << 20;

/// A send by request that cannot end, because nobody reads.
fn blocked_send(rig: &mut Rig<fastport_io::Rio>) -> (SocketId, SocketId, OpId, fastport_io::RegionId) {
    let region = rig.provider.register_region(Region::new(BYTES).unwrap()).unwrap();
    let (client, server) = rig.pair();
    let send = rig.send_registered(client, region, 0, BYTES);
    rig.turn();
    assert!(!rig.is_finished(send));
    (client, server, send, region)
}

#[test]
fn a_blocked_send_that_is_cancelled_takes_its_connection_along() {
    let mut emulated = Emulated::open(&ProviderConfig::default());
    let rig = &mut emulated.rig;
    let (client, server, send, region) = blocked_send(rig);
    let stream = rig.receive_stream(client);
    let behind = rig.send(client, b"behind".to_vec());
    rig.turn();
    rig.provider.cancel(send).unwrap();
    assert_eq!(rig.final_of(send).code(), ErrorCode::Cancelled);
    assert_eq!(rig.final_of(stream).code(), ErrorCode::ConnectionReset);
    assert_eq!(rig.final_of(behind).code(), ErrorCode::ConnectionReset);
    rig.provider.unregister_region(region).expect("no operation uses it any more");
    // The socket is only good for closing, and its operations say so.
    let receive = rig.receive(client, 10);
    assert_eq!(rig.final_of(receive).code(), ErrorCode::ConnectionReset);
    rig.close_now(client);
    rig.close_now(server);
    emulated.assert_all_given_back();
}

#[test]
fn a_socket_with_a_blocked_send_closes_at_once() {
    for mode in [CloseMode::Graceful, CloseMode::Abortive] {
        for seed in 0..5 {
            let mut emulated = Emulated::with_seed(seed, &ProviderConfig::default());
            let rig = &mut emulated.rig;
            let (client, _server, send, region) = blocked_send(rig);
            let close = rig.close(client, mode);
            assert_eq!(rig.final_of(send).code(), ErrorCode::Cancelled);
            assert!(rig.final_of(close).result.is_ok());
            rig.provider.unregister_region(region).expect("no operation uses it any more");
            emulated.assert_all_given_back();
        }
    }
}

#[test]
fn a_send_whose_completion_is_there_is_not_ended() {
    let settings = Settings { disorder: Disorder::NONE, ..Settings::default() };
    let mut emulated = Emulated::with_settings(settings, &ProviderConfig::default());
    let rig = &mut emulated.rig;
    let (client, server) = rig.pair();
    let send = rig.send(client, b"complete".to_vec());
    rig.provider.flush().unwrap();
    let begin = std::time::Instant::now();
    while emulated.emulator.census().completed == 0 {
        assert!(begin.elapsed() < WAIT_LIMIT, "the send does not complete");
        std::thread::yield_now();
    }
    rig.provider.cancel(send).unwrap();
    assert_eq!(rig.final_of(send).bytes_moved(), 8);
    assert_eq!(rig.receive_exactly(server, 8), b"complete");
    rig.assert_connected(client, server);
}

#[test]
fn a_socket_that_is_closed_between_its_data_and_its_request_gives_its_slot_back() {
    for seed in 0..10 {
        let mut emulated = Emulated::with_seed(seed, &ProviderConfig::default());
        let rig = &mut emulated.rig;
        let pairs = rig.pairs(6);
        for &(client, server) in &pairs {
            rig.receive_stream(server);
            rig.send(client, vec![7; 500]);
        }
        for &(_, server) in &pairs {
            rig.turn();
            rig.close(server, CloseMode::Graceful);
        }
        for (client, _) in pairs {
            rig.close_now(client);
        }
        rig.until("all operations have ended", |rig| rig.in_flight() == 0);
        drop(rig.take_arrived());
        assert_eq!(rig.provider.receive_pool().stats().allocated, 0);
        emulated.assert_all_given_back();
    }
}
