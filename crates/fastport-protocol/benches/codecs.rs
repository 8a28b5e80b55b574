//! One round of a benchmark message as a server has it: decode the request, answer it, encode the answer. By prost from a
//! slice and from shared bytes, and by views.
//!
//! `cargo bench -p fastport-protocol`; `docs/performance.md` has the figures.

use std::hint::black_box;

use bytes::Bytes;
use criterion::Criterion;
use fastport_protocol::behaviour::{ServerTimes, answer_benchmark, answer_benchmark_view};
use fastport_protocol::benchmark::BenchmarkRequest;
use fastport_protocol::commons::Header;
use fastport_protocol::views::BenchmarkRequestView;
use fastport_protocol::{Decode, DecodeOwned, Encode};

const TIMES: ServerTimes = ServerTimes { received_ns: 123_456_789_012_345, sent_ns: 123_456_789_912_345 };

fn request(payload_bytes: usize) -> Bytes {
    let payload = vec![7; payload_bytes];
    let request = BenchmarkRequestView {
        header: Some(Header { request_id: 7, timestamp_ms: 1_700_000_000_000 }),
        client_timestamp_ns: 123_456_789_000_000,
        sequence: 5,
        payload: &payload,
    };
    request.to_wire().into()
}

/// What a send takes: the memory that the message asks for, then its bytes.
fn write(message: &impl Encode, memory: &mut [u8]) {
    let mut target = &mut memory[..black_box(message.max_wire_len())];
    message.encode_into(&mut target).expect("as much memory as the message asks for");
    black_box(memory);
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for payload_bytes in [64, 1024, 16 * 1024] {
        let request = request(payload_bytes);
        let mut memory = vec![0; 4 * request.len()];
        let mut group = criterion.benchmark_group(format!("benchmark message, {payload_bytes} B"));
        group.bench_function("prost from a slice", |bench| {
            bench.iter(|| {
                let request = BenchmarkRequest::decode_from(black_box(&request)).expect("it was encoded above");
                write(&answer_benchmark(request, TIMES), &mut memory);
            });
        });
        group.bench_function("prost from shared bytes", |bench| {
            bench.iter(|| {
                let request =
                    BenchmarkRequest::decode_shared(black_box(&request).clone()).expect("it was encoded above");
                write(&answer_benchmark(request, TIMES), &mut memory);
            });
        });
        group.bench_function("view", |bench| {
            bench.iter(|| {
                let request = BenchmarkRequestView::decode_from(black_box(&request)).expect("it was encoded above");
                write(&answer_benchmark_view(&request, TIMES), &mut memory);
            });
        });
        group.finish();
    }
    criterion.final_summary();
}
