//! What every packet and every session costs above the provider: finding frames, and timers.
//!
//! `cargo bench -p fastport --bench packets`

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use fastport::{Frame, Framer, PacketFramer, PacketId, TimerWheel};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    framer(&mut criterion);
    timer_wheel(&mut criterion);
    criterion.final_summary();
}

/// A buffer full of frames, walked as a session does.
fn framer(criterion: &mut Criterion) {
    const FRAMES: usize = 256;
    let framer = PacketFramer::default();
    let mut group = criterion.benchmark_group("framer");
    for payload_bytes in [64, 250] {
        let mut header = [0; 4];
        framer.write_header(PacketId(7), payload_bytes, &mut header).expect("it fits");
        let frame = [header.as_slice(), &vec![7; payload_bytes]].concat();
        let stream = frame.repeat(FRAMES);
        group.throughput(Throughput::Elements(FRAMES as u64));
        group.bench_function(format!("{FRAMES} frames of {payload_bytes} B"), |bencher| {
            bencher.iter(|| walk(framer, black_box(&stream)));
        });
    }
}

fn walk(framer: PacketFramer, mut stream: &[u8]) -> usize {
    let mut payload_bytes = 0;
    while let Frame::Complete { frame_bytes } = framer.inspect(stream) {
        let (frame, rest) = stream.split_at(frame_bytes);
        payload_bytes += framer.view(frame).payload.len();
        stream = rest;
    }
    payload_bytes
}

/// Timers among ten thousand others, as with ten thousand sessions that each have an idle check.
fn timer_wheel(criterion: &mut Criterion) {
    const OTHERS: u64 = 10_000;
    let start = Instant::now();
    let filled = || {
        let mut wheel = TimerWheel::new(start);
        for other in 0..OTHERS {
            wheel.insert(start + Duration::from_secs(60) + Duration::from_micros(other * 100), other);
        }
        wheel
    };
    let mut group = criterion.benchmark_group("timer_wheel");
    group.bench_function("insert, cancel", |bencher| {
        let mut wheel = filled();
        bencher.iter(|| {
            let timer = wheel.insert(start + black_box(Duration::from_secs(30)), 0);
            wheel.cancel(timer)
        });
    });
    group.bench_function("a turn in which nothing expires", |bencher| {
        let mut wheel = filled();
        bencher.iter(|| (wheel.next_deadline(), wheel.pop_expired(black_box(start))));
    });
    group.throughput(Throughput::Elements(OTHERS));
    group.bench_function(format!("{OTHERS} expire"), |bencher| {
        bencher.iter_batched_ref(
            filled,
            |wheel| {
                let end = start + Duration::from_secs(120);
                std::iter::from_fn(|| wheel.pop_expired(end)).count()
            },
            criterion::BatchSize::LargeInput,
        );
    });
}
