//! The examples that are servers, played against as their clients would.

#[path = "../../examples/chat.rs"]
#[allow(dead_code, reason = "its main is that of a program")]
mod chat;
#[path = "../common/mod.rs"]
mod common;
#[path = "../../examples/world.rs"]
#[allow(dead_code, reason = "its main is that of a program")]
mod world;

use common::{Client, PATIENCE, frame, localhost};

fn number(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(bytes.try_into().unwrap())
}

#[test]
fn everybody_in_a_room_hears_what_is_said_and_nobody_else() {
    let service = chat::serve(localhost(), 2).unwrap();
    let address = service.local_addresses()[0];
    let mut clients = [(); 3].map(|()| Client::connect(address));
    let [first, second, elsewhere] = &mut clients;
    elsewhere.send(1, b"attic");
    assert_eq!(elsewhere.receive(), (101, vec![0, 0, 0, 1]));
    first.send(1, b"cellar");
    assert_eq!(first.receive(), (101, vec![0, 0, 0, 1]));
    second.send(1, b"cellar");
    for client in [&mut *first, &mut *second] {
        assert_eq!(client.receive(), (101, vec![0, 0, 0, 2]));
    }
    second.send(2, b"is anybody there?");
    for client in [&mut *first, &mut *second] {
        assert_eq!(client.receive(), (102, b"is anybody there?".to_vec()));
    }
    // Who changes the room leaves the other; who goes leaves it too.
    first.send(1, b"attic");
    assert_eq!(second.receive(), (101, vec![0, 0, 0, 1]));
    for client in [&mut *first, &mut *elsewhere] {
        assert_eq!(client.receive(), (101, vec![0, 0, 0, 2]));
    }
    let [first, second, mut elsewhere] = clients;
    drop(first);
    assert_eq!(elsewhere.receive(), (101, vec![0, 0, 0, 1]));
    // No text.
    elsewhere.send(2, &[0xFF]);
    assert!(elsewhere.try_receive().is_err());
    drop((second, elsewhere));
    service.stop(PATIENCE);
}

#[test]
fn the_world_moves_its_players_at_each_tick_and_twice_as_far_while_they_sprint() {
    let service = world::serve(localhost()).unwrap();
    let mut player = Client::connect(service.local_addresses()[0]);
    let mut world = || {
        let (id, payload) = player.receive();
        assert_eq!((id, payload.len()), (101, 4 + 8));
        (number(&payload[..4]), number(&payload[4..8]), number(&payload[8..]))
    };
    let (tick, x, y) = world();
    let (next, ..) = world();
    assert_eq!((next, x, y), (tick + 1, 0, 0));

    // Together, so that no tick comes in between.
    player.send_bytes(&[frame(1, &[2, 0xFF]), frame(2, b"")].concat());
    let mut steps = Vec::new();
    let mut last = 0;
    // A second of sprinting is twenty ticks, of which some may be late.
    while !steps.ends_with(&[2, 2]) {
        let (id, payload) = player.receive();
        assert_eq!(id, 101);
        let (x, y) = (number(&payload[4..8]), number(&payload[8..]));
        assert_eq!(x, -2 * y, "both directions at once");
        steps.push(x - last);
        last = x;
        assert!(steps.len() < 1000, "{steps:?}");
    }
    steps.retain(|&step| step != 0);
    assert!(steps.starts_with(&[4, 4]) && steps.iter().all(|step| [2, 4].contains(step)), "{steps:?}");

    // Players see each other, and one that breaks the rules is gone.
    let mut other = Client::connect(service.local_addresses()[0]);
    while player.receive().1.len() != 4 + 2 * 8 {}
    other.send(1, b"far away");
    while player.receive().1.len() != 4 + 8 {}
    drop((player, other));
    service.stop(PATIENCE);
}
