//! How a provider is set up.

use std::time::Duration;

use crate::backend::RECEIVE_SLOT_BYTES;
use crate::buffer::PoolConfig;
use crate::error::{Error, ErrorCode, Result};

/// Set-up of one provider. The defaults serve thousands of sessions on one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Entries of the submission queue, [`ProviderConfig::MIN_QUEUE_DEPTH`] ..= [`ProviderConfig::MAX_QUEUE_DEPTH`]. More
    /// operations than this can be in flight; they reach the kernel in several batches.
    pub queue_depth: u32,
    /// The most operations in flight at once, 1 ..= 2^24. A session needs two or three.
    pub max_operations: u32,
    /// The buffers that receive streams fill. Memory counts only once it was used.
    pub receive_pool: PoolConfig,
    /// What to do while there is nothing to do.
    pub busy_poll: BusyPoll,
    /// How long dropping the provider waits for the kernel to let go of its last operation.
    pub drain_limit: Duration,
    /// The features that the io_uring backend may use.
    pub io_uring: IoUringOptions,
    /// How the epoll backend works.
    pub epoll: EpollOptions,
    /// How the IOCP backend works, and what Registered I/O leaves to completion ports.
    pub iocp: IocpOptions,
    /// How Registered I/O works.
    pub rio: RioOptions,
}

/// Trading a core's time for latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BusyPoll {
    /// Sleep in the kernel at once.
    #[default]
    Off,
    /// Look for completions without sleeping for this long, then sleep.
    Spin(Duration),
    /// Never sleep. Takes a whole core; halves the round trip of a lone session.
    Always,
}

/// The environment variable that switches features of io_uring off, for a kernel that has trouble with one of them; see
/// [`IoUringOptions::without`] for its value.
pub const IO_URING_WITHOUT_VARIABLE: &str = "FASTPORT_IO_URING_WITHOUT";

/// Features of io_uring, all used where the kernel has them. Each can be switched off, so that its fall-back can be tested
/// and measured on any kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoUringOptions {
    /// `IORING_SETUP_SINGLE_ISSUER` (6.0). The ring then belongs to the thread that opened the provider.
    pub single_issuer: bool,
    /// `IORING_SETUP_DEFER_TASKRUN` (6.1), needs `single_issuer`. The most important one: without it large packets cost a
    /// third more.
    pub defer_taskrun: bool,
    /// `IORING_SETUP_COOP_TASKRUN` (5.19), tried where `defer_taskrun` is not to be had.
    pub coop_taskrun: bool,
    /// Wait with a time limit in one call, `IORING_FEAT_EXT_ARG` (5.11); otherwise by a timeout request.
    pub extended_wait: bool,
    /// Multishot accept (5.19); otherwise one request a connection.
    pub multishot_accept: bool,
    /// Provided buffer rings (5.19); otherwise wait for readability, then receive into a pool buffer.
    pub buffer_ring: bool,
    /// Multishot receive (6.0), needs `buffer_ring`; otherwise one request a receive.
    pub multishot_receive: bool,
    /// Registered buffers (5.19, for a table that is filled later); otherwise registered regions are used like ordinary memory.
    pub fixed_buffers: bool,
    /// Registered descriptors. Off by default: measured without effect, and each socket costs a call more.
    pub fixed_files: bool,
    /// Sends of at least this many bytes by `IORING_OP_SEND_ZC` (6.0). Off by default: on loopback it is slower, on a
    /// network card it pays from some ten KiB on.
    pub zero_copy_send_bytes: Option<u32>,
}

impl Default for IoUringOptions {
    fn default() -> Self {
        Self {
            single_issuer: true,
            defer_taskrun: true,
            coop_taskrun: true,
            extended_wait: true,
            multishot_accept: true,
            buffer_ring: true,
            multishot_receive: true,
            fixed_buffers: true,
            fixed_files: false,
            zero_copy_send_bytes: None,
        }
    }
}

