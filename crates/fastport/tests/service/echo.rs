//! Packets there and back: sizes, splits, both ways of replying.

use std::time::Duration;

use bytes::BufMut;
use fastport::{
    Context, Framer, Handler, HandlerThreads, LengthDelimitedFramer, PacketView, SendError, Service, ServiceOptions,
    SessionOptions,
};
use fastport_io::{Choice, ProviderConfig};

use crate::common::{Client, frame, localhost, pattern};
use crate::probe::{Behaviour, Fixture, on_every_backend};

on_every_backend!(
    packets_of_every_size_come_back,
    forwarded_packets_come_back_unchanged,
    a_payload_is_as_long_as_what_was_written_into_its_memory,
    packets_that_arrive_in_pieces_are_put_together,
    many_packets_in_one_write_come_back_in_order,
    sessions_share_the_workers_of_a_service,
    an_ipv6_listener_works_beside_an_ipv4_one,
    a_length_delimited_stream_is_served_by_its_framer,
    packets_larger_than_every_buffer_come_back,
    counters_tell_packets_and_bytes,
);

const SIZES: [usize; 12] = [0, 1, 3, 60, 64, 1000, 1024, 4092, 16_384, 32_768, 60_000, 65_531];

fn packets_of_every_size_come_back(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut client = service.client();
    for (id, size) in SIZES.into_iter().enumerate() {
        let payload = pattern(size);
        assert!(client.ask(id as u16, &payload) == (id as u16, payload), "{size} bytes");
    }
    drop(client);
    service.stop();
}

fn forwarded_packets_come_back_unchanged(backend: Choice) {
    let act = |session: &mut Context<'_>, packet: PacketView<'_>| session.forward(packet).unwrap();
    let service = Fixture::start(backend, Behaviour { act, ..Behaviour::default() }, |builder| builder);
    let mut client = service.client();
    for size in SIZES {
        let payload = pattern(size);
        assert!(client.ask(9, &payload) == (9, payload), "{size} bytes");
    }
    // Neighbours in one buffer, small ones that are copied and large ones that are not.
    let stream: Vec<u8> = (0..200).flat_map(|number| frame(number, &pattern(usize::from(number) * 17))).collect();
    client.send_bytes(&stream);
    for number in 0..200 {
        assert!(client.receive() == (number, pattern(usize::from(number) * 17)), "packet {number}");
    }
    drop(client);
    service.stop();
}

fn a_payload_is_as_long_as_what_was_written_into_its_memory(backend: Choice) {
    // The memory is longer than any packet; what does not fit into one is refused, and nothing of it is sent.
    let act = |session: &mut Context<'_>, packet: PacketView<'_>| {
        let too_large = session.send_with(9, 70_000, |target| target.put_bytes(1, 65_532));
        assert_eq!(too_large, Err(SendError::TooLarge));
        session.send_with(packet.id, 70_000, |target| target.put_slice(packet.payload)).unwrap();
    };
    let inline = Behaviour { act, ..Behaviour::default() };
    let pooled = Behaviour { act, ..Behaviour::default() };
    for service in [
        Fixture::start(backend, inline, |builder| builder),
        Fixture::start(backend, pooled, |builder| builder.handlers(HandlerThreads::Pool(1))),
    ] {
        let mut client = service.client();
        for size in SIZES {
            let payload = pattern(size);
            assert!(client.ask(9, &payload) == (9, payload), "{size} bytes");
        }
        drop(client);
        service.stop();
    }
}

fn packets_that_arrive_in_pieces_are_put_together(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut client = service.client();
    let stream: Vec<u8> = [5, 300, 0, 2000].into_iter().flat_map(|size| frame(1, &pattern(size))).collect();
    for piece in [1, 2, 3, 7, 100, 1000] {
        for part in stream.chunks(piece) {
            client.send_bytes(part);
        }
        for size in [5, 300, 0, 2000] {
            assert!(client.receive() == (1, pattern(size)), "{size} bytes in pieces of {piece}");
        }
    }
    drop(client);
    service.stop();
}

