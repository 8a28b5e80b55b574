//! Arbitrary messages, one strategy for each type that carries content.
//!
//! Numbers lean towards the ends of their ranges, where the length of a varint changes.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use fastport_protocol::admin::{
    AdminSessionInfo, AdminSessionListRequest, AdminSessionListResponse, AdminStatusSummaryRequest,
    AdminStatusSummaryResponse,
};
use fastport_protocol::benchmark::{
    BenchmarkEndRequest, BenchmarkEndResponse, BenchmarkRequest, BenchmarkResponse, BenchmarkStartRequest,
    BenchmarkStartResponse, ThroughputData, ThroughputResult,
};
use fastport_protocol::commons::Header;
use fastport_protocol::tests::{EchoRequest, EchoResponse, ErrorResponse, PingRequest, PingResponse};

pub(crate) fn long() -> impl Strategy<Value = u64> {
    // Any number of bits, so that every length of a varint is as likely.
    (any::<u64>(), 0..=64_u32).prop_map(|(value, bits)| value.checked_shr(bits).unwrap_or(0))
}

fn int() -> impl Strategy<Value = u32> {
    (any::<u32>(), 0..=32_u32).prop_map(|(value, bits)| value.checked_shr(bits).unwrap_or(0))
}

/// The result codes, and numbers that only a later version gives a meaning.
fn result() -> impl Strategy<Value = i32> {
    prop_oneof![0..=2, any::<i32>()]
}

pub(crate) fn content() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..4), vec(any::<u8>(), 0..600)].prop_map(Bytes::from)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), any::<String>()]
}

prop_compose! {
    fn header()(request_id in long(), timestamp_ms in long()) -> Header {
        Header { request_id, timestamp_ms }
    }
}

prop_compose! {
    pub(crate) fn ping_request()(header in option::of(header()), payload in text()) -> PingRequest {
        PingRequest { header, payload }
    }
}

prop_compose! {
    pub(crate) fn ping_response()(
        header in option::of(header()),
        result in result(),
        payload in text(),
    ) -> PingResponse {
        PingResponse { header, result, payload }
    }
}

prop_compose! {
    pub(crate) fn echo_request()(
        header in option::of(header()),
        data in content(),
        data_str in text(),
    ) -> EchoRequest {
        EchoRequest { header, data, data_str }
    }
}

prop_compose! {
    pub(crate) fn echo_response()(
        header in option::of(header()),
        result in result(),
        data in content(),
        data_str in text(),
    ) -> EchoResponse {
        EchoResponse { header, result, data, data_str }
    }
}

prop_compose! {
    pub(crate) fn error_response()(
        header in option::of(header()),
        result in result(),
        message in text(),
        error_code in any::<i32>(),
    ) -> ErrorResponse {
        ErrorResponse { header, result, message, error_code }
    }
}

prop_compose! {
    pub(crate) fn benchmark_request()(
        header in option::of(header()),
        client_timestamp_ns in long(),
        sequence in int(),
        payload in content(),
    ) -> BenchmarkRequest {
        BenchmarkRequest { header, client_timestamp_ns, sequence, payload }
    }
}

prop_compose! {
    pub(crate) fn benchmark_response()(
        header in option::of(header()),
        result in result(),
        client_timestamp_ns in long(),
        server_recv_timestamp_ns in long(),
        server_send_timestamp_ns in long(),
        sequence in int(),
        payload in content(),
    ) -> BenchmarkResponse {
        BenchmarkResponse {
            header,
            result,
            client_timestamp_ns,
            server_recv_timestamp_ns,
            server_send_timestamp_ns,
            sequence,
            payload,
        }
    }
}

prop_compose! {
    pub(crate) fn benchmark_start_request()(
        header in option::of(header()),
        test_name in text(),
        iterations in int(),
        payload_size in int(),
        warmup_iterations in int(),
    ) -> BenchmarkStartRequest {
        BenchmarkStartRequest { header, test_name, iterations, payload_size, warmup_iterations }
    }
}

prop_compose! {
    pub(crate) fn benchmark_start_response()(
        header in option::of(header()),
        result in result(),
        session_id in text(),
    ) -> BenchmarkStartResponse {
        BenchmarkStartResponse { header, result, session_id }
    }
}

prop_compose! {
    pub(crate) fn benchmark_end_request()(
        header in option::of(header()),
        session_id in text(),
        total_sent in int(),
    ) -> BenchmarkEndRequest {
        BenchmarkEndRequest { header, session_id, total_sent }
    }
}

prop_compose! {
    pub(crate) fn benchmark_end_response()(
        header in option::of(header()),
        result in result(),
        total_received in int(),
        server_elapsed_ns in long(),
    ) -> BenchmarkEndResponse {
        BenchmarkEndResponse { header, result, total_received, server_elapsed_ns }
    }
}

prop_compose! {
    pub(crate) fn throughput_data()(
        sequence in int(),
        payload in content(),
        is_last in any::<bool>(),
    ) -> ThroughputData {
        ThroughputData { sequence, payload, is_last }
    }
}

prop_compose! {
    pub(crate) fn throughput_result()(
        header in option::of(header()),
        packets_received in int(),
        bytes_received in long(),
        elapsed_ns in long(),
        packets_per_second in any::<f64>(),
        megabytes_per_second in any::<f64>(),
    ) -> ThroughputResult {
        ThroughputResult {
            header,
            packets_received,
            bytes_received,
            elapsed_ns,
            packets_per_second,
            megabytes_per_second,
        }
    }
}

prop_compose! {
    pub(crate) fn admin_status_summary_request()(
        header in option::of(header()),
        auth_token in text(),
    ) -> AdminStatusSummaryRequest {
        AdminStatusSummaryRequest { header, auth_token }
    }
}

prop_compose! {
    pub(crate) fn admin_status_summary_response()(
        header in option::of(header()),
        result in result(),
        server_uptime_ms in long(),
        active_session_count in int(),
        traffic_bytes in (long(), long()),
        idle_disconnect_count in long(),
        server_mode in prop_oneof![0..=6, any::<i32>()],
        process_memory_bytes in long(),
        process_cpu_percent in any::<f64>(),
        server_timestamp_ms in long(),
    ) -> AdminStatusSummaryResponse {
        AdminStatusSummaryResponse {
            header,
            result,
            server_uptime_ms,
            active_session_count,
            total_rx_bytes: traffic_bytes.0,
            total_tx_bytes: traffic_bytes.1,
            idle_disconnect_count,
            server_mode,
            process_memory_bytes,
            process_cpu_percent,
            server_timestamp_ms,
        }
    }
}

prop_compose! {
    pub(crate) fn admin_session_list_request()(
        header in option::of(header()),
        offset in int(),
        limit in int(),
        auth_token in text(),
    ) -> AdminSessionListRequest {
        AdminSessionListRequest { header, offset, limit, auth_token }
    }
}

prop_compose! {
    fn admin_session_info()(
        session_id in long(),
        last_recv_ms in any::<i64>(),
        rx_bytes in long(),
        tx_bytes in long(),
    ) -> AdminSessionInfo {
        AdminSessionInfo { session_id, last_recv_ms, rx_bytes, tx_bytes }
    }
}

prop_compose! {
    pub(crate) fn admin_session_list_response()(
        header in option::of(header()),
        result in result(),
        total in int(),
        offset in int(),
        sessions in vec(admin_session_info(), 0..20),
    ) -> AdminSessionListResponse {
        AdminSessionListResponse { header, result, total, offset, sessions }
    }
}
