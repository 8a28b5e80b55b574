//! What can be set on a server and on a connection that it makes. In all of it 0 is the default.

use std::ffi::c_char;
use std::time::Duration;

use fastport::{Balance, ConnectOptions, HandlerThreads, Limits, Overflow, Reconnect, ServiceOptions, SessionOptions};
use fastport_io::{BusyPoll, Choice, KeepAlive, Result, Scheduling, SocketOptions};

use super::growing::Growing;
use crate::error::invalid;
use crate::pointer::text;

/// How a server is set up. Set `struct_bytes` to sizeof(fp_server_options) and everything else to 0, which is the default,
/// then what is to be different: `fp_server_options options = {.struct_bytes = sizeof options};`. The struct may get more
/// fields at its end in later versions; programs built before go on to work.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct fp_server_options {
    /// sizeof(fp_server_options).
    pub struct_bytes: usize,
    /// "io_uring", "epoll", "kqueue", "iocp", "rio" or "auto"; NULL: the best that works here.
    pub backend: *const c_char,
    /// I/O threads, up to 1024; 0: one a core.
    pub workers: u32,
    /// Threads for the callbacks, for those that compute for long or wait; 0: the I/O threads themselves call them, which
    /// copies and locks nothing and is right for callbacks that never wait.
    pub handler_threads: u32,
    /// How often `tick` is called, in milliseconds; 0: never.
    pub tick_ms: u32,
    /// FP_FRAMING_PACKET or FP_FRAMING_LENGTH.
    pub framing: u32,
    /// The longest packet, its header included; 0: 65535, or 1 MiB with FP_FRAMING_LENGTH.
    pub max_frame_bytes: u32,
    /// Connections that the system keeps until they are accepted; 0: 1024.
    pub backlog: u32,
    /// Sessions at once; 0: 65536. Further clients are refused.
    pub max_sessions: u32,
    /// Sessions at once from one address (one network of 64 bits with IPv6); 0: no limit.
    pub max_sessions_per_address: u32,
    /// Clients that each address to listen on accepts in a second; 0: no limit.
    pub max_accepts_per_second: u32,
    /// Packets that a client may send in a second; beyond it the session is closed. 0: no limit.
    pub max_packets_per_second: u32,
    /// Bytes that a client may send in a second; beyond it the session is closed. 0: no limit.
    pub max_bytes_per_second: u32,
    /// How long a client may take until its first packet is there, at least 10; 0: no limit.
    pub first_packet_limit_ms: u32,
    /// How long a client may take from the first to the last byte of a packet, at least 10; 0: no limit.
    pub unfinished_packet_limit_ms: u32,
    /// Sessions whose peer sends nothing for this long are closed, at least 10; 0: never.
    pub idle_limit_ms: u32,
    /// How long a graceful close may take before the connection is reset; 0: 5000.
    pub close_limit_ms: u32,
    /// Queued bytes from which on a session is full; 0: 1 MiB.
    pub high_water_bytes: u32,
    /// Queued bytes at which a session that was full is writable again; 0: a quarter of `high_water_bytes`.
    pub low_water_bytes: u32,
    /// Queued bytes beyond which a session is closed; 0: four times `high_water_bytes`. Room for what other threads send
    /// before they are told that the session is full belongs between the two.
    pub queue_limit_bytes: u32,
    /// 0: what a session's own callbacks send is queued up to `queue_limit_bytes`. 1: it is refused by FP_QUEUE_FULL from
    /// `high_water_bytes` on, as what other threads send always is.
    pub refuse_when_full: u32,
    /// Bytes in all send queues together, beyond which the sessions with the most of them are closed; 0: no limit.
    pub max_queued_bytes: u64,
    /// Which worker gets a new session. 0: the one with the fewest; 1: one after the other.
    pub round_robin: u32,
    /// How long a worker looks for events before it sleeps, in microseconds; 0: it sleeps at once; 0xFFFFFFFF: it never
    /// sleeps.
    pub busy_poll_us: u32,
    /// 0: small packets are sent at once (TCP_NODELAY). 1: the system gathers them.
    pub delay_small_packets: u32,
    /// SO_RCVBUF of connections; 0: as the system does.
    pub receive_buffer_bytes: u32,
    /// SO_SNDBUF of connections; 0: as the system does.
    pub send_buffer_bytes: u32,
    /// Silence after which the system probes the peer, in seconds; 0: never.
    pub keep_alive_idle_s: u32,
    /// Seconds between probes; 0: 10.
    pub keep_alive_interval_s: u32,
    /// Unanswered probes after which the peer counts as gone; 0: 3.
    pub keep_alive_probes: u32,
    /// 1: on cores that are shared with other programs, workers wait for their turn and handle what came meanwhile in one go
    /// (SCHED_BATCH, Linux only): more packets for the same processor time, later by up to a time slice.
    pub batch_scheduling: u32,
    /// How long a client may read nothing of what waits for it, at least 10; 0: no limit.
    pub unread_limit_ms: u32,
}

