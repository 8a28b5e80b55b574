//! Dropping sockets, buffers and the provider with operations in flight.
//!
//! These tests count the descriptors of the process, so they run alone.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use fastport_io::{
    AsyncIoProvider, BufferPool, CloseMode, CompletionBatch, ErrorCode, Payload, PoolConfig, ProviderConfig,
    ReceiveBuffer, Region, SendBuffer,
};

use crate::harness::open_descriptors;
use crate::receive_stream::next_lease;
use crate::rig::{Listener, Outcome, Rig, WAIT_LIMIT};

/// More than the system holds between two sockets.
const TOO_MUCH: usize = 32 << 20;

/// Runs `life` and checks that it leaves no descriptor behind. It runs twice, because the first time may open what stays
/// open for the process.
#[track_caller]
fn leaves_no_descriptor(mut life: impl FnMut()) {
    life();
    let before = open_descriptors();
    life();
    assert_eq!(open_descriptors(), before, "every descriptor is closed again");
}

/// A provider with every kind of operation in flight, and what shows whether it let go of their memory.
struct Busy<P: AsyncIoProvider> {
    rig: Rig<P>,
    listener: Listener,
    shared: Arc<[u8]>,
    pools: [BufferPool; 2],
}

impl<P: AsyncIoProvider> Busy<P> {
    fn open(config: &ProviderConfig) -> Self {
        let mut rig = Rig::<P>::open(config);
        let pool = rig.provider.create_pool(&PoolConfig { slot_bytes: 4096, initial_slots: 4, max_slots: 4 }).unwrap();
        let shared: Arc<[u8]> = vec![1; TOO_MUCH].into();
        let region = rig.provider.register_region(Region::new(TOO_MUCH).unwrap()).unwrap();

        let listener = rig.listen();
        rig.accept_stream(listener.id);
        let one_by_one = rig.listen();
        rig.accept(one_by_one.id);
        rig.accept(one_by_one.id);
        rig.stuck_connect();
        rig.timeout(Duration::from_secs(3600));

        let pairs = rig.pairs(4);
        let (sender, receiver) = pairs[0];
        rig.send(sender, SendBuffer::from(Arc::clone(&shared)));
        rig.send(sender, SendBuffer::from(pool.acquire().unwrap().freeze(4096)));
        rig.receive(sender, 64);
        rig.receive_into(sender, ReceiveBuffer::from(pool.acquire().unwrap()));
        rig.send(receiver, SendBuffer::from(Arc::clone(&shared)));
        let (sender, receiver) = pairs[1];
        rig.send_registered(sender, region, 0, TOO_MUCH);
        rig.receive_registered(sender, region, 0, 4096);
        rig.close(receiver, CloseMode::Graceful);
        for (one, other) in [pairs[2], pairs[3]] {
            rig.receive_stream(one);
            rig.receive_stream(other);
        }
        let pools = [rig.provider.receive_pool().clone(), pool];
        Self { rig, listener, shared, pools }
    }

    /// Drops the provider and checks that it let go of everything.
    #[track_caller]
    fn drop_and_check(self) {
        drop(self.rig);
        assert_eq!(Arc::strong_count(&self.shared), 1, "the memory of the sends is free again");
        for pool in self.pools {
            assert_eq!(pool.stats().allocated, 0);
        }
        let refused = TcpStream::connect(self.listener.address).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "nobody listens any more");
    }
}

pub(crate) fn a_provider_that_was_opened_and_dropped_leaves_nothing<P: AsyncIoProvider>(config: &ProviderConfig) {
    leaves_no_descriptor(|| {
        for _ in 0..5 {
            drop(P::open(config).unwrap());
        }
    });
}

pub(crate) fn a_provider_that_could_not_be_opened_leaves_nothing<P: AsyncIoProvider>(config: &ProviderConfig) {
    let receive_pool = PoolConfig { slot_bytes: 1, initial_slots: 1, max_slots: 1 };
    let config = ProviderConfig { receive_pool, ..config.clone() };
    leaves_no_descriptor(|| assert!(P::open(&config).is_err()));
}

pub(crate) fn a_drop_with_everything_in_flight_leaves_nothing<P: AsyncIoProvider>(config: &ProviderConfig) {
    leaves_no_descriptor(|| {
        let mut busy = Busy::<P>::open(config);
        busy.rig.turn();
        busy.drop_and_check();
    });
}

pub(crate) fn a_drop_before_anything_was_handed_over_leaves_nothing<P: AsyncIoProvider>(config: &ProviderConfig) {
    leaves_no_descriptor(|| Busy::<P>::open(config).drop_and_check());
}

