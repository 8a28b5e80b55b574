//! Passes packets to and fro between two sessions of one worker, until a number of them has arrived: the same instructions
//! in every run, which `ci/instructions` counts.
//!
//! ```text
//! exchange sim|epoll PACKETS UNDER_WAY
//! ```
//! Each connection has `UNDER_WAY` packets on their way: with many of them, a packet is little more than a frame.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use fastport::{ConnectOptions, Context, Handle, Handler, PacketView, Service, ServiceBuilder};
use fastport_io::sim::{FaultPlan, SimNetwork};
use fastport_io::{Backend, Choice};

const USAGE: &str = "usage: exchange sim|epoll PACKETS UNDER_WAY";
const CONNECTIONS: usize = 16;
const PAYLOAD: [u8; 64] = [7; 64];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [backend, packets, under_way] = words.as_slice() else { return refuse(USAGE) };
    let (Ok(packets_left), Ok(under_way)) = (packets.parse(), under_way.parse()) else { return refuse(USAGE) };
    let volley = Volley { packets_left, under_way };
    let result = match backend.as_str() {
        "sim" => on_a_simulated_network(volley),
        "epoll" => over_loopback(volley),
        _ => return refuse(USAGE),
    };
    result.map_or_else(|error| refuse(&error.to_string()), |()| ExitCode::SUCCESS)
}

fn refuse(text: &str) -> ExitCode {
    eprintln!("exchange: {text}");
    ExitCode::from(2)
}

/// Answers each packet with the same packet. Both ends do, so that each packet sets off the next one.
#[derive(Clone, Copy)]
struct Volley {
    packets_left: u64,
    under_way: u32,
}

impl Handler for Volley {
    fn connected(&mut self, session: &mut Context<'_>, _token: u64) {
        for _ in 0..self.under_way {
            session.send(1, &PAYLOAD).expect("an empty queue takes a few packets");
        }
    }

    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        if self.packets_left == 0 {
            return;
        }
        self.packets_left -= 1;
        if self.packets_left == 0 {
            session.handle().stop(Duration::ZERO);
        }
        session.send(packet.id, packet.payload).expect("the peer takes what it gets");
    }
}

fn service(volley: Volley, port: u16) -> ServiceBuilder<impl Fn(usize) -> Volley + Send + Sync + 'static> {
    Service::builder(move |_worker| volley).workers(1).listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn connect(handle: &Handle, address: SocketAddr) {
    for token in 0..CONNECTIONS {
        handle.connect(address, token as u64, ConnectOptions::default()).expect("the mailbox is empty");
    }
}

fn over_loopback(volley: Volley) -> Result<(), fastport::Error> {
    let service = service(volley, 0).backend(Choice::Only(Backend::Epoll)).start()?;
    connect(&service.handle(), service.local_addresses()[0]);
    service.wait();
    Ok(())
}

fn on_a_simulated_network(volley: Volley) -> Result<(), fastport::Error> {
    let network = SimNetwork::new(1, FaultPlan::default());
    network.schedule();
    let mut service = service(volley, 6628).simulate(&network)?;
    connect(&service.handle(), service.local_addresses()[0]);
    while service.is_running() {
        match network.next_runnable() {
            Some(provider) => service.turn(provider),
            None => assert!(network.advance(), "packets are always under way"),
        }
    }
    service.finish();
    Ok(())
}
