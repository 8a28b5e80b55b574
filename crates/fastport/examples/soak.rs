//! Connections by the thousand that come, talk and end in every way, and a check that nothing of them is left; called by
//! `ci/soak`.
//!
//! ```text
//! soak --connections N [--backend NAME]
//! ```
//! The service and its clients are one process. Its descriptors, its memory and the counts of its pools must be back where
//! they were after the first connections, which fill caches and pools.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastport::{CloseReason, Context, Handler, Limits, Packet, PacketId, PacketView, Service, SessionId, SessionStats};
use fastport_io::{Choice, Socket};

/// Connections of a burst: all of them stand before the first one ends.
const BURST: usize = 250;
/// Threads that each run one burst after another.
const THREADS: usize = 4;
/// A burst may take this long; nothing in it waits for anything but the machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the allocator may keep more than before, whatever the number of connections.
const SLACK_BYTES: u64 = 4 << 20;
/// Ports for connections to one address are few, and used again after a while only.
const ADDRESSES: u8 = 16;
/// The id of a packet that asks the service to end the session.
const FAREWELL: u16 = 7;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

struct Echo {
    closed: Arc<AtomicU64>,
}

impl Handler for Echo {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        let _ = session.send(packet.id, packet.payload);
        if packet.id.0 == FAREWELL {
            session.close();
        }
    }

    fn closed(&mut self, _: SessionId, _: CloseReason, _: &SessionStats) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// How a connection ends.
#[derive(Clone, Copy)]
enum Ending {
    Close,
    HalfClose,
    Reset,
    /// In the middle of a packet.
    ResetInside,
    Garbage,
    ByService,
    Unheard,
}

const ENDINGS: [Ending; 7] = [
    Ending::Close,
    Ending::HalfClose,
    Ending::Reset,
    Ending::ResetInside,
    Ending::Garbage,
    Ending::ByService,
    Ending::Unheard,
];

fn frame(id: u16, payload: &[u8]) -> Vec<u8> {
    Packet::new(PacketId(id), payload).expect("a small payload").frame().to_vec()
}

fn ask(stream: &mut TcpStream, id: u16, payload: &[u8]) -> Outcome<()> {
    let request = frame(id, payload);
    stream.write_all(&request)?;
    let mut reply = vec![0; request.len()];
    stream.read_exact(&mut reply)?;
    if reply == request { Ok(()) } else { Err("a reply differs from its request".into()) }
}

fn end(mut stream: TcpStream, ending: Ending) -> Outcome<()> {
    let reset = |stream: TcpStream| Socket::from(stream).set_linger(Some(Duration::ZERO));
    match ending {
        Ending::Close | Ending::Unheard => {}
        Ending::HalfClose => {
            stream.shutdown(Shutdown::Write)?;
            stream.read_to_end(&mut Vec::new())?;
        }
        Ending::Reset => reset(stream)?,
        Ending::ResetInside => {
            stream.write_all(&frame(1, &[1; 500])[..100])?;
            reset(stream)?;
        }
        Ending::Garbage => {
            stream.write_all(&[0, 0, 0, 0])?;
            // The service may reset what it does not understand.
            let _ = stream.read_to_end(&mut Vec::new());
        }
        Ending::ByService => {
            ask(&mut stream, FAREWELL, b"good-bye")?;
            stream.read_to_end(&mut Vec::new())?;
        }
    }
    Ok(())
}

fn burst(addresses: &[SocketAddr], count: usize, number: usize) -> Outcome<()> {
    let mut streams = Vec::with_capacity(count);
    for index in 0..count {
        let stream = TcpStream::connect_timeout(&addresses[(number + index) % addresses.len()], PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        streams.push((stream, ENDINGS[(number + index) % ENDINGS.len()]));
    }
    for (index, (stream, ending)) in streams.iter_mut().enumerate() {
        if !matches!(ending, Ending::Unheard) {
            for packet in 0..index % 4 {
                ask(stream, 1, &vec![packet as u8; index * 11 % 3000])?;
            }
        }
    }
    streams.into_iter().try_for_each(|(stream, ending)| end(stream, ending))
}

/// Runs bursts on all threads until so many connections were made.
fn run(addresses: &[SocketAddr], connections: usize) -> Outcome<()> {
    let share = connections / THREADS;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let mut left = if thread == 0 { connections - share * (THREADS - 1) } else { share };
                    let mut number = thread * 1000;
                    while left > 0 {
                        let count = left.min(BURST);
                        burst(addresses, count, number)?;
                        left -= count;
                        number += 1;
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a burst does not panic"))
    })
}