/// How epoll is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpollOptions {
    /// Sends of many sockets by one call, `io_submit(2)`, where the kernel can keep it from raising signals
    /// (`RWF_NOSIGNAL`, 6.18); otherwise each send is a call. On by default: with 64 B packets it saves 6 % of a server's
    /// time.
    pub batched_sends: bool,
}

impl Default for EpollOptions {
    fn default() -> Self {
        Self { batched_sends: true }
    }
}

/// How completion ports are used, by IOCP and, for accepting and connecting, by Registered I/O.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IocpOptions {
    /// Accepts that wait at a listener for an accept stream, each with a socket of its own, 1 ..= 1024. Connections beyond
    /// them wait in the listener's backlog until the provider is next looked at.
    pub preposted_accepts: u32,
    /// `FILE_SKIP_COMPLETION_PORT_ON_SUCCESS`: what succeeds at once takes no way through the port. Used only where no
    /// foreign provider is layered over Winsock, whose sockets would not keep to it.
    pub skip_completion_on_success: bool,
}

impl Default for IocpOptions {
    fn default() -> Self {
        Self { preposted_accepts: 16, skip_completion_on_success: true }
    }
}

/// How Registered I/O is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RioOptions {
    /// Entries of the completion queue at start, 3 ..= `max_completion_entries`. Each connection takes three of them. The
    /// queue doubles when they are used up.
    pub completion_entries: u32,
    /// The completion queue never has more entries than this, 3 ..= 0x8000000; beyond them sockets are refused.
    pub max_completion_entries: u32,
    /// How the provider learns of completions.
    pub notification: RioNotification,
    /// The pool that receive streams use, if it is to be another than [`ProviderConfig::receive_pool`]: all of its memory is
    /// registered, and so locked.
    pub receive_pool: Option<PoolConfig>,
    /// Registered memory for sends from memory that is not. A send that fits a slot is copied, and joins the batch; a
    /// larger one, or one that finds no slot, takes a call of its own.
    pub copy_pool: PoolConfig,
    /// How often a provider that has something to do logs the use of its pools and queues, at level `info`.
    pub log_period: Duration,
}

/// How a provider learns of completions of Registered I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RioNotification {
    /// The queue tells the completion port, at which the provider sleeps.
    #[default]
    Port,
    /// The queue tells nobody. While anything is outstanding, a wait looks again and again; it takes a whole core and
    /// saves the way through the port.
    Polling,
}

impl Default for RioOptions {
    fn default() -> Self {
        Self {
            completion_entries: 3 * 1024,
            max_completion_entries: 3 * 65_536,
            notification: RioNotification::Port,
            receive_pool: None,
            copy_pool: PoolConfig { slot_bytes: 16 * 1024, initial_slots: 64, max_slots: 1024 },
            log_period: Duration::from_secs(60),
        }
    }
}

impl IoUringOptions {
    /// Switches features off by the names of the fields, separated by commas: `buffer_ring,fixed_buffers`.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that does not exist, with those that do.
    pub fn without(mut self, names: &str) -> Result<Self> {
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let mut switches = self.switches();
            let Some((_, switch)) = switches.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
                let known = switches.map(|(known, _)| known).join(", ");
                return Err(Error::new(
                    ErrorCode::InvalidArgument,
                    format!("unknown feature of io_uring '{name}'; choose from {known}"),
                ));
            };
            **switch = false;
        }
        Ok(self)
    }

    fn switches(&mut self) -> [(&'static str, &mut bool); 9] {
        [
            ("single_issuer", &mut self.single_issuer),
            ("defer_taskrun", &mut self.defer_taskrun),
            ("coop_taskrun", &mut self.coop_taskrun),
            ("extended_wait", &mut self.extended_wait),
            ("multishot_accept", &mut self.multishot_accept),
            ("buffer_ring", &mut self.buffer_ring),
            ("multishot_receive", &mut self.multishot_receive),
            ("fixed_buffers", &mut self.fixed_buffers),
            ("fixed_files", &mut self.fixed_files),
        ]
    }
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            queue_depth: 1024,
            max_operations: 1 << 20,
            receive_pool: PoolConfig { slot_bytes: RECEIVE_SLOT_BYTES, initial_slots: 128, max_slots: 1024 },
            busy_poll: BusyPoll::Off,
            drain_limit: Duration::from_secs(2),
            io_uring: IoUringOptions::default(),
            epoll: EpollOptions::default(),
            iocp: IocpOptions::default(),
            rio: RioOptions::default(),
        }
    }
}

