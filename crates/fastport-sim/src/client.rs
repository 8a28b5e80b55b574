//! One client: a state machine over the provider, without the session layer that is being tested.
//!
//! ```text
//!   Absent ──start──▶ Connecting ──▶ Open ──▶ Closing ──▶ Absent … (the next round) … Done
//! ```

use std::time::Duration;

use fastport_io::sim::{Random, Sim};
use fastport_io::{
    AsyncIoProvider, CloseMode, Completion, Direction, Error, ErrorCode, OpId, Payload, ReceiveBuffer, SocketId,
};

use crate::crowd::{Surroundings, Tag};
use crate::ledger::Visit;
use crate::payload::{Deframer, Label, verify, write_frame};
use crate::scenario::{ClientPlan, Ending, Manner};

/// What a garbling or resetting client sends at most, in bytes.
const MOST_NOISE: u64 = 5000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Absent,
    Connecting,
    Open,
    Closing,
    Done,
}

/// How a visit ended, as the client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed.
    Own,
    /// The server ended its stream.
    StreamEnded,
    Broken(ErrorCode),
    /// There never was a connection.
    NotConnected(ErrorCode),
}

/// A visit that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) visit: Visit,
    /// When the client began to connect.
    pub(crate) begun: Duration,
    pub(crate) end: End,
    /// All packets were sent and answered.
    pub(crate) is_complete: bool,
    pub(crate) answered: u32,
    /// Bytes of a reply that was cut off.
    pub(crate) left: usize,
}

pub(crate) struct Client {
    index: u32,
    pub(crate) plan: ClientPlan,
    random: Random,
    round: u32,
    phase: Phase,
    begun: Duration,
    socket: Option<SocketId>,
    /// What is to be sent, from `outbox_begin` on.
    outbox: Vec<u8>,
    outbox_begin: usize,
    is_sending: bool,
    receiving: Option<OpId>,
    /// Ids that name nothing any more.
    dead_op: Option<OpId>,
    dead_socket: Option<SocketId>,
    is_pausing: bool,
    written: u32,
    answered: u32,
    deframer: Deframer,
    writing_ended: bool,
    end: End,
    latest_progress: Duration,
}

impl Client {
    pub(crate) fn new(index: u32, plan: ClientPlan, random: Random) -> Self {
        Self {
            index,
            plan,
            random,
            round: 0,
            phase: Phase::Absent,
            begun: Duration::ZERO,
            socket: None,
            outbox: Vec::new(),
            outbox_begin: 0,
            is_sending: false,
            receiving: None,
            dead_op: None,
            dead_socket: None,
            is_pausing: false,
            written: 0,
            answered: 0,
            deframer: Deframer::default(),
            writing_ended: false,
            end: End::Own,
            latest_progress: Duration::ZERO,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// True if it only waits for the server to end the connection.
    pub(crate) fn awaits_end(&self) -> bool {
        let waits = match self.plan.manner {
            Manner::Vanishing => true,
            Manner::Garbling => self.outbox_begin == self.outbox.len() && !self.is_sending,
            manner if manner.is_lawful() => self.plan.ending == Ending::Wait && self.answered == self.plan.packets,
            _ => false,
        };
        self.phase == Phase::Open && waits
    }

    /// Since when it has been waiting for the server to do something.
    pub(crate) fn waits_since(&self) -> Option<Duration> {
        let owed = self.is_sending || self.written > self.answered || self.writing_ended;
        (self.phase == Phase::Open && self.plan.manner.is_lawful() && owed).then_some(self.latest_progress)
    }

    /// In one line, for a run that does not end.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{:?}, {:?} {:?}, written {}, answered {}, {} bytes to send, sending {}, receiving {}, pausing {}",
            self.visit(),
            self.plan.manner,
            self.phase,
            self.written,
            self.answered,
            self.outbox.len() - self.outbox_begin,
            self.is_sending,
            self.receiving.is_some(),
            self.is_pausing
        )
    }

    const fn visit(&self) -> Visit {
        Visit { client: self.index, round: self.round }
    }

    fn context(&self, tag: Tag) -> u64 {
        tag.context(self.index)
    }

    // Coming and going

