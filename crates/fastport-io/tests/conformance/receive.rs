//! One-shot receives.

use fastport_io::{AsyncIoProvider, Direction, Payload, PoolConfig, ProviderConfig, ReceiveBuffer};

use crate::rig::{Outcome, Rig, pattern};

pub(crate) fn a_receive_takes_what_is_there<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.send_now(client, b"five!");
    let receive = rig.receive(server, 100);
    let completion = rig.final_of(receive);
    assert_eq!(completion.bytes(), b"five!");
    let Payload::Buffer(buffer) = completion.payload else { panic!("the buffer comes back") };
    assert_eq!(buffer.capacity(), 100);
}

pub(crate) fn a_receive_waits_for_data<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let receive = rig.receive(server, 100);
    rig.turn();
    assert!(!rig.is_finished(receive));
    rig.send_now(client, b"late");
    assert_eq!(rig.final_of(receive).bytes(), b"late");
}

pub(crate) fn a_receive_leaves_what_does_not_fit<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let sent = pattern(1, 1000);
    rig.send_now(client, &sent);
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let receive = rig.receive(server, 7);
        let completion = rig.final_of(receive);
        assert!((1..=7).contains(&completion.bytes().len()));
        received.extend_from_slice(completion.bytes());
    }
    assert_eq!(received, sent);
}

pub(crate) fn queued_receives_are_filled_in_the_order_of_their_submission<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let sent = pattern(2, 4000);
    let receives: Vec<_> = (0..40).map(|_| rig.receive(server, 100)).collect();
    rig.send_now(client, &sent);
    rig.provider.shut_down_socket(client, Direction::Write).unwrap();
    let mut received = Vec::new();
    let mut last_position = 0;
    for _ in 0..receives.len() {
        let completion = rig.next();
        let position = receives.iter().position(|&receive| receive == completion.op).unwrap();
        assert!(received.is_empty() || position == last_position + 1, "{position} completed after {last_position}");
        last_position = position;
        received.extend_from_slice(completion.bytes());
    }
    received.extend(rig.receive_to_end(server));
    assert_eq!(received, sent);
}

pub(crate) fn a_pool_buffer_receives_and_goes_back<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let pool = rig.provider.create_pool(&PoolConfig { slot_bytes: 256, initial_slots: 2, max_slots: 2 }).unwrap();
    let (client, server) = rig.pair();
    let receive = rig.receive_into(server, ReceiveBuffer::from(pool.acquire().unwrap()));
    assert_eq!(pool.stats().allocated, 1);
    rig.send_now(client, b"into the slot");
    let completion = rig.final_of(receive);
    assert_eq!(completion.bytes(), b"into the slot");
    assert_eq!(pool.stats().allocated, 1, "the completion holds it");
    drop(completion);
    assert_eq!(pool.stats().allocated, 0);
}

pub(crate) fn the_end_of_file_comes_after_the_data_and_stays<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let sent = pattern(3, 100_000);
    rig.send_now(client, &sent);
    rig.close_now(client);
    assert_eq!(rig.receive_to_end(server), sent);
    for _ in 0..3 {
        assert!(rig.receive_to_end(server).is_empty());
    }
}

pub(crate) fn a_waiting_receive_is_ended_by_the_end_of_file<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let receives = [rig.receive(server, 16), rig.receive(server, 16)];
    rig.turn();
    rig.close_now(client);
    for receive in receives {
        assert_eq!(rig.final_of(receive).bytes(), b"");
    }
}

pub(crate) fn a_ping_pong_of_small_messages_loses_none<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    for round in 0..200u32 {
        let ping = rig.send(client, round.to_le_bytes().to_vec());
        let heard = rig.receive(server, 4);
        assert_eq!(rig.final_of(heard).bytes(), round.to_le_bytes());
        let pong = rig.send(server, round.to_be_bytes().to_vec());
        let heard = rig.receive(client, 4);
        assert_eq!(rig.final_of(heard).bytes(), round.to_be_bytes());
        rig.final_of(ping);
        rig.final_of(pong);
    }
    assert_eq!(rig.in_flight(), 0);
}