impl ProviderConfig {
    /// The smallest queue depth.
    pub const MIN_QUEUE_DEPTH: u32 = 32;
    /// The largest queue depth.
    pub const MAX_QUEUE_DEPTH: u32 = 4096;
    /// The most accepts that may wait at a listener.
    pub const MAX_PREPOSTED_ACCEPTS: u32 = 1024;
    /// The fewest completion entries of Registered I/O: those of one connection.
    pub const MIN_COMPLETION_ENTRIES: u32 = 3;
    /// The most completion entries of Registered I/O (`RIO_MAX_CQ_SIZE`).
    pub const MAX_COMPLETION_ENTRIES: u32 = 0x800_0000;
    /// The largest `max_operations`: ids leave room for tags of the backends.
    pub const MAX_OPERATIONS: u32 = 1 << 24;

    /// The configuration without the features of io_uring that [`IO_URING_WITHOUT_VARIABLE`] switches off.
    pub(crate) fn heeding_environment(&self) -> Result<Self> {
        let mut config = self.clone();
        if let Ok(names) = std::env::var(IO_URING_WITHOUT_VARIABLE) {
            config.io_uring =
                config.io_uring.without(&names).map_err(|error| error.during(IO_URING_WITHOUT_VARIABLE))?;
        }
        Ok(config)
    }

    pub(crate) fn check(&self) -> Result<()> {
        // A misspelt variable must not look like a backend that does not run here.
        self.heeding_environment()?;
        if !(Self::MIN_QUEUE_DEPTH..=Self::MAX_QUEUE_DEPTH).contains(&self.queue_depth) {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                format!(
                    "queue depth {} is outside {} ..= {}",
                    self.queue_depth,
                    Self::MIN_QUEUE_DEPTH,
                    Self::MAX_QUEUE_DEPTH
                ),
            ));
        }
        if !(1..=Self::MAX_OPERATIONS).contains(&self.max_operations) {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                format!("{} operations at most is outside 1 ..= {}", self.max_operations, Self::MAX_OPERATIONS),
            ));
        }
        let accepts = self.iocp.preposted_accepts;
        if !(1..=Self::MAX_PREPOSTED_ACCEPTS).contains(&accepts) {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                format!("{accepts} accepts that wait is outside 1 ..= {}", Self::MAX_PREPOSTED_ACCEPTS),
            ));
        }
        let (entries, most) = (self.rio.completion_entries, self.rio.max_completion_entries);
        if !(Self::MIN_COMPLETION_ENTRIES..=Self::MAX_COMPLETION_ENTRIES).contains(&most) {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                format!(
                    "{most} completion entries at most is outside {} ..= {}",
                    Self::MIN_COMPLETION_ENTRIES,
                    Self::MAX_COMPLETION_ENTRIES
                ),
            ));
        }
        if !(Self::MIN_COMPLETION_ENTRIES..=most).contains(&entries) {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                format!(
                    "{entries} completion entries are outside {} ..= {most} (the maximum)",
                    Self::MIN_COMPLETION_ENTRIES
                ),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_switched_off_by_name_in_any_case() {
        let options = IoUringOptions::default().without("buffer_ring, Fixed_Buffers,").unwrap();
        let expected = IoUringOptions { buffer_ring: false, fixed_buffers: false, ..IoUringOptions::default() };
        assert_eq!(options, expected);
        assert_eq!(expected.clone().without("").unwrap(), expected);
    }

    #[test]
    fn an_unknown_feature_is_refused_with_those_that_exist() {
        let error = IoUringOptions::default().without("buffer_ring,turbo").unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
        assert!(error.to_string().contains("'turbo'") && error.to_string().contains("defer_taskrun"), "{error}");
    }
}