// SAFETY: numbers and a pointer, the size first.
unsafe impl Growing for fp_server_options {
    const NAME: &'static str = "fp_server_options";
}

/// How to connect. Set `struct_bytes` to sizeof(fp_connect_options) and everything else to 0, which is the default.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct fp_connect_options {
    /// sizeof(fp_connect_options).
    pub struct_bytes: usize,
    /// An attempt that took this long has failed; 0: 10000.
    pub time_limit_ms: u32,
    /// 1: try again after a failure, and connect again after a loss, with waits that double. A session that the program
    /// closes is not connected again.
    pub reconnect: u32,
    /// The wait before the first new attempt; 0: 100.
    pub first_wait_ms: u32,
    /// The longest wait; 0: 30000.
    pub longest_wait_ms: u32,
    /// New attempts in a row before it gives up; 0: no limit.
    pub attempts: u32,
}

// SAFETY: plain numbers, the size first.
unsafe impl Growing for fp_connect_options {
    const NAME: &'static str = "fp_connect_options";
}

impl fp_server_options {
    /// The same for the library, which checks the ranges when the server starts.
    ///
    /// # Safety
    /// `backend` is NULL or a text that ends with a zero.
    pub(super) unsafe fn to_service(self) -> Result<ServiceOptions> {
        let mut options = ServiceOptions::default();
        // SAFETY: vouched for by the caller.
        let backend = unsafe { text(self.backend) }?;
        options.backend = backend.map_or(Ok(Choice::Auto), str::parse)?;
        options.workers = or(self.workers as usize, options.workers);
        options.backlog = i32::try_from(or(self.backlog, options.backlog as u32))
            .map_err(|_| invalid("backlog is beyond what the system can count; choose less"))?;
        options.max_sessions = or(self.max_sessions as usize, options.max_sessions);
        options.balance =
            if flag("round_robin", self.round_robin)? { Balance::RoundRobin } else { Balance::LeastLoaded };
        options.handlers = match self.handler_threads as usize {
            0 => HandlerThreads::Inline,
            threads => HandlerThreads::Pool(threads),
        };
        options.scheduling =
            if flag("batch_scheduling", self.batch_scheduling)? { Scheduling::Batch } else { Scheduling::Inherited };
        options.tick = milliseconds(self.tick_ms);
        options.provider.busy_poll = match self.busy_poll_us {
            0 => BusyPoll::Off,
            u32::MAX => BusyPoll::Always,
            limit => BusyPoll::Spin(Duration::from_micros(u64::from(limit))),
        };
        options.limits = self.limits()?;
        options.session = self.session()?;
        options.socket = self.socket()?;
        Ok(options)
    }

    fn limits(&self) -> Result<Limits> {
        let limit = |number: u32| Some(number).filter(|number| *number > 0);
        let queued_bytes = usize::try_from(self.max_queued_bytes)
            .map_err(|_| invalid("max_queued_bytes is beyond the memory of this system; choose less"))?;
        Ok(Limits {
            sessions_per_address: limit(self.max_sessions_per_address),
            accepts_per_second: limit(self.max_accepts_per_second),
            packets_per_second: limit(self.max_packets_per_second),
            bytes_per_second: limit(self.max_bytes_per_second),
            first_packet: milliseconds(self.first_packet_limit_ms),
            unfinished_packet: milliseconds(self.unfinished_packet_limit_ms),
            unread: milliseconds(self.unread_limit_ms),
            queued_bytes: Some(queued_bytes).filter(|bytes| *bytes > 0),
        })
    }

    fn session(&self) -> Result<SessionOptions> {
        let usual = SessionOptions::default();
        let high_water_bytes = or(self.high_water_bytes as usize, usual.high_water_bytes);
        Ok(SessionOptions {
            high_water_bytes,
            low_water_bytes: or(self.low_water_bytes as usize, high_water_bytes / 4),
            limit_bytes: or(self.queue_limit_bytes as usize, high_water_bytes.saturating_mul(4)),
            overflow: if flag("refuse_when_full", self.refuse_when_full)? { Overflow::Refuse } else { Overflow::Close },
            idle_limit: milliseconds(self.idle_limit_ms),
            close_limit: milliseconds(self.close_limit_ms).unwrap_or(usual.close_limit),
        })
    }

