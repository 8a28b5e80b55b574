//! A ticking world: `cargo run --release --example world -- 127.0.0.1:6628`
//!
//! Players walk; twenty times a second the server moves them and tells everybody where all are. What is to happen later, the
//! end of a sprint, lies on a timer wheel of the world's own.
//!
//! | id | from | payload, big-endian |
//! |---|---|---|
//! | 1, walk | client | dx `i8`, dy `i8`: from now on, in steps a tick |
//! | 2, sprint | client | nothing: steps count double for a second |
//! | 101, world | server | tick `u32`; for each player x `i32`, y `i32` |

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastport::{
    CloseReason, Context, Handle, Handler, Packet, PacketId, PacketView, Service, SessionId, SessionStats, TimerWheel,
};

const WALK: PacketId = PacketId(1);
const SPRINT: PacketId = PacketId(2);
const WORLD: PacketId = PacketId(101);
const TICK: Duration = Duration::from_millis(50);
const SPRINT_TIME: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Player {
    position: (i32, i32),
    steps: (i8, i8),
    sprints: bool,
}

struct World {
    players: BTreeMap<u64, (SessionId, Player)>,
    /// Whose sprint ends when. A player who has left is not found any more.
    sprint_ends: TimerWheel<u64>,
    ticks: u32,
    handle: Option<Handle>,
}

impl Handler for World {
    fn accepted(&mut self, session: &mut Context<'_>) {
        self.handle.get_or_insert_with(|| session.handle().clone());
        self.players.insert(session.id().to_bits(), (session.id(), Player::default()));
    }

    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        let number = session.id().to_bits();
        let Some((_, player)) = self.players.get_mut(&number) else { return };
        match (packet.id, packet.payload) {
            (WALK, &[dx, dy]) => player.steps = (dx.cast_signed(), dy.cast_signed()),
            // One at a time: a client must not arm as many timers as it likes.
            (SPRINT, []) if player.sprints => {}
            (SPRINT, []) => {
                player.sprints = true;
                self.sprint_ends.insert(session.now() + SPRINT_TIME, number);
            }
            _ => session.abort(),
        }
    }

    fn closed(&mut self, session: SessionId, _reason: CloseReason, _stats: &SessionStats) {
        self.players.remove(&session.to_bits());
    }

    fn tick(&mut self, now: Instant) {
        self.ticks = self.ticks.wrapping_add(1);
        while let Some(number) = self.sprint_ends.pop_expired(now) {
            if let Some((_, player)) = self.players.get_mut(&number) {
                player.sprints = false;
            }
        }
        let mut payload = self.ticks.to_be_bytes().to_vec();
        for (_, Player { position, steps, sprints }) in self.players.values_mut() {
            let factor = if *sprints { 2 } else { 1 };
            position.0 = position.0.wrapping_add(factor * i32::from(steps.0));
            position.1 = position.1.wrapping_add(factor * i32::from(steps.1));
            payload.extend([position.0, position.1].map(i32::to_be_bytes).concat());
        }
        let sessions: Vec<SessionId> = self.players.values().map(|(session, _)| *session).collect();
        // Encoded once for all; whoever reads too slowly misses this tick.
        if let (Some(handle), Ok(packet)) = (&self.handle, Packet::new(WORLD, &payload)) {
            handle.broadcast(&sessions, &packet.into_shared_frame());
        }
    }
}

/// One worker, so the world needs no locks.
pub(crate) fn serve(address: SocketAddr) -> Result<Service, fastport::Error> {
    let world = |_worker| World {
        players: BTreeMap::new(),
        sprint_ends: TimerWheel::new(Instant::now()),
        ticks: 0,
        handle: None,
    };
    Service::builder(world).workers(1).tick(TICK).listen(address).start()
}

fn main() -> Result<(), Box<dyn Error>> {
    let service = serve(std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:6628").parse()?)?;
    println!("a world on {}", service.local_addresses()[0]);
    service.wait();
    Ok(())
}
