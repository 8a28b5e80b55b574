//! What the readiness engine promises beyond the contract of all backends: fairness, hot buffers, blocking modes, and the
//! corners where an edge or an error is told only once.
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fastport_io::{
    AsyncIoProvider, Completion, CompletionBatch, Epoll, ErrorCode, OpKind, Payload, PoolConfig, ProviderConfig,
    Socket, SocketId, SocketOptions, socket,
};

/// Far above what a loaded machine needs.
const LIMIT: Duration = Duration::from_secs(20);

fn provider_with(slot_bytes: usize, slots: u32) -> Epoll {
    let receive_pool = PoolConfig { slot_bytes, initial_slots: slots, max_slots: slots };
    Epoll::open(&ProviderConfig { receive_pool, ..ProviderConfig::default() }).unwrap()
}

/// A connection: the far end, and the near end attached.
fn connect(provider: &mut Epoll) -> (TcpStream, SocketId) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    far.set_read_timeout(Some(LIMIT)).unwrap();
    let near = Socket::from(listener.accept().unwrap().0);
    (far, provider.attach(near).unwrap())
}

fn next(provider: &mut Epoll) -> Completion {
    let mut batch = CompletionBatch::with_capacity(1);
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        provider.process_completions(&mut batch, Some(Duration::from_millis(100))).unwrap();
        if let Some(completion) = batch.drain().next() {
            return completion;
        }
    }
    panic!("no completion within {LIMIT:?}");
}

/// Polls until nothing more is told, so that the engine has seen every edge up to now.
fn settle(provider: &mut Epoll) {
    let mut batch = CompletionBatch::with_capacity(16);
    assert_eq!(provider.process_completions(&mut batch, Some(Duration::ZERO)).unwrap(), 0);
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LIMIT, "{what} within {LIMIT:?}");
        std::thread::yield_now();
    }
}

fn bytes_of(completion: &Completion) -> &[u8] {
    match &completion.payload {
        Payload::Lease(lease) => lease,
        other => panic!("a lease was expected, not {other:?}"),
    }
}

#[test]
fn no_more_is_received_at_a_time_than_stays_in_the_cache() {
    const MEBIBYTE: usize = 1 << 20;
    const SLOT: usize = 64 * 1024;
    const PAIRS: usize = 48;
    let mut provider = provider_with(SLOT, PAIRS as u32);
    let pairs: Vec<_> = (0..PAIRS).map(|_| connect(&mut provider)).collect();
    for (far, near) in &pairs {
        let mut far = far;
        far.write_all(&vec![7; SLOT]).unwrap();
        provider.receive_stream(*near, 0).unwrap();
    }
    let (mut received, mut most) = (0, 0);
    let mut batch = CompletionBatch::with_capacity(2 * PAIRS);
    wait_until("everything arrives", || {
        provider.process_completions(&mut batch, Some(Duration::ZERO)).unwrap();
        let bytes = batch.drain().map(|completion| bytes_of(&completion).len()).sum();
        most = most.max(bytes);
        received += bytes;
        received == PAIRS * SLOT
    });
    assert!(most < MEBIBYTE + SLOT, "{most} bytes at a time");
}

#[test]
fn packets_of_all_sizes_come_back_as_they_were_sent() {
    let mut provider = provider_with(4096, 8);
    let (mut far, near) = connect(&mut provider);
    provider.receive_stream(near, 1).unwrap();
    let client = std::thread::spawn(move || {
        for size in (1..20_000).step_by(997) {
            let sent: Vec<u8> = (0..size).map(|at| (at * size) as u8).collect();
            far.write_all(&sent).unwrap();
            let mut received = vec![0; size];
            far.read_exact(&mut received).unwrap();
            assert!(sent == received, "a packet of {size} bytes came back changed");
        }
    });
    loop {
        let completion = next(&mut provider);
        match (completion.kind, completion.payload) {
            (OpKind::ReceiveStream, Payload::Lease(lease)) => drop(provider.send(near, lease.into(), 2).unwrap()),
            (OpKind::ReceiveStream, _) => {
                assert_eq!(completion.result, Ok(0));
                break;
            }
            (kind, _) => assert!(kind == OpKind::Send && completion.result.is_ok()),
        }
    }
    client.join().unwrap();
    assert_eq!(provider.receive_pool().stats().allocated, 0);
}

#[test]
fn a_flood_neither_starves_another_socket_nor_fills_more_than_the_batch_has_room_for() {
    let mut provider = provider_with(64, 16);
    let (mut flooder, flooded) = connect(&mut provider);
    let (mut other, quiet) = connect(&mut provider);
    flooder.write_all(&[7; 64 * 100]).unwrap();
    provider.receive_stream(flooded, 1).unwrap();
    provider.receive_stream(quiet, 2).unwrap();
    assert_eq!(next(&mut provider).context, 1);

    other.write_all(b"now").unwrap();
    let turns = (0..100).take_while(|_| {
        let completion = next(&mut provider);
        assert_eq!(provider.receive_pool().stats().allocated, 1, "buffers are filled as completions are asked for");
        completion.context == 1
    });
    assert!(turns.count() <= 3, "one turn each");
}