    fn socket(&self) -> Result<SocketOptions> {
        let size = |bytes: u32| Some(bytes as usize).filter(|bytes| *bytes > 0);
        let keep_alive = (self.keep_alive_idle_s > 0).then(|| KeepAlive {
            idle: seconds(self.keep_alive_idle_s),
            interval: seconds(or(self.keep_alive_interval_s, 10)),
            probes: or(self.keep_alive_probes, 3),
        });
        Ok(SocketOptions {
            no_delay: !flag("delay_small_packets", self.delay_small_packets)?,
            keep_alive,
            receive_buffer_bytes: size(self.receive_buffer_bytes),
            send_buffer_bytes: size(self.send_buffer_bytes),
            ..SocketOptions::default()
        })
    }
}

impl fp_connect_options {
    pub(super) fn to_connect(self) -> Result<ConnectOptions> {
        let (usual, again) = (ConnectOptions::default(), Reconnect::default());
        let reconnect = flag("reconnect", self.reconnect)?.then(|| Reconnect {
            first_wait: milliseconds(self.first_wait_ms).unwrap_or(again.first_wait),
            longest_wait: milliseconds(self.longest_wait_ms).unwrap_or(again.longest_wait),
            attempts: Some(self.attempts).filter(|attempts| *attempts > 0),
        });
        Ok(ConnectOptions { time_limit: milliseconds(self.time_limit_ms).unwrap_or(usual.time_limit), reconnect })
    }
}

fn or<N: Default + PartialEq>(number: N, usual: N) -> N {
    if number == N::default() { usual } else { number }
}

fn flag(name: &str, number: u32) -> Result<bool> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(invalid(format!("{name} is {number}; choose 0 or 1"))),
    }
}

fn milliseconds(number: u32) -> Option<Duration> {
    (number > 0).then(|| Duration::from_millis(u64::from(number)))
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(u64::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zeros() -> fp_server_options {
        // SAFETY: zeros are valid.
        unsafe { std::mem::zeroed() }
    }

    #[test]
    fn zeros_are_the_defaults_of_the_library() {
        // SAFETY: the backend is NULL.
        assert_eq!(unsafe { zeros().to_service() }.unwrap(), ServiceOptions::default());
        // SAFETY: zeros are valid.
        let connect: fp_connect_options = unsafe { std::mem::zeroed() };
        assert_eq!(connect.to_connect().unwrap(), ConnectOptions::default());
    }

    #[test]
    fn what_is_set_arrives() {
        let options = fp_server_options {
            backend: c"epoll".as_ptr(),
            workers: 3,
            handler_threads: 2,
            tick_ms: 50,
            max_packets_per_second: 100,
            unread_limit_ms: 30_000,
            high_water_bytes: 4096,
            refuse_when_full: 1,
            busy_poll_us: u32::MAX,
            delay_small_packets: 1,
            keep_alive_idle_s: 60,
            ..zeros()
        };
        // SAFETY: the backend is a constant.
        let options = unsafe { options.to_service() }.unwrap();
        assert_eq!(options.backend, Choice::Only(fastport_io::Backend::Epoll));
        assert_eq!((options.workers, options.handlers), (3, HandlerThreads::Pool(2)));
        assert_eq!(options.tick, Some(Duration::from_millis(50)));
        assert_eq!(options.limits.packets_per_second, Some(100));
        assert_eq!(options.limits.unread, Some(Duration::from_secs(30)));
        let session = &options.session;
        assert_eq!((session.low_water_bytes, session.high_water_bytes, session.limit_bytes), (1024, 4096, 16_384));
        assert_eq!(session.overflow, Overflow::Refuse);
        assert_eq!(options.provider.busy_poll, BusyPoll::Always);
        assert!(!options.socket.no_delay && options.socket.keep_alive.is_some());
    }

    #[test]
    fn switches_are_0_or_1() {
        // SAFETY: the backend is NULL.
        let refused = unsafe { fp_server_options { round_robin: 2, ..zeros() }.to_service() };
        assert!(refused.unwrap_err().to_string().contains("choose 0 or 1"));
    }
}
