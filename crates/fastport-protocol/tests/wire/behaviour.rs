//! What a server answers.

use proptest::prelude::*;

use fastport_protocol::Encode;
use fastport_protocol::behaviour::{
    ServerTimes, answer_benchmark, answer_benchmark_view, answer_echo, answer_echo_view,
};
use fastport_protocol::benchmark::BenchmarkRequest;
use fastport_protocol::commons::{Header, ResultCode};
use fastport_protocol::tests::EchoRequest;
use fastport_protocol::views::{BenchmarkRequestView, EchoRequestView};

use crate::messages;

#[test]
fn an_echo_is_answered_with_the_next_request_id_and_the_same_content() {
    let response = answer_echo(EchoRequest {
        header: Some(Header { request_id: 41, timestamp_ms: 5 }),
        data: vec![1, 2, 3].into(),
        data_str: "text".into(),
    });
    let header = response.header.unwrap();
    assert_eq!((header.request_id, header.timestamp_ms), (42, 5));
    assert_eq!(response.result(), ResultCode::Ok);
    assert_eq!(response.data, vec![1, 2, 3]);
    assert_eq!(response.data_str, "text");
}

#[test]
fn the_request_id_after_the_last_one_is_zero() {
    let request =
        EchoRequestView { header: Some(Header { request_id: u64::MAX, timestamp_ms: 0 }), ..Default::default() };
    assert_eq!(answer_echo_view(&request).header.unwrap().request_id, 0);
}

#[test]
fn an_echo_without_a_header_is_answered_as_if_its_id_were_zero() {
    let response = answer_echo(EchoRequest::default());
    assert_eq!(response.header.unwrap().request_id, 1);
}

#[test]
fn a_benchmark_is_answered_with_all_it_held_and_the_times_of_the_server() {
    let header = Some(Header { request_id: 41, timestamp_ms: 5 });
    let request = BenchmarkRequest { header, client_timestamp_ns: 10, sequence: 3, payload: vec![1, 2, 3].into() };
    let times = ServerTimes { received_ns: 20, sent_ns: 30 };
    let response = answer_benchmark(request, times);
    assert_eq!(response.header, header);
    assert_eq!(response.result(), ResultCode::Ok);
    assert_eq!(response.client_timestamp_ns, 10);
    assert_eq!(response.server_recv_timestamp_ns, 20);
    assert_eq!(response.server_send_timestamp_ns, 30);
    assert_eq!(response.sequence, 3);
    assert_eq!(response.payload, vec![1, 2, 3]);
}

proptest! {
    #[test]
    fn an_echo_is_answered_with_the_same_bytes_in_both_forms(request in messages::echo_request()) {
        let by_view = answer_echo_view(&EchoRequestView::from(&request)).to_wire();
        prop_assert_eq!(by_view, answer_echo(request).to_wire());
    }

    #[test]
    fn a_benchmark_is_answered_with_the_same_bytes_in_both_forms(
        request in messages::benchmark_request(),
        received_ns in any::<u64>(),
        sent_ns in any::<u64>(),
    ) {
        let times = ServerTimes { received_ns, sent_ns };
        let by_view = answer_benchmark_view(&BenchmarkRequestView::from(&request), times);
        let by_view = by_view.to_wire();
        prop_assert_eq!(by_view, answer_benchmark(request, times).to_wire());
    }
}