/// What must not grow.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    descriptors: usize,
    resident_bytes: u64,
}

impl Footprint {
    fn take() -> Outcome<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kilobytes: u64 = resident.trim().trim_end_matches("kB").trim().parse()?;
        Ok(Self { descriptors: std::fs::read_dir("/proc/self/fd")?.count(), resident_bytes: kilobytes << 10 })
    }
}

/// Waits until the service has seen the end of all its sessions.
fn settle(service: &Service, closed: &AtomicU64, expected: u64) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = service.stats();
        let held = stats.sessions + stats.receive_slots_held + stats.send_slots_held + stats.queued_bytes;
        let ended = closed.load(Ordering::Relaxed);
        if stats.accepted == expected && ended == expected && held == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{ended} of {expected} sessions have ended; {stats:?}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn soak(connections: usize, backend: Choice) -> Outcome<()> {
    let closed = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&closed);
    // Limits that nobody reaches, so that what looks after them is part of it.
    let limits = Limits {
        sessions_per_address: Some(u32::MAX),
        packets_per_second: Some(u32::MAX),
        first_packet: Some(PATIENCE),
        unfinished_packet: Some(PATIENCE),
        unread: Some(PATIENCE),
        ..Limits::default()
    };
    let mut builder = Service::builder(move |_| Echo { closed: Arc::clone(&counter) })
        .backend(backend)
        .workers(2)
        .idle_limit(PATIENCE)
        .limits(limits);
    for host in 1..=ADDRESSES {
        builder = builder.listen(SocketAddr::from(([127, 0, 0, host], 0)));
    }
    let service = builder.start()?;
    let addresses = service.local_addresses().to_vec();

    let warm_up = (connections / 10).max(connections.min(4 * BURST * THREADS));
    run(&addresses, warm_up)?;
    settle(&service, &closed, warm_up as u64)?;
    let before = Footprint::take()?;
    let begin = Instant::now();
    run(&addresses, connections - warm_up)?;
    let elapsed = begin.elapsed();
    settle(&service, &closed, connections as u64)?;
    let after = Footprint::take()?;

    let stats = service.stats();
    println!(
        "{}: {connections} connections ({warm_up} to warm up), {:.0} a second; descriptors {} -> {}; memory {} -> {} KiB; \
         no session, receive slot, send slot or queued byte left; {} packets each way",
        service.backend(),
        (connections - warm_up) as f64 / elapsed.as_secs_f64(),
        before.descriptors,
        after.descriptors,
        before.resident_bytes >> 10,
        after.resident_bytes >> 10,
        stats.packets_received,
    );
    if after.descriptors > before.descriptors {
        return Err("descriptors are left open".into());
    }
    if after.resident_bytes > before.resident_bytes + SLACK_BYTES {
        return Err("memory has grown".into());
    }
    let report = service.stop(PATIENCE);
    match report.failure {
        Some(error) => Err(error.into()),
        None if report.aborted > 0 => Err("sessions were left at the end".into()),
        None => Ok(()),
    }
}

fn arguments() -> Outcome<(usize, Choice)> {
    let (mut connections, mut backend) = (None, Choice::Auto);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--connections" => connections = Some(value.parse()?),
            "--backend" => backend = value.parse()?,
            _ => return Err(format!("unknown argument {word}").into()),
        }
    }
    Ok((connections.ok_or("usage: soak --connections N [--backend NAME]")?, backend))
}

fn main() -> ExitCode {
    match arguments().and_then(|(connections, backend)| soak(connections, backend)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}
