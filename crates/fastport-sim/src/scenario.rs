//! What a seed stands for: a network, a service and the clients that meet it.

use std::fmt;
use std::time::Duration;

use fastport::{Balance, Limits, Overflow, ServiceOptions, SessionOptions};
use fastport_io::sim::{Fault, FaultPlan, Random};
use fastport_io::{PoolConfig, ProviderConfig};

use crate::payload::{HEADER_BYTES, LEAST_PAYLOAD, MOST_PAYLOAD};

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Follows the protocol.
    Polite,
    /// Follows it, a byte at a time.
    Dribbling,
    /// Follows it, but takes its time to read.
    SlowReading,
    /// Sends all that it has without looking at replies until it has sent it.
    Flooding,
    /// Sends what is no protocol.
    Garbling,
    /// Sends something, and resets the connection in the middle of it.
    Resetting,
    /// Connects and is never heard of.
    Vanishing,
    /// Connects and closes.
    Brief,
}

impl Manner {
    /// Sends packets as the protocol has them, and reads the replies.
    pub(crate) const fn is_lawful(self) -> bool {
        matches!(self, Self::Polite | Self::Dribbling | Self::SlowReading | Self::Flooding)
    }
}

/// How a lawful client ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Closes when it has all replies.
    Close,
    /// Ends its stream when it has sent all, and reads to the end of the server's.
    HalfClose,
    /// Resets the connection when it has all replies.
    Abort,
    /// Waits for the server to end it.
    Wait,
}

/// How the server's handler sends a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyBy {
    Send,
    SendWith,
    Forward,
    Shared,
    /// Through the worker's mailbox, as another thread would.
    Handle,
}

/// One client's part.
#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    pub(crate) manner: Manner,
    pub(crate) ending: Ending,
    pub(crate) reply_by: ReplyBy,
    /// When it comes.
    pub(crate) start: Duration,
    /// Connections, one after another.
    pub(crate) rounds: u32,
    /// Packets in each.
    pub(crate) packets: u32,
    /// Packets under way at once.
    pub(crate) depth: u32,
    pub(crate) most_payload: usize,
    /// Receives as a stream; otherwise into buffers of its own.
    pub(crate) streams: bool,
}

/// Everything that follows from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) network_seed: u64,
    pub(crate) plan: FaultPlan,
    pub(crate) options: ServiceOptions,
    pub(crate) clients: Vec<ClientPlan>,
    pub(crate) crowd: ProviderConfig,
    /// When the service is stopped; `None`: when all clients are done.
    pub(crate) stop_at: Option<Duration>,
    pub(crate) drain_limit: Duration,
    /// How often somebody ends a session from outside: once in so long.
    pub(crate) meddling: Option<Duration>,
    /// One packet in so many makes the handler panic.
    pub(crate) panic_once_in: Option<u64>,
}

impl Scenario {
    pub(crate) fn draw(seed: u64) -> Self {
        // Seeds that are neighbours must have nothing in common.
        let mut random = Random::new(seed ^ 0x5EED_F457_9047_0000);
        let random = &mut random;
        let mut plan = FaultPlan::drawn(random);
        // In a rush nothing keeps packets waiting but the service, and most clients flood it.
        let is_rush = random.chance(0.1);
        if is_rush {
            let calm = FaultPlan::default();
            plan = Fault::ALL.into_iter().fold(plan, |plan, fault| plan.with(fault, 0.0));
            plan.latency = calm.latency;
            plan.bytes_per_second = None;
        }
        let count = *random.pick(&[1, 2, 3, 5, 8, 13, 20, 40, 100, 300]).min(&if is_rush { 13 } else { 300 });
        let slow = plan.send_buffer_bytes.min(plan.receive_buffer_bytes) < 4096 || plan.bytes_per_second.is_some();
        let packets = if count > 20 { 12 } else { 60 };
        let most_payload = match (slow || count > 20, random.below(4)) {
            (true, _) => 300,
            (false, 0) => MOST_PAYLOAD,
            (false, 1) => 5000,
            (false, _) => 400,
        };
        let most_flooding = if count > 20 { packets } else { 2000 };
        let mut clients: Vec<_> =
            (0..count).map(|_| ClientPlan::draw(random, packets, most_flooding, most_payload)).collect();
        for client in clients.iter_mut().filter(|_| is_rush) {
            if random.chance(0.6) {
                client.manner = Manner::Flooding;
                client.packets = 1 + random.below(most_flooding) as u32;
                client.most_payload = client.most_payload.min(60);
            }
            client.start /= 1000;
        }
        let calm = random.chance(0.3);
        let mut options = draw_options(random, most_payload);
        if !is_rush && random.chance(0.25) {
            options.limits = draw_limits(random, &options);
        }
        Self {
            seed,
            network_seed: random.next(),
            plan,
            options,
            clients,
            crowd: ProviderConfig { receive_pool: draw_pool(random, 64), ..ProviderConfig::default() },
            stop_at: random.chance(0.4).then(|| Duration::from_micros(random.below(2_000_000))),
            drain_limit: Duration::from_millis(*random.pick(&[0, 10, 1000, 60_000])),
            meddling: (!calm && random.chance(0.4)).then(|| Duration::from_micros(1 + random.below(50_000))),
            panic_once_in: (!calm && random.chance(0.2)).then(|| 2 + random.below(200)),
        }
    }

