//! An echo server: `cargo run --release --example echo -- 127.0.0.1:6628`

use std::error::Error;
use std::net::SocketAddr;

use fastport::{Context, Handler, PacketView, Service};

struct Echo;

impl Handler for Echo {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        // A client that does not read its replies is closed by the service.
        let _ = session.send(packet.id, packet.payload);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:6628").parse()?;
    let service = Service::builder(|_worker| Echo).listen(address).start()?;
    println!("{} listens on {}", service.selection(), service.local_addresses()[0]);
    service.wait();
    Ok(())
}
