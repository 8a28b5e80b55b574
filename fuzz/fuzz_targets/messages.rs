//! What a server or a client reads from strangers: every message of the wire from any payload.
//!
//! A view and the type of the same name judge a payload alike and read the same message from it; a message that could be
//! read is written and read back unchanged; answers can be written. Input: the kind of the message, then its payload.
#![no_main]

use std::fmt::Debug;

use fastport_protocol::admin::{
    AdminSessionInfo, AdminSessionListRequest, AdminSessionListResponse, AdminStatusSummaryRequest,
    AdminStatusSummaryResponse,
};
use fastport_protocol::behaviour::{answer_benchmark_view, answer_echo_view};
use fastport_protocol::benchmark::{
    BenchmarkEndRequest, BenchmarkEndResponse, BenchmarkRequest, BenchmarkResponse, BenchmarkStartRequest,
    BenchmarkStartResponse, ThroughputData, ThroughputResult,
};
use fastport_protocol::tests::{EchoRequest, EchoResponse, ErrorResponse, PingRequest, PingResponse};
use fastport_protocol::views::{BenchmarkRequestView, BenchmarkResponseView, EchoRequestView, EchoResponseView};
use fastport_protocol::{Decode, Encode};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|input: &[u8]| {
    let [kind, payload @ ..] = input else { return };
    match kind % 16 {
        0 => {
            agree::<EchoRequestView<'_>, EchoRequest>(payload);
            if let Ok(request) = EchoRequestView::decode_from(payload) {
                answer_echo_view(&request).to_wire();
            }
        }
        1 => agree::<EchoResponseView<'_>, EchoResponse>(payload),
        2 => {
            agree::<BenchmarkRequestView<'_>, BenchmarkRequest>(payload);
            if let Ok(request) = BenchmarkRequestView::decode_from(payload) {
                answer_benchmark_view(&request, Default::default()).to_wire();
            }
        }
        3 => agree::<BenchmarkResponseView<'_>, BenchmarkResponse>(payload),
        4 => returns::<PingRequest>(payload),
        5 => returns::<PingResponse>(payload),
        6 => returns::<ErrorResponse>(payload),
        7 => returns::<BenchmarkStartRequest>(payload),
        8 => returns::<BenchmarkStartResponse>(payload),
        9 => returns::<BenchmarkEndRequest>(payload),
        10 => returns::<BenchmarkEndResponse>(payload),
        11 => returns::<ThroughputData>(payload),
        12 => returns::<ThroughputResult>(payload),
        13 => {
            returns::<AdminStatusSummaryRequest>(payload);
            returns::<AdminStatusSummaryResponse>(payload);
        }
        14 => {
            returns::<AdminSessionListRequest>(payload);
            returns::<AdminSessionListResponse>(payload);
        }
        _ => returns::<AdminSessionInfo>(payload),
    }
});

/// Both refuse the payload, or both read the same message from it.
fn agree<'payload, View, Owned>(payload: &'payload [u8])
where
    View: Decode<'payload> + Encode,
    Owned: Message + Default,
{
    match (View::decode_from(payload), Owned::decode(payload)) {
        (Ok(view), Ok(owned)) => assert_eq!(view.to_wire(), owned.encode_to_vec()),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => panic!("only the type refuses: {error}"),
        (Err(error), Ok(_)) => panic!("only the view refuses: {error}"),
    }
}

fn returns<Owned: Message + Default + PartialEq + Debug>(payload: &[u8]) {
    if let Ok(message) = Owned::decode_from(payload) {
        let bytes = message.to_wire();
        // Compared as bytes: a number that is none is not even equal to itself.
        assert_eq!(Owned::decode_from(&bytes).expect("what was written can be read").to_wire(), bytes);
    }
}
