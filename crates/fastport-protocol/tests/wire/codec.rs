//! The codec traits: room in the buffer, shared memory, and libraries beside prost.

use std::error::Error as _;

use bytes::{BufMut, Bytes};
use proptest::prelude::*;

use fastport_protocol::benchmark::BenchmarkRequest;
use fastport_protocol::tests::EchoRequest;
use fastport_protocol::views::BenchmarkResponseView;
use fastport_protocol::{Decode, DecodeError, DecodeOwned, Encode, EncodeError};

use crate::messages;

fn refused_without_a_trace(message: &impl Encode) {
    let required_bytes = message.max_wire_len();
    let available_bytes = required_bytes - 1;
    let mut room = vec![0xEE; available_bytes];
    let mut buffer = &mut room[..];
    let error = message.encode_into(&mut buffer).unwrap_err();
    assert_eq!(error, EncodeError { required_bytes, available_bytes });
    assert!(room.iter().all(|&byte| byte == 0xEE));
}

#[test]
fn a_message_that_does_not_fit_is_refused_and_nothing_is_written() {
    let request = BenchmarkRequest { sequence: 4, payload: vec![1; 64].into(), ..Default::default() };
    refused_without_a_trace(&request);
    refused_without_a_trace(&BenchmarkResponseView {
        server_send_timestamp_ns: u64::MAX,
        payload: &request.payload,
        ..Default::default()
    });
}

#[test]
fn a_message_decoded_from_shared_memory_is_not_copied() {
    let request = EchoRequest { data: vec![9; 1000].into(), ..Default::default() };
    let payload = Bytes::from(request.to_wire());
    let read = EchoRequest::decode_shared(payload.clone()).unwrap();
    assert_eq!(read, request);
    assert!(payload.as_ptr_range().contains(&read.data.as_ptr()));
}

#[test]
fn an_error_of_the_library_is_the_source_of_ours() {
    let error = EchoRequest::decode_from(b"\x10\x00").unwrap_err();
    assert!(matches!(error, DecodeError::Library(_)));
    let source = error.source().expect("prost's error").to_string();
    assert!(source.contains("wire type"), "{source}");
}

/// A message that no protobuf library knows, as an application may have.
#[derive(Debug, PartialEq)]
struct Position(u32);

impl Encode for Position {
    fn max_wire_len(&self) -> usize {
        4
    }

    fn encode_into(&self, target: &mut &mut [u8]) -> Result<(), EncodeError> {
        let available_bytes = target.len();
        if available_bytes < 4 {
            return Err(EncodeError { required_bytes: 4, available_bytes });
        }
        target.put_u32(self.0);
        Ok(())
    }
}

impl Decode<'_> for Position {
    fn decode_from(payload: &[u8]) -> Result<Self, DecodeError> {
        let bytes = payload.try_into().map_err(|_| DecodeError::Truncated)?;
        Ok(Self(u32::from_be_bytes(bytes)))
    }
}

#[test]
fn a_message_of_another_codec_goes_the_same_way() {
    let payload = Position(77).to_wire();
    assert_eq!(Position::decode_from(&payload).unwrap(), Position(77));
    refused_without_a_trace(&Position(77));
}

proptest! {
    #[test]
    fn a_view_is_written_to_the_beginning_of_memory_and_leaves_the_rest(
        message in messages::benchmark_response(),
        spare_bytes in 0usize..100,
    ) {
        let view = BenchmarkResponseView::from(&message);
        let mut memory = vec![0xEE; view.max_wire_len() + spare_bytes];
        let mut rest = &mut memory[..];
        view.encode_into(&mut rest).unwrap();
        let rest_bytes = rest.len();
        let written_bytes = memory.len() - rest_bytes;
        prop_assert_eq!(&memory[..written_bytes], message.to_wire());
        prop_assert!(view.max_wire_len() - written_bytes <= 96, "it asks for hardly more than it takes");
        prop_assert!(memory[memory.len() - spare_bytes..].iter().all(|&byte| byte == 0xEE));
    }
}
