//! What every packet does on the ground floor: the byte ring, the buffer pool, the slab.
//!
//! `cargo bench -p fastport-io`

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use fastport_io::slab::Slab;
use fastport_io::{BufferPool, ByteRing, PoolConfig};

const SIZES: [usize; 3] = [64, 1024, 16 * 1024];
const CONFIG: PoolConfig = PoolConfig { slot_bytes: 66 * 1024, initial_slots: 64, max_slots: 1024 };

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    byte_ring(&mut criterion);
    buffer_pool(&mut criterion);
    slab(&mut criterion);
    criterion.final_summary();
}

/// A message goes in, a send refers to it, and its completion takes it out.
fn byte_ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("byte_ring");
    for bytes in SIZES {
        let message = vec![7; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("write, send, consume {bytes} B"), |bencher| {
            let mut ring = ByteRing::with_capacity(64 * 1024);
            bencher.iter(|| {
                ring.write(black_box(&message));
                black_box(ring.send_buffers());
                ring.consume(bytes);
            });
        });
    }
    group.throughput(Throughput::Bytes(64));
    group.bench_function("write, consume 64 B behind 1000 B, round the end", |bencher| {
        let mut ring = ByteRing::with_capacity(4099);
        ring.write(&[0; 1000]);
        bencher.iter(|| {
            ring.write(black_box(&[7; 64]));
            ring.consume(64);
        });
    });
}

fn buffer_pool(criterion: &mut Criterion) {
    let pool = BufferPool::new(&CONFIG).expect("a pool");
    let mut group = criterion.benchmark_group("buffer_pool");
    group.bench_function("acquire, drop", |bencher| bencher.iter(|| black_box(pool.acquire())));
    group.bench_function("acquire, freeze, share, drop", |bencher| {
        bencher.iter(|| {
            let lease = pool.acquire().expect("a free slot").freeze(64);
            black_box((lease.slice(0..32), lease));
        });
    });
}

fn slab(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slab");
    let mut slab = Slab::with_limit(1 << 20);
    let keys: Vec<_> = (0..1000_u64).map(|value| slab.insert(value).expect("room")).collect();
    group.bench_function("insert, remove beside 1000 others", |bencher| {
        bencher.iter(|| {
            let key = slab.insert(black_box(1)).expect("room");
            slab.remove(black_box(key))
        });
    });
    let mut at = 0;
    group.bench_function("get one of 1000", |bencher| {
        bencher.iter(|| {
            at = (at + 7) % keys.len();
            slab.get(black_box(keys[at])).copied()
        });
    });
}
