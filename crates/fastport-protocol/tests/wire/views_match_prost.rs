//! A view and the prost type of the same name are interchangeable: prost is the judge.

use proptest::prelude::*;

use fastport_protocol::benchmark::{BenchmarkRequest, BenchmarkResponse};
use fastport_protocol::tests::{EchoRequest, EchoResponse};
use fastport_protocol::views::{BenchmarkRequestView, BenchmarkResponseView, EchoRequestView, EchoResponseView};
use fastport_protocol::{Decode, DecodeError, Encode};

use crate::messages;
use crate::payloads::{Kind, payload};

/// Both refuse `payload`, or both read the same message from it.
fn agree<'payload, View, Message>(payload: &'payload [u8]) -> Result<(), TestCaseError>
where
    View: Decode<'payload> + Encode,
    Message: prost::Message + Default,
{
    let view = View::decode_from(payload);
    let message = Message::decode(payload);
    match (view, message) {
        // Each value of a message has its own encoding, so equal bytes are equal messages.
        (Ok(view), Ok(message)) => prop_assert_eq!(view.to_wire(), message.encode_to_vec()),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => prop_assert!(false, "only prost refuses: {error}"),
        (Err(error), Ok(_)) => prop_assert!(false, "only the view refuses: {error}"),
    }
    Ok(())
}

const ECHO_REQUEST: &[Kind] = &[Kind::Header, Kind::Bytes, Kind::Text];
const ECHO_RESPONSE: &[Kind] = &[Kind::Header, Kind::Integer, Kind::Bytes, Kind::Text];
const BENCHMARK_REQUEST: &[Kind] = &[Kind::Header, Kind::Integer, Kind::Integer, Kind::Bytes];
const BENCHMARK_RESPONSE: &[Kind] =
    &[Kind::Header, Kind::Integer, Kind::Integer, Kind::Integer, Kind::Integer, Kind::Integer, Kind::Bytes];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_echo_request_view_judges_any_payload_like_prost(payload in payload(ECHO_REQUEST)) {
        agree::<EchoRequestView<'_>, EchoRequest>(&payload)?;
    }

    #[test]
    fn an_echo_response_view_judges_any_payload_like_prost(payload in payload(ECHO_RESPONSE)) {
        agree::<EchoResponseView<'_>, EchoResponse>(&payload)?;
    }

    #[test]
    fn a_benchmark_request_view_judges_any_payload_like_prost(
        payload in payload(BENCHMARK_REQUEST),
    ) {
        agree::<BenchmarkRequestView<'_>, BenchmarkRequest>(&payload)?;
    }

    #[test]
    fn a_benchmark_response_view_judges_any_payload_like_prost(
        payload in payload(BENCHMARK_RESPONSE),
    ) {
        agree::<BenchmarkResponseView<'_>, BenchmarkResponse>(&payload)?;
    }
}

proptest! {
    #[test]
    fn an_echo_request_view_writes_and_reads_like_prost(message in messages::echo_request()) {
        let payload = message.to_wire();
        let view = EchoRequestView::from(&message);
        prop_assert_eq!(&view.to_wire(), &payload);
        prop_assert_eq!(EchoRequestView::decode_from(&payload).unwrap(), view);
    }

    #[test]
    fn an_echo_response_view_writes_and_reads_like_prost(message in messages::echo_response()) {
        let payload = message.to_wire();
        let view = EchoResponseView::from(&message);
        prop_assert_eq!(&view.to_wire(), &payload);
        prop_assert_eq!(EchoResponseView::decode_from(&payload).unwrap(), view);
    }

    #[test]
    fn a_benchmark_request_view_writes_and_reads_like_prost(
        message in messages::benchmark_request(),
    ) {
        let payload = message.to_wire();
        let view = BenchmarkRequestView::from(&message);
        prop_assert_eq!(&view.to_wire(), &payload);
        prop_assert_eq!(BenchmarkRequestView::decode_from(&payload).unwrap(), view);
    }

    #[test]
    fn a_benchmark_response_view_writes_and_reads_like_prost(
        message in messages::benchmark_response(),
    ) {
        let payload = message.to_wire();
        let view = BenchmarkResponseView::from(&message);
        prop_assert_eq!(&view.to_wire(), &payload);
        prop_assert_eq!(BenchmarkResponseView::decode_from(&payload).unwrap(), view);
    }
}

