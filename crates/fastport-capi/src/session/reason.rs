//! Why sessions end, as numbers of C.

use std::ffi::{CStr, c_char};

use fastport::CloseReason;

/// The program asked for it.
pub const FP_CLOSED_REQUESTED: u32 = 0;
/// The peer ended the stream.
pub const FP_CLOSED_PEER_CLOSED: u32 = 1;
/// The peer, or the system on its behalf, tore the connection down.
pub const FP_CLOSED_RESET: u32 = 2;
/// The system gave the peer up.
pub const FP_CLOSED_TIMEOUT: u32 = 3;
/// The peer was silent for longer than the idle limit.
pub const FP_CLOSED_IDLE: u32 = 4;
/// The peer sent something that is no packet.
pub const FP_CLOSED_PROTOCOL: u32 = 5;
/// The peer did not read what was sent to it, and the send queue reached its limit.
pub const FP_CLOSED_BACKPRESSURE: u32 = 6;
/// A callback failed; see fp_callback_failed.
pub const FP_CLOSED_CALLBACK_FAILED: u32 = 7;
/// The server stopped.
pub const FP_CLOSED_SHUTDOWN: u32 = 8;
/// Another error, whose number is told too.
pub const FP_CLOSED_ERROR: u32 = 9;
/// The peer announced a packet above the maximum.
pub const FP_CLOSED_PACKET_TOO_LARGE: u32 = 10;
/// The peer sent more packets than its rate allows.
pub const FP_CLOSED_PACKET_RATE: u32 = 11;
/// The peer sent more bytes than its rate allows.
pub const FP_CLOSED_BYTE_RATE: u32 = 12;
/// The peer did not send its first packet in time.
pub const FP_CLOSED_NO_FIRST_PACKET: u32 = 13;
/// The peer began a packet and did not finish it in time.
pub const FP_CLOSED_SLOW_PACKET: u32 = 14;
/// All send queues together had reached their limit, and this session's was among the longest.
pub const FP_CLOSED_QUEUE_MEMORY: u32 = 15;
/// The peer read nothing of what waited for it for too long.
pub const FP_CLOSED_SLOW_READER: u32 = 16;

/// The names that the library itself gives the reasons, by number.
const NAMES: [&CStr; 17] = [
    c"requested",
    c"peer_closed",
    c"reset",
    c"timeout",
    c"idle",
    c"protocol",
    c"backpressure",
    c"handler_panic",
    c"shutdown",
    c"error",
    c"packet_too_large",
    c"packet_rate",
    c"byte_rate",
    c"no_first_packet",
    c"slow_packet",
    c"queue_memory",
    c"slow_reader",
];

/// The name of a reason, such as "peer_closed", for logs and metrics; "unknown" for a number that is none. The text lives as
/// long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn fp_close_reason_name(reason: u32) -> *const c_char {
    NAMES.get(reason as usize).copied().unwrap_or(c"unknown").as_ptr()
}

/// The number of a reason, and that of the error if it was one. By name: the reasons of the library may become more, and one
/// that has no number yet is an error without one.
pub(super) fn number_of(reason: CloseReason) -> (u32, i32) {
    let number = NAMES.iter().position(|name| name.to_bytes() == reason.name().as_bytes());
    let error = if let CloseReason::Error(number) = reason { number } else { 0 };
    (number.map_or(FP_CLOSED_ERROR, |number| number as u32), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_the_numbers_of_the_header() {
        for (reason, number) in [
            (CloseReason::Requested, FP_CLOSED_REQUESTED),
            (CloseReason::PeerClosed, FP_CLOSED_PEER_CLOSED),
            (CloseReason::Reset, FP_CLOSED_RESET),
            (CloseReason::Timeout, FP_CLOSED_TIMEOUT),
            (CloseReason::Idle, FP_CLOSED_IDLE),
            (CloseReason::Protocol, FP_CLOSED_PROTOCOL),
            (CloseReason::Backpressure, FP_CLOSED_BACKPRESSURE),
            (CloseReason::HandlerPanic, FP_CLOSED_CALLBACK_FAILED),
            (CloseReason::Shutdown, FP_CLOSED_SHUTDOWN),
            (CloseReason::PacketTooLarge, FP_CLOSED_PACKET_TOO_LARGE),
            (CloseReason::PacketRate, FP_CLOSED_PACKET_RATE),
            (CloseReason::ByteRate, FP_CLOSED_BYTE_RATE),
            (CloseReason::NoFirstPacket, FP_CLOSED_NO_FIRST_PACKET),
            (CloseReason::SlowPacket, FP_CLOSED_SLOW_PACKET),
            (CloseReason::QueueMemory, FP_CLOSED_QUEUE_MEMORY),
            (CloseReason::SlowReader, FP_CLOSED_SLOW_READER),
        ] {
            assert_eq!(number_of(reason), (number, 0), "{reason}");
        }
        assert_eq!(number_of(CloseReason::Error(-6)), (FP_CLOSED_ERROR, -6));
    }

    #[test]
    fn every_number_has_a_name_and_others_have_none() {
        // SAFETY: the texts are constants.
        let name = |number| unsafe { CStr::from_ptr(fp_close_reason_name(number)) };
        assert_eq!(name(FP_CLOSED_SLOW_READER), c"slow_reader");
        assert_eq!(name(FP_CLOSED_SLOW_READER + 1), c"unknown");
        assert_eq!(name(u32::MAX), c"unknown");
    }
}