    /// How many packets of others a worker may handle while it could handle one of a session: a few rounds, in each of
    /// which everybody has a buffer full. `None` if the network holds packets up.
    pub(crate) fn patience(&self) -> Option<u64> {
        let is_prompt = self.plan.latency.end().is_zero() && self.plan.bytes_per_second.is_none();
        let delays = [
            Fault::Reorder,
            Fault::SlowCompletion,
            Fault::LateCancel,
            Fault::ShortReceive,
            Fault::ShortSend,
            Fault::SplitSegment,
            Fault::EmptyWait,
            Fault::FailedWait,
        ];
        if !is_prompt || delays.into_iter().any(|fault| self.plan.chance(fault) > 0.0) {
            return None;
        }
        let slot_bytes = self.options.provider.receive_pool.slot_bytes;
        let window = slot_bytes.min(self.plan.receive_buffer_bytes);
        let most_payload = self.clients.iter().map(|client| client.most_payload).max()?;
        let packets_a_turn = window / (HEADER_BYTES + LEAST_PAYLOAD) + 1;
        let turns_a_packet = (HEADER_BYTES + most_payload).div_ceil(window) + 1;
        // In each round the bytes have to come from the other buffer first.
        Some((self.clients.len() * packets_a_turn * turns_a_packet * 4) as u64)
    }

    /// No fault of the network ends or prevents a connection. A wait that fails is tried again, and nobody notices.
    pub(crate) fn network_is_safe(&self) -> bool {
        let breaks = |fault: Fault| fault.breaks_connections() && fault != Fault::FailedWait;
        Fault::ALL.into_iter().all(|fault| !breaks(fault) || self.plan.chance(fault) == 0.0)
    }
}

impl ClientPlan {
    fn draw(random: &mut Random, packets: u64, most_flooding: u64, most_payload: usize) -> Self {
        use Manner::{Brief, Dribbling, Flooding, Garbling, Polite, Resetting, SlowReading, Vanishing};
        let manner = *random.pick(&[
            Polite,
            Polite,
            Polite,
            Polite,
            Polite,
            Dribbling,
            SlowReading,
            Flooding,
            Garbling,
            Resetting,
            Vanishing,
            Brief,
        ]);
        let reply_by = *random.pick(&[
            ReplyBy::Send,
            ReplyBy::Send,
            ReplyBy::SendWith,
            ReplyBy::Forward,
            ReplyBy::Shared,
            ReplyBy::Handle,
        ]);
        let ending = match random.below(8) {
            0 => Ending::Wait,
            1 => Ending::Abort,
            // A reply that goes through the mailbox may come too late for a stream that has ended.
            2..=4 if reply_by != ReplyBy::Handle => Ending::HalfClose,
            _ => Ending::Close,
        };
        let packets = match manner {
            Dribbling => 3,
            Flooding => 1 + random.below(most_flooding) as u32,
            _ => 1 + random.below(packets) as u32,
        };
        Self {
            manner,
            ending,
            reply_by,
            start: Duration::from_micros(random.below(1_000_000)),
            rounds: 1 + random.below(3) as u32,
            packets,
            depth: 1 + random.below(8) as u32,
            most_payload: match manner {
                Dribbling => 40,
                Flooding => LEAST_PAYLOAD + random.below(30) as usize,
                _ => LEAST_PAYLOAD + random.below(most_payload as u64) as usize,
            },
            streams: random.chance(0.6),
        }
    }
}

