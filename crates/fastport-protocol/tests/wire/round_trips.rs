//! Any message, written and read back, is the same message.

use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::*;

use fastport_protocol::{DecodeOwned, Encode};

use crate::messages;

fn comes_back<M>(message: &M) -> Result<(), TestCaseError>
where
    M: Encode + DecodeOwned + PartialEq + Debug,
{
    let payload = message.to_wire();
    prop_assert_eq!(payload.len(), message.max_wire_len());
    let read = M::decode_from(&payload).expect("what was written can be read");
    prop_assert_eq!(&read, message);
    let shared = M::decode_shared(Bytes::from(payload)).expect("what was written can be read");
    prop_assert_eq!(&shared, message);
    Ok(())
}

macro_rules! round_trips {
    ($($test:ident: $strategy:ident),+ $(,)?) => {
        proptest! {
            $(
                #[test]
                fn $test(message in messages::$strategy()) {
                    comes_back(&message)?;
                }
            )+
        }
    };
}

round_trips! {
    a_ping_request_comes_back: ping_request,
    a_ping_response_comes_back: ping_response,
    an_echo_request_comes_back: echo_request,
    an_echo_response_comes_back: echo_response,
    an_error_response_comes_back: error_response,
    a_benchmark_request_comes_back: benchmark_request,
    a_benchmark_response_comes_back: benchmark_response,
    a_benchmark_start_request_comes_back: benchmark_start_request,
    a_benchmark_start_response_comes_back: benchmark_start_response,
    a_benchmark_end_request_comes_back: benchmark_end_request,
    a_benchmark_end_response_comes_back: benchmark_end_response,
    a_throughput_data_packet_comes_back: throughput_data,
    a_throughput_result_comes_back: throughput_result,
    an_admin_status_summary_request_comes_back: admin_status_summary_request,
    an_admin_status_summary_response_comes_back: admin_status_summary_response,
    an_admin_session_list_request_comes_back: admin_session_list_request,
    an_admin_session_list_response_comes_back: admin_session_list_response,
}