#[test]
fn a_view_points_into_the_payload() {
    let payload = EchoRequest { data: vec![7; 100].into(), data_str: "text".into(), ..Default::default() }.to_wire();
    let view = EchoRequestView::decode_from(&payload).unwrap();
    let memory = payload.as_ptr_range();
    assert!(memory.contains(&view.data.as_ptr()));
    assert!(memory.contains(&view.data_str.as_ptr()));
}

#[test]
fn a_header_that_comes_twice_is_merged_and_a_value_that_comes_twice_is_replaced() {
    let payload = b"\x0a\x02\x08\x05\x12\x01A\x0a\x02\x10\x06\x12\x01B";
    let view = EchoRequestView::decode_from(payload).unwrap();
    let header = view.header.unwrap();
    assert_eq!((header.request_id, header.timestamp_ms), (5, 6));
    assert_eq!(view.data, b"B");
    agree::<EchoRequestView<'_>, EchoRequest>(payload).unwrap();
}

/// Groups of field 9 nested to `depth`, with `core` inside the innermost.
fn nested_groups(depth: usize, core: &[u8]) -> Vec<u8> {
    let start = 9 << 3 | 3;
    let end = 9 << 3 | 4;
    [vec![start; depth], core.to_vec(), vec![end; depth]].concat()
}

#[test]
fn nesting_is_limited_where_prost_limits_it() {
    for core in [&b""[..], b"\x50\x01"] {
        for depth in 95..105 {
            let groups = nested_groups(depth, core);
            agree::<EchoRequestView<'_>, EchoRequest>(&groups).unwrap();
            let mut in_header = vec![0x0A];
            in_header.extend([groups.len() as u8 | 0x80, (groups.len() >> 7) as u8]);
            in_header.extend(groups);
            agree::<EchoRequestView<'_>, EchoRequest>(&in_header).unwrap();
        }
    }
    let deepest = nested_groups(100, b"");
    let view = EchoRequestView::decode_from(&deepest).unwrap();
    assert_eq!(view, EchoRequestView::default());
    let hostile = nested_groups(32_000, b"");
    assert!(matches!(EchoRequestView::decode_from(&hostile), Err(DecodeError::TooDeep)));
}

#[test]
fn malformed_payloads_are_refused_with_their_reason() {
    let error = |payload| EchoRequestView::decode_from(payload).unwrap_err();
    assert!(matches!(error(b"\x12\x05abc"), DecodeError::Truncated));
    assert!(matches!(error(b"\x12"), DecodeError::Truncated));
    assert!(matches!(error(b"\x80"), DecodeError::Truncated));
    assert!(matches!(error(b"\x49\x00"), DecodeError::Truncated));
    // A length of 2^64 - 1 must not overflow anything.
    assert!(matches!(error(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), DecodeError::Truncated));
    // A header that reaches beyond its own end, though not beyond the payload's.
    assert!(matches!(error(b"\x0a\x01\x08\x05\x12\x00"), DecodeError::Truncated));
    assert!(matches!(error(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02"), DecodeError::OverlongVarint));
    assert!(matches!(error(b"\x02\x00"), DecodeError::InvalidKey { key: 2 }));
    assert!(matches!(error(b"\x0e"), DecodeError::InvalidKey { key: 0x0E }));
    assert!(matches!(error(b"\x80\x80\x80\x80\x10"), DecodeError::InvalidKey { key: 0x1_0000_0000 }));
    assert!(matches!(error(b"\x10\x00"), DecodeError::UnexpectedWireType { field: 2 }));
    assert!(matches!(error(b"\x1a\x01\xff"), DecodeError::InvalidText { field: 3 }));
    assert!(matches!(error(b"\x4c"), DecodeError::UnexpectedGroupEnd { field: 9 }));
    assert!(matches!(error(b"\x4b\x54"), DecodeError::UnexpectedGroupEnd { field: 10 }));
}