fn draw_options(random: &mut Random, most_payload: usize) -> ServiceOptions {
    let limit_bytes = *random.pick(&[2_000, 100_000, 4 << 20]);
    let high_water_bytes = limit_bytes / *random.pick(&[1, 2, 4]);
    ServiceOptions {
        workers: *random.pick(&[1, 1, 2, 4]),
        backlog: *random.pick(&[0, 4, 1024]),
        session: SessionOptions {
            high_water_bytes,
            low_water_bytes: high_water_bytes / *random.pick(&[1, 2, 10]),
            limit_bytes,
            overflow: *random.pick(&[Overflow::Close, Overflow::Refuse]),
            idle_limit: random.chance(0.4).then(|| Duration::from_millis(*random.pick(&[50, 1000, 30_000]))),
            close_limit: Duration::from_millis(*random.pick(&[1, 500, 5000])),
        },
        provider: ProviderConfig { receive_pool: draw_pool(random, 64), ..ProviderConfig::default() },
        send_pool: draw_pool(random, most_payload.min(2000)),
        batch: Some(*random.pick(&[1, 3, 16, 256])),
        max_sessions: *random.pick(&[5, 50, 10_000, 10_000, 10_000]),
        balance: *random.pick(&[Balance::LeastLoaded, Balance::RoundRobin]),
        tick: random.chance(0.3).then(|| Duration::from_millis(1 + random.below(50))),
        log_period: random.chance(0.3).then_some(Duration::from_secs(1)),
        ..ServiceOptions::default()
    }
}

/// Some of the limits, so tight that some clients go beyond them.
fn draw_limits(random: &mut Random, options: &ServiceOptions) -> Limits {
    let least_queued = (options.workers * options.session.limit_bytes) as u64;
    let mut some = |least: u64, most: u64| random.chance(0.3).then(|| random.within(&(least..=most)));
    Limits {
        sessions_per_address: some(1, 3).map(|count| count as u32),
        accepts_per_second: some(1, 100).map(|count| count as u32),
        packets_per_second: some(1, 200).map(|count| count as u32),
        bytes_per_second: some(1 << 16, 1 << 18).map(|bytes| bytes as u32),
        first_packet: some(10, 2000).map(Duration::from_millis),
        unfinished_packet: some(10, 2000).map(Duration::from_millis),
        unread: some(10, 2000).map(Duration::from_millis),
        queued_bytes: some(least_queued, least_queued * 2).map(|bytes| bytes as usize),
    }
}

/// A pool of a few small buffers, or of many.
fn draw_pool(random: &mut Random, least_bytes: usize) -> PoolConfig {
    let max_slots = *random.pick(&[1, 2, 5, 64]);
    PoolConfig {
        slot_bytes: least_bytes.max(64) + *random.pick(&[0, 1, 500, 8192]),
        initial_slots: 1 + random.below(u64::from(max_slots)) as u32,
        max_slots,
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = &self.options.session;
        writeln!(f, "seed {}: {}", self.seed, self.plan)?;
        writeln!(
            f,
            "  {} workers, batch {}, at most {} sessions, receive pool {} x {} B, send pool {} x {} B",
            self.options.workers,
            self.options.batch.unwrap_or_default(),
            self.options.max_sessions,
            self.options.provider.receive_pool.max_slots,
            self.options.provider.receive_pool.slot_bytes,
            self.options.send_pool.max_slots,
            self.options.send_pool.slot_bytes,
        )?;
        writeln!(
            f,
            "  send queues {} / {} / {} B, {:?}, idle limit {:?}, close limit {:?}",
            session.low_water_bytes,
            session.high_water_bytes,
            session.limit_bytes,
            session.overflow,
            session.idle_limit,
            session.close_limit
        )?;
        writeln!(f, "  {:?}", self.options.limits)?;
        writeln!(
            f,
            "  {} clients; stop at {:?} within {:?}, meddling every {:?}, a panic once in {:?}",
            self.clients.len(),
            self.stop_at,
            self.drain_limit,
            self.meddling,
            self.panic_once_in
        )?;
        for (index, client) in self.clients.iter().enumerate().take(20) {
            writeln!(f, "  client {index}: {client:?}")?;
        }
        Ok(())
    }
}
