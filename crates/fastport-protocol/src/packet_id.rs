//! The packet ids: the second field of a packet's header, which says what its payload is.
//!
//! Ids are plain `u16` values, because applications add their own and a session must pass on ids
//! that it does not know.

use std::ops::RangeInclusive;

/// [`EchoRequest`](crate::tests::EchoRequest) from the client and
/// [`EchoResponse`](crate::tests::EchoResponse) from the server; the direction tells them apart.
pub const ECHO: u16 = 0x0001;

/// [`BenchmarkRequest`](crate::benchmark::BenchmarkRequest), client to server.
pub const BENCHMARK_REQUEST: u16 = 0x1001;

/// [`BenchmarkResponse`](crate::benchmark::BenchmarkResponse), server to client.
pub const BENCHMARK_RESPONSE: u16 = 0x1002;

/// [`AdminStatusSummaryRequest`](crate::admin::AdminStatusSummaryRequest), client to server.
pub const ADMIN_STATUS_SUMMARY_REQUEST: u16 = 0x8001;

/// [`AdminStatusSummaryResponse`](crate::admin::AdminStatusSummaryResponse), server to client.
pub const ADMIN_STATUS_SUMMARY_RESPONSE: u16 = 0x8002;

/// [`AdminSessionListRequest`](crate::admin::AdminSessionListRequest), client to server.
pub const ADMIN_SESSION_LIST_REQUEST: u16 = 0x8003;

/// [`AdminSessionListResponse`](crate::admin::AdminSessionListResponse), server to client.
pub const ADMIN_SESSION_LIST_RESPONSE: u16 = 0x8004;

/// The ids that are kept for the admin channel, in use or not. Applications stay out of it.
pub const ADMIN_RANGE: RangeInclusive<u16> = 0x8000..=0x8FFF;

/// Whether `id` belongs to the admin channel, which a server may have switched off.
pub const fn is_admin(id: u16) -> bool {
    *ADMIN_RANGE.start() <= id && id <= *ADMIN_RANGE.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_range_ends_where_the_protocol_says() {
        assert!(!is_admin(0x7FFF));
        assert!(is_admin(0x8000));
        assert!(is_admin(ADMIN_SESSION_LIST_RESPONSE));
        assert!(is_admin(0x8FFF));
        assert!(!is_admin(0x9000));
        assert!(!is_admin(BENCHMARK_RESPONSE));
    }
}