fn many_packets_in_one_write_come_back_in_order(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut client = service.client();
    let count = 20_000_u16;
    let stream: Vec<u8> = (0..count).flat_map(|number| frame(number, &pattern(usize::from(number % 50)))).collect();
    let mut writer = Client { stream: client.stream.try_clone().unwrap() };
    std::thread::scope(|scope| {
        scope.spawn(move || writer.send_bytes(&stream));
        for number in 0..count {
            assert_eq!(client.receive(), (number, pattern(usize::from(number % 50))));
        }
    });
    drop(client);
    let (report, _) = service.stop();
    assert_eq!(report.stats.packets_received, u64::from(count));
    assert_eq!(report.stats.packets_sent, u64::from(count));
}

fn sessions_share_the_workers_of_a_service(backend: Choice) {
    let service = Fixture::start(backend, Behaviour::default(), |builder| builder.workers(3));
    let mut clients: Vec<Client> = (0..6).map(|_| service.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(1, &[number as u8]), (1, vec![number as u8]));
    }
    let mut workers: Vec<usize> = (0..6).map(|_| service.accepted().worker()).collect();
    workers.sort_unstable();
    assert_eq!(workers, [0, 0, 1, 1, 2, 2]);
    service.await_stats("all sessions counted", |stats| stats.sessions == 6);
    let spread: Vec<u64> = service.handle().stats_by_worker().iter().map(|stats| stats.sessions).collect();
    assert_eq!(spread, [2, 2, 2]);
    drop(clients);
    service.stop();
}

fn an_ipv6_listener_works_beside_an_ipv4_one(backend: Choice) {
    if let Err(error) = std::net::TcpListener::bind("[::1]:0") {
        eprintln!("passed over: this system has no IPv6 loopback: {error}");
        return;
    }
    let service =
        Fixture::start(backend, Behaviour::default(), |builder| builder.listen("[::1]:0".parse().unwrap()).workers(2));
    for &address in service.addresses() {
        assert_eq!(Client::connect(address).ask(1, b"hello"), (1, b"hello".to_vec()));
    }
    assert!(service.addresses()[0].is_ipv4() && service.addresses()[1].is_ipv6());
    service.stop();
}

fn a_length_delimited_stream_is_served_by_its_framer(backend: Choice) {
    struct Reverse;
    impl<F: Framer> Handler<F> for Reverse {
        fn packet(&mut self, session: &mut Context<'_, F>, packet: PacketView<'_>) {
            let reversed: Vec<u8> = packet.payload.iter().rev().copied().collect();
            session.send(packet.id, &reversed).unwrap();
        }
    }
    let service = Service::builder(|_| Reverse)
        .framer(LengthDelimitedFramer::default())
        .backend(backend)
        .workers(1)
        .listen(localhost())
        .start()
        .unwrap();
    let mut client = Client::connect(service.local_addresses()[0]);
    // Beyond every buffer of the service.
    let payload = pattern(300_000);
    client.send_bytes(&300_000_u32.to_be_bytes());
    client.send_bytes(&payload);
    client.finish();
    let answer = client.read_to_end();
    assert_eq!(answer[..4], 300_000_u32.to_be_bytes());
    assert!(answer[4..].iter().eq(payload.iter().rev()));
    service.stop(Duration::from_secs(10));
}

fn packets_larger_than_every_buffer_come_back(backend: Choice) {
    let mut provider = ProviderConfig::default();
    provider.receive_pool.slot_bytes = 4096;
    let options = ServiceOptions {
        backend,
        workers: 1,
        provider,
        session: SessionOptions { high_water_bytes: 1 << 20, ..SessionOptions::default() },
        send_pool: fastport_io::PoolConfig { slot_bytes: 1024, initial_slots: 1, max_slots: 1 },
        listen: vec![localhost()],
        ..ServiceOptions::default()
    };
    let service = Fixture::start(backend, Behaviour::default(), |builder| builder.options(options));
    let mut client = service.client();
    for size in SIZES {
        let payload = pattern(size);
        assert!(client.ask(1, &payload) == (1, payload), "{size} bytes");
    }
    drop(client);
    service.stop();
}

fn counters_tell_packets_and_bytes(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut client = service.client();
    for _ in 0..10 {
        client.ask(1, &[0; 96]);
    }
    drop(client);
    let (_, _, stats) = service.closed();
    assert_eq!((stats.packets_received, stats.packets_sent), (10, 10));
    assert_eq!((stats.bytes_received, stats.bytes_sent), (1000, 1000));
    let (report, _) = service.stop();
    assert_eq!((report.stats.bytes_received, report.stats.bytes_sent), (1000, 1000));
}
