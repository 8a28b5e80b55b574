//! Chat rooms over all workers: `cargo run --release --example chat -- 127.0.0.1:6628`
//!
//! A client is in one room at a time. What it says is encoded once and goes to everybody in its room, whichever worker they
//! are on.
//!
//! | id | from | payload |
//! |---|---|---|
//! | 1, enter | client | the name of a room |
//! | 2, say | client | text |
//! | 101, members | server | how many are in the room now, `u32` big-endian: to all of them, whenever that changes |
//! | 102, said | server | text |

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use fastport::{CloseReason, Context, Handle, Handler, Packet, PacketId, PacketView, Service, SessionId, SessionStats};

const ENTER: PacketId = PacketId(1);
const SAY: PacketId = PacketId(2);
const MEMBERS: PacketId = PacketId(101);
const SAID: PacketId = PacketId(102);

/// Who is where, for all workers. It is locked when somebody comes, goes or speaks, for a moment.
#[derive(Default)]
struct Rooms(Mutex<HashMap<String, Vec<SessionId>>>);

impl Rooms {
    /// Sends a packet to a room, after `change` was made to its members.
    fn tell(&self, handle: &Handle, room: &str, change: impl FnOnce(&mut Vec<SessionId>) -> Packet) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let members = rooms.entry(room.to_owned()).or_default();
        let packet = change(members);
        // Under the lock, so that everybody hears everything in the same order.
        handle.broadcast(members, &packet.into_shared_frame());
        if members.is_empty() {
            rooms.remove(room);
        }
    }

    fn enter(&self, handle: &Handle, room: &str, session: SessionId) {
        self.tell(handle, room, |members| {
            members.push(session);
            count(members)
        });
    }

    fn leave(&self, handle: &Handle, room: &str, session: SessionId) {
        self.tell(handle, room, |members| {
            members.retain(|member| *member != session);
            count(members)
        });
    }
}

fn count(members: &[SessionId]) -> Packet {
    Packet::new(MEMBERS, &(members.len() as u32).to_be_bytes()).expect("four bytes fit")
}

/// A worker's side: where its own clients are.
struct Chat {
    rooms: Arc<Rooms>,
    room_of: HashMap<SessionId, (String, Handle)>,
}

impl Handler for Chat {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        let (id, handle) = (session.id(), session.handle().clone());
        match (packet.id, std::str::from_utf8(packet.payload)) {
            (ENTER, Ok(room)) => {
                if let Some((old, _)) = self.room_of.insert(id, (room.to_owned(), handle.clone())) {
                    self.rooms.leave(&handle, &old, id);
                }
                self.rooms.enter(&handle, room, id);
            }
            (SAY, Ok(text)) => {
                let (Some((room, _)), Ok(said)) = (self.room_of.get(&id), Packet::new(SAID, text.as_bytes())) else {
                    return;
                };
                self.rooms.tell(&handle, room, |_| said);
            }
            _ => session.abort(),
        }
    }

    fn closed(&mut self, session: SessionId, _reason: CloseReason, _stats: &SessionStats) {
        if let Some((room, handle)) = self.room_of.remove(&session) {
            self.rooms.leave(&handle, &room, session);
        }
    }
}

pub(crate) fn serve(address: SocketAddr, workers: usize) -> Result<Service, fastport::Error> {
    let rooms = Arc::new(Rooms::default());
    let chat = move |_worker| Chat { rooms: Arc::clone(&rooms), room_of: HashMap::new() };
    Service::builder(chat).workers(workers).listen(address).start()
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:6628").parse()?;
    let service = serve(address, std::thread::available_parallelism()?.get())?;
    println!("rooms on {}", service.local_addresses()[0]);
    service.wait();
    Ok(())
}
