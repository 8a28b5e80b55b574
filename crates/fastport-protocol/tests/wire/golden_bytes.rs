//! Every message against bytes that were worked out from the wire format by hand, not by the
//! library under test. They are what clients in the field send and expect.

use std::fmt::Debug;

use fastport_protocol::admin::{
    AdminSessionInfo, AdminSessionListRequest, AdminSessionListResponse, AdminStatusSummaryRequest,
    AdminStatusSummaryResponse, ServerMode,
};
use fastport_protocol::benchmark::{
    BenchmarkEndRequest, BenchmarkEndResponse, BenchmarkRequest, BenchmarkResponse, BenchmarkStartRequest,
    BenchmarkStartResponse, ThroughputData, ThroughputResult,
};
use fastport_protocol::commons::{Empty, Header, ProtocolId, ResultCode};
use fastport_protocol::tests::{EchoRequest, EchoResponse, ErrorResponse, PingRequest, PingResponse};
use fastport_protocol::{Decode, Encode};

const HEADER: Header = Header { request_id: 7, timestamp_ms: 1_700_000_000_000 };

/// `HEADER` as field 1 of a message.
const HEADER_FIELD: &str = "0a 09 08 07 10 80 d0 95 ff bc 31 ";

fn assert_wire<M>(message: &M, hex: &str)
where
    M: Encode + for<'payload> Decode<'payload> + PartialEq + Debug,
{
    let golden: Vec<u8> =
        hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits")).collect();
    assert_eq!(message.to_wire(), golden, "{message:?} is written differently");
    assert_eq!(message.max_wire_len(), golden.len());
    let read = M::decode_from(&golden).expect("the golden bytes are valid");
    assert_eq!(&read, message);
}

fn assert_wire_after_header<M>(message: &M, hex: &str)
where
    M: Encode + for<'payload> Decode<'payload> + PartialEq + Debug,
{
    assert_wire(message, &format!("{HEADER_FIELD}{hex}"));
}

#[test]
fn the_messages_of_the_commons_package_have_their_bytes() {
    assert_wire(&HEADER, "08 07 10 80 d0 95 ff bc 31");
    assert_wire(&Empty {}, "");
}

#[test]
fn the_messages_of_the_tests_package_have_their_bytes() {
    let header = Some(HEADER);
    let ok = ResultCode::Ok.into();
    let ping = PingRequest { header, payload: "ping".into() };
    assert_wire_after_header(&ping, "12 04 70 69 6e 67");
    let pong = PingResponse { header, result: ok, payload: "ping".into() };
    assert_wire_after_header(&pong, "10 01 1a 04 70 69 6e 67");
    let echo = EchoRequest { header, data: vec![0x00, 0xFF].into(), data_str: "é".into() };
    assert_wire_after_header(&echo, "12 02 00 ff 1a 02 c3 a9");
    let echoed = EchoResponse { header, result: ok, data: vec![0x00, 0xFF].into(), data_str: "é".into() };
    assert_wire_after_header(&echoed, "10 01 1a 02 00 ff 22 02 c3 a9");
    let error = ErrorResponse { header, result: ResultCode::Error.into(), message: "no".into(), error_code: -5 };
    assert_wire_after_header(&error, "10 02 1a 02 6e 6f 20 fb ff ff ff ff ff ff ff ff 01");
}

#[test]
fn the_round_trip_messages_of_the_benchmark_package_have_their_bytes() {
    let request = BenchmarkRequest {
        header: Some(HEADER),
        client_timestamp_ns: 300,
        sequence: 9,
        payload: vec![0xAA, 0xBB].into(),
    };
    assert_wire_after_header(&request, "10 ac 02 18 09 22 02 aa bb");
    let response = BenchmarkResponse {
        header: Some(HEADER),
        result: ResultCode::Ok.into(),
        client_timestamp_ns: 300,
        server_recv_timestamp_ns: 400,
        server_send_timestamp_ns: 500,
        sequence: 9,
        payload: vec![0xAA, 0xBB].into(),
    };
    assert_wire_after_header(&response, "10 01 18 ac 02 20 90 03 28 f4 03 30 09 3a 02 aa bb");
}

#[test]
fn the_run_messages_of_the_benchmark_package_have_their_bytes() {
    let header = Some(HEADER);
    let ok = ResultCode::Ok.into();
    let start = BenchmarkStartRequest {
        header,
        test_name: "echo".into(),
        iterations: 1000,
        payload_size: 64,
        warmup_iterations: 10,
    };
    assert_wire_after_header(&start, "12 04 65 63 68 6f 18 e8 07 20 40 28 0a");
    let started = BenchmarkStartResponse { header, result: ok, session_id: "run".into() };
    assert_wire_after_header(&started, "10 01 1a 03 72 75 6e");
    let end = BenchmarkEndRequest { header, session_id: "run".into(), total_sent: 1000 };
    assert_wire_after_header(&end, "12 03 72 75 6e 18 e8 07");
    let ended = BenchmarkEndResponse { header, result: ok, total_received: 999, server_elapsed_ns: 2_000_000_000 };
    assert_wire_after_header(&ended, "10 01 18 e7 07 20 80 a8 d6 b9 07");
}

