//! What is run: the workloads, and for how long.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::args::{BenchArgs, WorkloadArgs};
use crate::failure::{Failure, Result};

/// The largest payload of a request: its response, which holds the server's times too, still fits into a packet.
pub(crate) const MAX_PAYLOAD_BYTES: i64 = 65_400;

/// The most memory for generated payloads.
const MAX_POOL_BYTES: u64 = 1 << 30;

/// One way to load a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    /// What it is called in the results.
    pub(crate) name: String,
    /// Connections.
    pub(crate) sessions: u32,
    /// Requests that each session has under way at once.
    pub(crate) depth: u32,
    /// Sizes of the payloads in bytes.
    pub(crate) payload_bytes: RangeInclusive<u32>,
    /// Different payloads.
    pub(crate) payload_pool: u32,
}

/// When a measurement ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// After this many requests of each session.
    Requests(u32),
    /// After this time.
    Time(Duration),
}

impl Workload {
    /// The workloads that the command line asks for: one of one's own if anything describes it, the standard ones
    /// otherwise, made to fit into `capacity` sessions.
    ///
    /// # Errors
    /// If there are to be more sessions than that, or payload sizes contradict each other or need too much memory.
    pub(crate) fn from_args(args: &WorkloadArgs, capacity: u32) -> Result<Vec<Self>> {
        let WorkloadArgs { name, sessions, depth, payload, payload_min, payload_max, payload_pool } = args;
        let sizes = [payload, payload_min, payload_max];
        let described = [sessions, depth, payload_pool].into_iter().chain(sizes).any(Option::is_some);
        if !described && name.is_none() {
            return Ok(Self::standard(capacity));
        }
        let sessions = sessions.unwrap_or(64);
        if sessions > capacity {
            return Err(Failure::new(format!(
                "{sessions} sessions need more descriptors than this process may open, which are enough for {capacity}; \
                 raise the limit (ulimit -n) or lower --sessions"
            )));
        }
        let payload_bytes = match (payload_min, payload_max) {
            (Some(min), Some(max)) if min > max => {
                return Err(Failure::usage(format!("--payload-min {min} is above --payload-max {max}; swap them")));
            }
            (Some(min), Some(max)) => *min..=*max,
            _ => payload.unwrap_or(64)..=payload.unwrap_or(64),
        };
        let payload_pool = payload_pool.unwrap_or(256);
        let pool_bytes = u64::from(payload_pool) * u64::from(*payload_bytes.end());
        if pool_bytes > MAX_POOL_BYTES {
            return Err(Failure::usage(format!(
                "{payload_pool} payloads take up to {pool_bytes} bytes, over the limit of {MAX_POOL_BYTES}; \
                 lower --payload-pool"
            )));
        }
        Ok(vec![Self {
            name: name.clone().unwrap_or_else(|| "custom".to_owned()),
            sessions,
            depth: depth.unwrap_or(1),
            payload_bytes,
            payload_pool,
        }])
    }

    /// A lone session for latency, many for the cost of a packet, deep ones for batching, large packets for copying.
    fn standard(capacity: u32) -> Vec<Self> {
        let workload = |name: &str, sessions: u32, depth, payload_bytes| Self {
            name: name.to_owned(),
            sessions: sessions.min(capacity).max(1),
            depth,
            payload_bytes,
            payload_pool: 256,
        };
        vec![
            workload("latency", 1, 1, 64..=64),
            workload("sessions", 64, 1, 64..=64),
            workload("pipelined", 64, 32, 64..=64),
            workload("large", 1000, 1, 4096..=16384),
        ]
    }

    /// The requests of each session before the measurement, if the command line does not say: enough to fill pools and
    /// caches, few enough not to be waited for.
    pub(crate) fn default_warmup(&self) -> u32 {
        const ALL_SESSIONS: u32 = 5000;
        (ALL_SESSIONS / self.sessions).max(10)
    }

    /// Payload sizes as a person writes them.
    pub(crate) fn payload_text(&self) -> String {
        let (min, max) = (self.payload_bytes.start(), self.payload_bytes.end());
        if min == max { format!("{min} B") } else { format!("{min}-{max} B") }
    }
}

impl Length {
    /// What the command line asks for.
    pub(crate) fn from_args(args: &BenchArgs) -> Self {
        args.iterations.map_or(Self::Time(args.secs), Self::Requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastport_protocol::Encode;
    use fastport_protocol::commons::ResultCode;
    use fastport_protocol::views::BenchmarkResponseView;

    const ROOM: u32 = 100_000;

    const NOTHING: WorkloadArgs = WorkloadArgs {
        name: None,
        sessions: None,
        depth: None,
        payload: None,
        payload_min: None,
        payload_max: None,
        payload_pool: None,
    };

    #[test]
    fn without_a_description_there_are_at_least_three_workloads() {
        assert!(Workload::from_args(&NOTHING, ROOM).unwrap().len() >= 3);
    }

    #[test]
    fn one_word_of_description_makes_a_workload_of_ones_own() {
        let workloads = Workload::from_args(&WorkloadArgs { sessions: Some(3), ..NOTHING }, ROOM).unwrap();
        let [workload] = workloads.as_slice() else { panic!("{workloads:?}") };
        assert_eq!((workload.sessions, workload.depth, workload.payload_bytes.clone()), (3, 1, 64..=64));
    }

    #[test]
    fn the_standard_workloads_fit_where_descriptors_are_few() {
        let workloads = Workload::from_args(&NOTHING, 400).unwrap();
        assert_eq!(workloads.iter().map(|workload| workload.sessions).max(), Some(400));
    }

    #[test]
    fn more_sessions_than_there_are_descriptors_are_refused_with_a_remedy() {
        let args = WorkloadArgs { sessions: Some(401), ..NOTHING };
        assert!(Workload::from_args(&args, 400).unwrap_err().to_string().contains("ulimit -n"));
    }

    #[test]
    fn a_range_the_wrong_way_round_is_refused() {
        let args = WorkloadArgs { payload_min: Some(9), payload_max: Some(8), ..NOTHING };
        assert!(Workload::from_args(&args, ROOM).unwrap_err().to_string().contains("swap"));
    }

    #[test]
    fn a_pool_larger_than_memory_allows_is_refused() {
        let args = WorkloadArgs { payload: Some(65_000), payload_pool: Some(65_536), ..NOTHING };
        assert!(Workload::from_args(&args, ROOM).unwrap_err().to_string().contains("--payload-pool"));
    }

    #[test]
    fn the_response_to_the_largest_request_fits_into_a_packet() {
        let payload = vec![1; MAX_PAYLOAD_BYTES as usize];
        let response = BenchmarkResponseView {
            header: None,
            result: ResultCode::Ok.into(),
            client_timestamp_ns: u64::MAX,
            server_recv_timestamp_ns: u64::MAX,
            server_send_timestamp_ns: u64::MAX,
            sequence: u32::MAX,
            payload: &payload,
        };
        assert!(response.to_wire().len() <= fastport::packet::MAX_PAYLOAD_BYTES);
    }
}
