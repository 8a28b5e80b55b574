//! An echo service on one worker, clients of few words, and the time that a test lets pass.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastport::{
    CloseReason, Context, Handler, Packet, PacketId, PacketView, Refusal, Service, ServiceOptions, SessionId,
    SessionStats, SimService,
};
use fastport_io::sim::{FaultPlan, Sim, SimNetwork};
use fastport_io::{AsyncIoProvider, CloseMode, CompletionBatch, OpKind, Payload, ProviderConfig, SocketId};

/// What the handler was told, and when.
pub(crate) type Log<T> = Arc<Mutex<Vec<(Duration, T)>>>;

struct Echo {
    network: SimNetwork,
    closed: Log<CloseReason>,
    refused: Log<Refusal>,
    /// How often each packet is answered.
    answers: usize,
}

impl Handler for Echo {
    fn refused(&mut self, _: SocketAddr, reason: Refusal) {
        self.refused.lock().unwrap().push((self.network.elapsed(), reason));
    }

    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        for _ in 0..self.answers {
            let _ = session.send(packet.id, packet.payload);
        }
    }

    fn closed(&mut self, _: SessionId, reason: CloseReason, _: &SessionStats) {
        self.closed.lock().unwrap().push((self.network.elapsed(), reason));
    }
}

/// A client, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client(usize);

struct State {
    socket: SocketId,
    reads: bool,
    received: usize,
    has_ended: bool,
}

pub(crate) struct Stage {
    pub(crate) network: SimNetwork,
    pub(crate) service: SimService,
    clients: Vec<State>,
    provider: Sim,
    batch: CompletionBatch,
    closed: Log<CloseReason>,
    refused: Log<Refusal>,
}

/// The context of the alarm that lets time pass where nobody waits for anything else.
const ALARM: u64 = u64::MAX;

impl Stage {
    pub(crate) fn set(options: ServiceOptions) -> Self {
        Self::answering(1, options)
    }

    /// A service that answers each packet that often.
    pub(crate) fn answering(answers: usize, options: ServiceOptions) -> Self {
        let network = SimNetwork::new(1, FaultPlan::default());
        network.schedule();
        let (closed, refused) = (Log::default(), Log::default());
        let make = {
            let (network, closed, refused) = (network.clone(), Arc::clone(&closed), Arc::clone(&refused));
            move |_| Echo { network: network.clone(), closed: closed.clone(), refused: refused.clone(), answers }
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 6628));
        let builder = Service::builder(make).options(ServiceOptions { workers: 1, ..options }).listen(address);
        let service = builder.simulate(&network).unwrap();
        let provider = network.provider(&ProviderConfig::default()).unwrap();
        let batch = CompletionBatch::with_capacity(64);
        Self { network, service, clients: Vec::new(), provider, batch, closed, refused }
    }

    /// A client that begins to connect, and reads all that it gets.
    pub(crate) fn client(&mut self) -> Client {
        self.add(true)
    }

    /// A client that never reads.
    pub(crate) fn deaf_client(&mut self) -> Client {
        self.add(false)
    }

    fn add(&mut self, reads: bool) -> Client {
        let address = self.service.local_addresses()[0];
        let socket = self.provider.create_socket(&address).unwrap();
        let socket = self.provider.attach(socket).unwrap();
        self.provider.connect(socket, &address, self.clients.len() as u64).unwrap();
        self.clients.push(State { socket, reads, received: 0, has_ended: false });
        Client(self.clients.len() - 1)
    }

    /// Sends bytes; they arrive when time passes.
    pub(crate) fn send(&mut self, client: Client, bytes: &[u8]) {
        // It may be closed by now, which is for the test to see elsewhere.
        let _ = self.provider.send(self.clients[client.0].socket, bytes.to_vec().into(), client.0 as u64);
    }

    /// A client goes.
    pub(crate) fn leave(&mut self, client: Client) {
        self.provider.close(self.clients[client.0].socket, CloseMode::Graceful, client.0 as u64).unwrap();
    }

    /// True when the service has ended the connection.
    pub(crate) fn has_ended(&self, client: Client) -> bool {
        self.clients[client.0].has_ended
    }

    pub(crate) fn received(&self, client: Client) -> usize {
        self.clients[client.0].received
    }

    /// Lets time pass, and everybody work.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.network.elapsed() + time;
        self.provider.timeout(time, ALARM).unwrap();
        while self.network.elapsed() < end {
            self.step();
        }
    }

    /// Lets the service come to its end.
    pub(crate) fn play_out(&mut self) {
        while self.service.is_running() {
            self.step();
        }
    }

    /// One turn of somebody.
    pub(crate) fn step(&mut self) {
        match self.network.next_runnable() {
            Some(provider) if self.service.owns(provider) => self.service.turn(provider),
            Some(_) => self.turn_of_clients(),
            None => assert!(self.network.advance(), "nothing will ever happen again"),
        }
    }

    fn turn_of_clients(&mut self) {
        // The network may fail a wait; the next turn is another try.
        let _ = self.provider.process_completions(&mut self.batch, None);
        for completion in self.batch.drain() {
            let Some(state) = self.clients.get_mut(completion.context as usize) else { continue };
            match (completion.kind, completion.result, completion.payload) {
                (OpKind::Connect, Ok(_), _) if state.reads => {
                    self.provider.receive_stream(state.socket, completion.context).unwrap();
                }
                (OpKind::ReceiveStream, Ok(1..), Payload::Lease(lease)) => state.received += lease.len(),
                (OpKind::ReceiveStream | OpKind::Connect, Err(_), _) | (OpKind::ReceiveStream, Ok(0), _) => {
                    state.has_ended = true;
                }
                _ => {}
            }
        }
    }

    pub(crate) fn closed(&self) -> Vec<(Duration, CloseReason)> {
        self.closed.lock().unwrap().clone()
    }

    pub(crate) fn reasons(&self) -> Vec<CloseReason> {
        self.closed().into_iter().map(|(_, reason)| reason).collect()
    }

    pub(crate) fn refused(&self) -> Vec<Refusal> {
        self.refused.lock().unwrap().iter().map(|&(_, reason)| reason).collect()
    }
}

/// The bytes of a packet.
pub(crate) fn packet(payload: &[u8]) -> Vec<u8> {
    Packet::new(PacketId(1), payload).unwrap().frame().to_vec()
}

pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Checks that something happened at a time, or up to the slack of a timer later.
#[track_caller]
pub(crate) fn assert_at(happened: Duration, expected: Duration) {
    let latest = expected + (expected / 8).min(ms(250)) + ms(2);
    assert!(happened >= expected && happened <= latest, "at {happened:?}, not {expected:?} to {latest:?}");
}