pub(crate) fn a_drop_with_more_in_flight_than_the_queue_holds_leaves_nothing<P: AsyncIoProvider>(
    config: &ProviderConfig,
) {
    let config = ProviderConfig { queue_depth: 32, ..config.clone() };
    leaves_no_descriptor(|| {
        let mut rig = Rig::<P>::open(&config);
        let pool = rig.provider.receive_pool().clone();
        for (client, server) in rig.pairs(150) {
            rig.receive_stream(server);
            rig.receive(client, 16);
            rig.receive(client, 16);
            rig.send(client, b"never read".to_vec());
        }
        drop(rig);
        assert_eq!(pool.stats().allocated, 0);
    });
}

pub(crate) fn sockets_and_leases_that_nobody_took_go_with_the_provider<P: AsyncIoProvider>(config: &ProviderConfig) {
    leaves_no_descriptor(|| {
        let mut rig = Rig::<P>::open(config);
        let pool = rig.provider.receive_pool().clone();
        let listener = rig.listen();
        let accept = rig.accept(listener.id);
        let mut talker = TcpStream::connect(listener.address).unwrap();
        let server = rig.final_of(accept).into_socket();
        let server = rig.attach(server);
        rig.receive_stream(server);
        rig.accept_stream(listener.id);
        rig.turn();
        // Five connections and a lease are at hand, one is taken.
        let peers: Vec<_> = (0..5).map(|_| TcpStream::connect(listener.address).unwrap()).collect();
        talker.write_all(b"unread").unwrap();
        let mut batch = CompletionBatch::with_capacity(1);
        assert_eq!(rig.provider.process_completions(&mut batch, Some(WAIT_LIMIT)).unwrap(), 1);
        drop(batch);
        drop(rig);
        assert_eq!(pool.stats().allocated, 0);
        drop(peers);
    });
}

pub(crate) fn leases_outlive_their_provider<P: AsyncIoProvider>(config: &ProviderConfig) {
    leaves_no_descriptor(|| {
        let mut rig = Rig::<P>::open(config);
        let pool = rig.provider.receive_pool().clone();
        let (client, server) = rig.pair();
        let stream = rig.receive_stream(server);
        rig.send_now(client, b"still readable");
        let lease = next_lease(&mut rig, stream);
        drop(rig);
        assert_eq!(&lease[..], b"still readable");
        assert_eq!(pool.stats().allocated, 1);
        let part = lease.slice(6..14);
        drop(lease);
        assert_eq!(&part[..], b"readable");
        drop(part);
        assert_eq!(pool.stats().allocated, 0);
    });
}

pub(crate) fn a_closed_socket_gives_its_descriptor_back_before_the_close_completes<P: AsyncIoProvider>(
    config: &ProviderConfig,
) {
    let mut rig = Rig::<P>::open(config);
    for mode in [CloseMode::Graceful, CloseMode::Abortive] {
        let before = open_descriptors();
        let pairs = rig.pairs(10);
        let mut closes = Vec::new();
        for &(client, server) in &pairs {
            rig.receive_stream(server);
            rig.receive(client, 16);
            closes.push(rig.close(client, mode));
            closes.push(rig.close(server, mode));
        }
        for close in closes {
            rig.final_of(close);
        }
        rig.take_arrived();
        assert_eq!(open_descriptors(), before);
    }
}

pub(crate) fn accepted_sockets_that_are_dropped_are_closed<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let accepting = rig.accept_stream(listener.id);
    let before = open_descriptors();
    for _ in 0..20 {
        let client = rig.socket_for(&listener.address);
        rig.connect(client, &listener.address);
        drop(rig.step_of(accepting).into_socket());
        rig.close_now(client);
    }
    rig.take_arrived();
    assert_eq!(open_descriptors(), before);
}

pub(crate) fn a_cancelled_accept_keeps_no_descriptor<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let before = open_descriptors();
    for round in 0..20 {
        let accept = if round % 2 == 0 { rig.accept(listener.id) } else { rig.accept_stream(listener.id) };
        rig.turn();
        let peer = TcpStream::connect(listener.address).unwrap();
        rig.provider.cancel(accept).unwrap();
        let mut delivered = 0;
        loop {
            let step = rig.step_of(accept);
            delivered += usize::from(matches!(step.payload, Payload::Socket(_)));
            if !step.more {
                break;
            }
        }
        if delivered == 0 {
            let again = rig.accept(listener.id);
            drop(rig.final_of(again).into_socket());
        }
        drop(peer);
        assert_eq!(open_descriptors(), before);
    }
}

pub(crate) fn a_completion_that_nobody_looks_at_frees_its_buffer<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let pool = rig.provider.receive_pool().clone();
    let (client, server) = rig.pair();
    let stream = rig.receive_stream(server);
    rig.send_now(client, b"nobody looks");
    let step = rig.step_of(stream);
    assert_eq!(step.bytes(), b"nobody looks");
    rig.turn();
    assert_eq!(pool.stats().allocated, 1);
    drop(step);
    assert_eq!(pool.stats().allocated, 0);
    rig.provider.cancel(stream).unwrap();
    assert_eq!(rig.final_of(stream).code(), ErrorCode::Cancelled);
}