#[test]
fn data_behind_an_urgent_mark_is_delivered() {
    let mut provider = provider_with(4096, 8);
    let (mut far, near) = connect(&mut provider);
    provider.receive_stream(near, 1).unwrap();
    settle(&mut provider);
    far.write_all(b"before").unwrap();
    socket2::SockRef::from(&far).send_out_of_band(b"!").unwrap();
    far.write_all(b"behind").unwrap();
    let mut received = Vec::new();
    while received.len() < 12 {
        received.extend_from_slice(bytes_of(&next(&mut provider)));
    }
    assert_eq!(received, b"beforebehind");
}

#[test]
fn a_reset_that_a_send_finds_first_is_no_end_of_file_for_the_receive() {
    let mut provider = provider_with(4096, 8);
    let (far, near) = connect(&mut provider);
    provider.receive_stream(near, 1).unwrap();
    settle(&mut provider);
    socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
    drop(far);
    wait_until("the reset arrives", || provider.socket(near).unwrap().peer_addr().is_err());

    provider.send(near, vec![1].into(), 2).unwrap();
    for _ in 0..2 {
        let completion = next(&mut provider);
        assert_eq!(completion.error().unwrap().code(), ErrorCode::ConnectionReset, "{completion:?}");
    }
    provider.receive_stream(near, 3).unwrap();
    assert_eq!(next(&mut provider).error().unwrap().code(), ErrorCode::ConnectionReset);
}

#[test]
fn what_was_received_before_the_end_is_delivered_before_it_even_in_small_buffers() {
    let mut provider = provider_with(64, 2);
    let (mut far, near) = connect(&mut provider);
    far.write_all(&[3; 64 * 3]).unwrap();
    drop(far);
    provider.receive_stream(near, 1).unwrap();
    for _ in 0..3 {
        assert_eq!(bytes_of(&next(&mut provider)), [3; 64]);
    }
    let end = next(&mut provider);
    assert_eq!((end.result, end.more), (Ok(0), false));
    assert_eq!(provider.receive_pool().stats().allocated, 0);
}

#[test]
fn streams_without_a_buffer_go_on_one_by_one_in_the_order_in_which_they_waited() {
    let mut provider = provider_with(64, 1);
    let mut connections: Vec<(TcpStream, SocketId)> = (0..4).map(|_| connect(&mut provider)).collect();
    for (context, (far, near)) in connections.iter_mut().enumerate() {
        far.write_all(b"x").unwrap();
        provider.receive_stream(*near, context as u64).unwrap();
    }
    let mut batch = CompletionBatch::with_capacity(16);
    let mut order = Vec::new();
    let begin = Instant::now();
    while order.len() < 4 && begin.elapsed() < LIMIT {
        assert!(provider.process_completions(&mut batch, Some(Duration::from_millis(10))).unwrap() <= 1);
        order.extend(batch.drain().map(|completion| completion.context));
    }
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn a_detached_socket_blocks_again_as_it_did_before() {
    let mut provider = provider_with(4096, 8);
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    for blocks in [true, false] {
        let listener = provider.create_socket(&address).unwrap();
        socket::listen(&listener, &address, 16, &SocketOptions::default()).unwrap();
        listener.set_nonblocking(!blocks).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = provider.attach(listener).unwrap();
        let accept = provider.accept_stream(listener, 0).unwrap();
        let _far = TcpStream::connect(address).unwrap();
        match next(&mut provider).payload {
            Payload::Socket(connection) => assert!(!connection.nonblocking().unwrap(), "accepted connections block"),
            other => panic!("a connection was expected, not {other:?}"),
        }
        provider.cancel(accept).unwrap();
        assert!(next(&mut provider).error().unwrap().is_cancelled());
        assert_eq!(provider.detach(listener).unwrap().nonblocking().unwrap(), !blocks);
    }
}

#[test]
fn a_send_that_the_peer_does_not_read_waits_and_its_reset_is_told() {
    let mut provider = provider_with(4096, 8);
    let (far, near) = connect(&mut provider);
    provider.send(near, vec![9; 64 << 20].into(), 1).unwrap();
    settle(&mut provider);
    far.set_nonblocking(true).unwrap();
    assert_ne!((&far).read(&mut [0; 16]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    // Closing with unread data resets the connection.
    drop(far);
    let completion = next(&mut provider);
    assert_eq!(completion.error().unwrap().code(), ErrorCode::ConnectionReset);
}