    /// Begins a round, or tries again to.
    pub(crate) fn start(&mut self, around: &mut Surroundings<'_>) {
        debug_assert_eq!(self.phase, Phase::Absent);
        match self.make_socket(around) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.phase = Phase::Connecting;
                self.begun = around.now;
                let begun = around.provider.connect(socket, &around.server, self.context(Tag::Connect));
                if let Err(error) = begun {
                    self.end = End::NotConnected(error.code());
                    self.close(around, CloseMode::Abortive);
                }
            }
            // No descriptors, or no room: later.
            Err(_) => around.later(Duration::from_millis(10), self.context(Tag::Start)),
        }
    }

    fn make_socket(&mut self, around: &mut Surroundings<'_>) -> Result<SocketId, Error> {
        let socket = around.provider.create_socket(&around.server)?;
        // Hosts of their own, so that limits for each address have something to count.
        socket.bind(&([127, 0, 0, 1 + (self.index % 200) as u8], 0).into())?;
        around.ledger.open().expect(socket.local_addr()?, self.visit());
        Ok(around.provider.attach(socket)?)
    }

    pub(crate) fn connected(&mut self, around: &mut Surroundings<'_>, completion: &Completion) {
        if self.phase != Phase::Connecting {
            return;
        }
        if let Err(error) = &completion.result {
            self.end = End::NotConnected(error.code());
            return self.close(around, CloseMode::Abortive);
        }
        self.phase = Phase::Open;
        self.latest_progress = around.now;
        match self.plan.manner {
            Manner::Brief => {
                let mode = *self.random.pick(&[CloseMode::Graceful, CloseMode::Abortive]);
                return self.close(around, mode);
            }
            Manner::Garbling => {
                let bytes = 1 + self.random.below(MOST_NOISE) as usize;
                self.outbox.resize(bytes, 0);
                self.random.fill(&mut self.outbox);
            }
            _ => {}
        }
        self.pump(around);
    }

    fn close(&mut self, around: &mut Surroundings<'_>, mode: CloseMode) {
        let Some(socket) = self.socket else { return };
        if self.phase == Phase::Closing {
            return;
        }
        self.phase = Phase::Closing;
        if let Err(error) = around.provider.close(socket, mode, self.context(Tag::Close)) {
            around.ledger.open().violation(format!("{:?} cannot close its socket: {error}", self.visit()));
        }
    }

    pub(crate) fn closed(&mut self, around: &mut Surroundings<'_>) -> Outcome {
        let outcome = Outcome {
            visit: self.visit(),
            begun: self.begun,
            end: self.end,
            is_complete: self.answered == self.plan.packets,
            answered: self.answered,
            left: self.deframer.left(),
        };
        let plan = self.plan.clone();
        let next = Self::new(self.index, plan, self.random.fork());
        *self = Self { round: self.round + 1, dead_op: self.dead_op, dead_socket: self.socket, ..next };
        if self.round == self.plan.rounds {
            self.phase = Phase::Done;
        } else {
            let pause = Duration::from_micros(self.random.below(100_000));
            around.later(pause, self.context(Tag::Start));
        }
        outcome
    }

    // Talking

    /// Does whatever can be done next.
    pub(crate) fn pump(&mut self, around: &mut Surroundings<'_>) {
        if self.phase != Phase::Open {
            return;
        }
        let is_resetting = self.plan.manner == Manner::Resetting;
        if is_resetting && self.written > 0 && (!self.is_sending || self.random.chance(0.2)) {
            return self.close(around, CloseMode::Abortive);
        }
        if self.random.chance(0.05) {
            self.disturb_the_dead(around);
        }
        self.write_packets();
        self.send(around);
        self.receive(around);
        self.finish(around);
    }

    /// Asks something of ids that are dead. It must be refused, and whoever has their places now must not notice.
    fn disturb_the_dead(&mut self, around: &mut Surroundings<'_>) {
        if let Some(op) = self.dead_op
            && around.provider.cancel(op).is_ok()
        {
            around.ledger.open().violation(format!("{:?} could cancel {op:?}, which is dead", self.visit()));
        }
        if let Some(socket) = self.dead_socket
            && around.provider.shut_down_socket(socket, Direction::Both).is_ok()
        {
            around.ledger.open().violation(format!("{:?} could shut {socket:?} down, which is dead", self.visit()));
        }
    }

    fn write_packets(&mut self) {
        if !self.plan.manner.is_lawful() && self.plan.manner != Manner::Resetting {
            return;
        }
        let depth = if self.plan.manner == Manner::Polite { self.plan.depth } else { u32::MAX };
        while self.written < self.plan.packets && self.written - self.answered < depth {
            let label = Label { client: self.index, round: self.round, number: self.written };
            let bytes = self.random.below(self.plan.most_payload as u64 + 1) as usize;
            write_frame(&mut self.outbox, label, bytes);
            self.written += 1;
        }
    }

    fn send(&mut self, around: &mut Surroundings<'_>) {
        let Some(socket) = self.socket else { return };
        if self.is_sending || self.outbox_begin == self.outbox.len() {
            return;
        }
        let waiting = self.outbox.len() - self.outbox_begin;
        let bytes = match self.plan.manner {
            Manner::Dribbling => 1,
            _ if self.random.chance(0.1) => 1 + self.random.below(waiting as u64) as usize,
            _ => waiting,
        };
        let part = self.outbox[self.outbox_begin..self.outbox_begin + bytes].to_vec();
        match around.provider.send(socket, part.into(), self.context(Tag::Send)) {
            Ok(_) => {
                self.is_sending = true;
                self.outbox_begin += bytes;
            }
            Err(rejected) => self.broken(around, &rejected.error),
        }
        if self.outbox_begin == self.outbox.len() {
            self.outbox.clear();
            self.outbox_begin = 0;
        }
    }

    pub(crate) fn sent(&mut self, around: &mut Surroundings<'_>, completion: &Completion) {
        self.is_sending = false;
        self.latest_progress = around.now;
        match &completion.result {
            Ok(_) => {
                if self.plan.manner.is_lawful() && self.outbox.is_empty() {
                    around.ledger.open().owes(self.visit(), self.written);
                }
                self.pump(around);
            }
            Err(error) => self.broken(around, error),
        }
    }

    fn receive(&mut self, around: &mut Surroundings<'_>) {
        let Some(socket) = self.socket else { return };
        let has_sent_all = self.written == self.plan.packets && !self.is_sending && self.outbox.is_empty();
        if self.phase != Phase::Open || self.is_pausing || (self.plan.manner == Manner::Flooding && !has_sent_all) {
            return;
        }
        if let Some(op) = self.receiving {
            // Whoever cancels must not lose what has come already.
            if self.random.chance(0.02) {
                // It may have finished, which its completion will tell.
                let _ = around.provider.cancel(op);
            }
            return;
        }
        let context = self.context(Tag::Receive);
        let begun = if self.plan.streams && self.plan.manner != Manner::SlowReading {
            around.provider.receive_stream(socket, context)
        } else {
            let most = *self.random.pick(&[20, 5000]);
            let bytes = 1 + self.random.below(most) as usize;
            around.provider.receive(socket, ReceiveBuffer::with_capacity(bytes), context).map_err(Error::from)
        };
        match begun {
            Ok(op) => self.receiving = Some(op),
            Err(error) => self.broken(around, &error),
        }
    }

    pub(crate) fn received(&mut self, around: &mut Surroundings<'_>, completion: &Completion) {
        self.latest_progress = around.now;
        if !completion.more {
            self.dead_op = self.receiving.take();
        }
        if self.phase != Phase::Open {
            return;
        }
        match (&completion.result, &completion.payload) {
            (Ok(1..), Payload::Lease(bytes)) => self.take_in(around, bytes),
            (Ok(1..), Payload::Buffer(buffer)) => self.take_in(around, buffer.filled()),
            (Ok(_), _) => {
                self.end = End::StreamEnded;
                return self.close(around, CloseMode::Graceful);
            }
            (Err(error), _) if error.is_cancelled() => {}
            (Err(error), _) => return self.broken(around, error),
        }
        if self.plan.manner == Manner::SlowReading && self.phase == Phase::Open {
            self.is_pausing = true;
            let pause = Duration::from_micros(self.random.below(20_000));
            around.later(pause, self.context(Tag::Pause));
        }
        self.pump(around);
    }

    pub(crate) fn pause_over(&mut self, around: &mut Surroundings<'_>) {
        self.is_pausing = false;
        self.pump(around);
    }

    fn take_in(&mut self, around: &mut Surroundings<'_>, bytes: &[u8]) {
        if !self.plan.manner.is_lawful() {
            return;
        }
        self.deframer.push(bytes);
        while let Some((id, payload)) = self.deframer.next() {
            let expected = Label { client: self.index, round: self.round, number: self.answered };
            let fault = match verify(id, payload) {
                Ok(label) if label == expected => None,
                Ok(label) => Some(format!("a reply to {label:?} came instead of one to {expected:?}")),
                Err(fault) => Some(format!("the reply to {expected:?}: {fault}")),
            };
            if let Some(fault) = fault {
                around.ledger.open().violation(fault);
                return;
            }
            self.answered += 1;
        }
    }

    fn finish(&mut self, around: &mut Surroundings<'_>) {
        let (Some(socket), true) = (self.socket, self.phase == Phase::Open) else { return };
        let has_sent_all = self.written == self.plan.packets && !self.is_sending && self.outbox.is_empty();
        if !self.plan.manner.is_lawful() || !has_sent_all {
            return;
        }
        let all_answered = self.answered == self.plan.packets;
        match self.plan.ending {
            Ending::HalfClose if !self.writing_ended => {
                self.writing_ended = true;
                // The server may have reset the connection, which the next receive tells.
                let _ = around.provider.shut_down_socket(socket, Direction::Write);
            }
            Ending::Close if all_answered => self.close(around, CloseMode::Graceful),
            Ending::Abort if all_answered => self.close(around, CloseMode::Abortive),
            _ => {}
        }
    }

    fn broken(&mut self, around: &mut Surroundings<'_>, error: &Error) {
        if self.phase == Phase::Open {
            self.end = End::Broken(error.code());
            self.close(around, CloseMode::Abortive);
        }
    }
}

/// The provider that clients are on.
pub(crate) type ClientProvider = Sim;