#[test]
fn the_throughput_messages_of_the_benchmark_package_have_their_bytes() {
    let data = ThroughputData { sequence: 9, payload: vec![0xAA, 0xBB].into(), is_last: true };
    assert_wire(&data, "08 09 12 02 aa bb 18 01");
    let result = ThroughputResult {
        header: Some(HEADER),
        packets_received: 3,
        bytes_received: 300,
        elapsed_ns: 500,
        packets_per_second: 1.5,
        megabytes_per_second: -2.0,
    };
    assert_wire_after_header(&result, "10 03 18 ac 02 20 f4 03 29 00 00 00 00 00 00 f8 3f 31 00 00 00 00 00 00 00 c0");
}

#[test]
fn the_status_messages_of_the_admin_package_have_their_bytes() {
    let request = AdminStatusSummaryRequest { header: Some(HEADER), auth_token: "key".into() };
    assert_wire_after_header(&request, "12 03 6b 65 79");
    let response = AdminStatusSummaryResponse {
        header: Some(HEADER),
        result: ResultCode::Ok.into(),
        server_uptime_ms: 1,
        active_session_count: 2,
        total_rx_bytes: 3,
        total_tx_bytes: 4,
        idle_disconnect_count: 5,
        server_mode: ServerMode::IoUring.into(),
        process_memory_bytes: 6,
        process_cpu_percent: 12.5,
        server_timestamp_ms: 7,
    };
    assert_wire_after_header(
        &response,
        "10 01 18 01 20 02 28 03 30 04 38 05 40 04 48 06 51 00 00 00 00 00 00 29 40 58 07",
    );
}

#[test]
fn the_session_list_messages_of_the_admin_package_have_their_bytes() {
    let request = AdminSessionListRequest { header: Some(HEADER), offset: 100, limit: 1000, auth_token: "key".into() };
    assert_wire_after_header(&request, "10 64 18 e8 07 22 03 6b 65 79");
    let session = AdminSessionInfo { session_id: 1 << 63, last_recv_ms: -1, rx_bytes: 3, tx_bytes: 4 };
    assert_wire(&session, "08 80 80 80 80 80 80 80 80 80 01 10 ff ff ff ff ff ff ff ff ff 01 18 03 20 04");
    let first = AdminSessionInfo { session_id: 1, last_recv_ms: 10, ..Default::default() };
    let second = AdminSessionInfo { session_id: 2, ..Default::default() };
    let response = AdminSessionListResponse {
        header: Some(HEADER),
        result: ResultCode::Ok.into(),
        total: 2,
        offset: 0,
        sessions: vec![first, second],
    };
    assert_wire_after_header(&response, "10 01 18 02 2a 04 08 01 10 0a 2a 02 08 02");
}

#[test]
fn the_enums_have_their_names_and_numbers() {
    let protocols = [ProtocolId::Unspecified, ProtocolId::Tests];
    assert_eq!(
        protocols.map(|value| (value.as_str_name(), i32::from(value))),
        [("PROTOCOL_ID_UNSPECIFIED", 0), ("PROTOCOL_ID_TESTS", 1)]
    );
    let results = [ResultCode::Unspecified, ResultCode::Ok, ResultCode::Error];
    assert_eq!(
        results.map(|value| (value.as_str_name(), i32::from(value))),
        [("RESULT_CODE_UNSPECIFIED", 0), ("RESULT_CODE_OK", 1), ("RESULT_CODE_ERROR", 2),]
    );
    let modes = [
        ServerMode::Unknown,
        ServerMode::Iocp,
        ServerMode::Rio,
        ServerMode::Epoll,
        ServerMode::IoUring,
        ServerMode::Kqueue,
        ServerMode::Sim,
    ];
    assert_eq!(
        modes.map(|value| (value.as_str_name(), i32::from(value))),
        [
            ("SERVER_MODE_UNKNOWN", 0),
            ("SERVER_MODE_IOCP", 1),
            ("SERVER_MODE_RIO", 2),
            ("SERVER_MODE_EPOLL", 3),
            ("SERVER_MODE_IO_URING", 4),
            ("SERVER_MODE_KQUEUE", 5),
            ("SERVER_MODE_SIM", 6),
        ]
    );
}
