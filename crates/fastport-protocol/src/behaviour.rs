//! What a server answers, as functions without I/O.
//!
//! Each answer comes in two forms: over owned messages, which moves the content, and over
//! [views](crate::views), which borrows it from the request's payload and is what the packet path
//! uses. Both give the same bytes on the wire.

use crate::benchmark::{BenchmarkRequest, BenchmarkResponse};
use crate::commons::{Header, ResultCode};
use crate::tests::{EchoRequest, EchoResponse};
use crate::views::{BenchmarkRequestView, BenchmarkResponseView, EchoRequestView, EchoResponseView};

/// When a server handled a request, in nanoseconds of any clock that does not go backwards.
///
/// Clients use the difference only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerTimes {
    /// When the request had been read.
    pub received_ns: u64,
    /// When the response is written.
    pub sent_ns: u64,
}

/// Answers an echo request: the same content, and the header with `request_id + 1` (0 follows on
/// `u64::MAX`). A request without a header counts as one with request id 0.
pub fn answer_echo(request: EchoRequest) -> EchoResponse {
    EchoResponse {
        header: Some(echo_header(request.header)),
        result: ResultCode::Ok.into(),
        data: request.data,
        data_str: request.data_str,
    }
}

/// [`answer_echo`] without a copy.
pub fn answer_echo_view<'a>(request: &EchoRequestView<'a>) -> EchoResponseView<'a> {
    EchoResponseView {
        header: Some(echo_header(request.header)),
        result: ResultCode::Ok.into(),
        data: request.data,
        data_str: request.data_str,
    }
}

/// Answers a benchmark request: everything that it holds, and the server's times.
pub fn answer_benchmark(request: BenchmarkRequest, times: ServerTimes) -> BenchmarkResponse {
    BenchmarkResponse {
        header: request.header,
        result: ResultCode::Ok.into(),
        client_timestamp_ns: request.client_timestamp_ns,
        server_recv_timestamp_ns: times.received_ns,
        server_send_timestamp_ns: times.sent_ns,
        sequence: request.sequence,
        payload: request.payload,
    }
}

/// [`answer_benchmark`] without a copy.
pub fn answer_benchmark_view<'a>(request: &BenchmarkRequestView<'a>, times: ServerTimes) -> BenchmarkResponseView<'a> {
    BenchmarkResponseView {
        header: request.header,
        result: ResultCode::Ok.into(),
        client_timestamp_ns: request.client_timestamp_ns,
        server_recv_timestamp_ns: times.received_ns,
        server_send_timestamp_ns: times.sent_ns,
        sequence: request.sequence,
        payload: request.payload,
    }
}

/// The client's time goes back unchanged, so that it can tell the round-trip time from it.
fn echo_header(request: Option<Header>) -> Header {
    let request = request.unwrap_or_default();
    Header { request_id: request.request_id.wrapping_add(1), timestamp_ms: request.timestamp_ms }
}
