//! How a provider is set up: limits from `fp_provider_initialize`, switches from `fp_provider_set_option`.

use std::time::Duration;

use fastport_io::{
    Backend, BusyPoll, Choice, Error, ErrorCode, IoUringOptions, PoolConfig, ProviderConfig, Result, Selection, select,
};

use crate::error::invalid;

/// What was chosen before the provider started.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) choice: Choice,
    fixed_buffers: bool,
    fixed_files: bool,
    zero_copy_send_bytes: Option<u32>,
    busy_poll: BusyPoll,
    drain_limit: Duration,
}

impl Settings {
    pub(super) fn new(choice: Choice) -> Self {
        let (config, ring) = (ProviderConfig::default(), IoUringOptions::default());
        Self {
            choice,
            fixed_buffers: ring.fixed_buffers,
            fixed_files: ring.fixed_files,
            zero_copy_send_bytes: ring.zero_copy_send_bytes,
            busy_poll: config.busy_poll,
            drain_limit: config.drain_limit,
        }
    }

    /// Sets an option by its name, whatever the case.
    pub(super) fn set(&mut self, name: &str, value: &[u8]) -> Result<()> {
        let names = ["RegisterBuffer", "RegisterFileSet", "ZeroCopySendBytes", "BusyPollMicroseconds", "DrainLimitMs"];
        let Some(position) = names.iter().position(|known| known.eq_ignore_ascii_case(name)) else {
            return Err(invalid(format!("unknown option '{name}'; there are {}", names.join(", "))));
        };
        let number = match *value {
            [switch] => u32::from(switch),
            [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
            _ => return Err(invalid(format!("the value of '{name}' has 4 bytes (or 1, for a bool)"))),
        };
        match position {
            0 => self.fixed_buffers = number != 0,
            1 => self.fixed_files = number != 0,
            2 => self.zero_copy_send_bytes = Some(number).filter(|&bytes| bytes > 0),
            3 => {
                self.busy_poll = match number {
                    0 => BusyPoll::Off,
                    u32::MAX => BusyPoll::Always,
                    limit => BusyPoll::Spin(Duration::from_micros(u64::from(limit))),
                }
            }
            _ => self.drain_limit = Duration::from_millis(u64::from(number)),
        }
        Ok(())
    }

    /// The provider's configuration. It can be used by any thread, one at a time.
    pub(super) fn config(&self, queue_depth: u32, max_operations: u32) -> Result<ProviderConfig> {
        let most = ProviderConfig::MAX_OPERATIONS;
        if !(1..=most).contains(&max_operations) {
            return Err(invalid(format!("{max_operations} operations at most is outside 1 ..= {most}")));
        }
        Ok(ProviderConfig {
            queue_depth,
            max_operations,
            // Receives go into memory of the caller's, so the pool is not used.
            receive_pool: PoolConfig { slot_bytes: 4096, initial_slots: 1, max_slots: 1 },
            busy_poll: self.busy_poll,
            drain_limit: self.drain_limit,
            io_uring: IoUringOptions {
                // With these the kernel answers one thread only.
                single_issuer: false,
                defer_taskrun: false,
                buffer_ring: false,
                multishot_receive: false,
                fixed_buffers: self.fixed_buffers,
                fixed_files: self.fixed_files,
                zero_copy_send_bytes: self.zero_copy_send_bytes,
                ..IoUringOptions::default()
            },
            ..ProviderConfig::default()
        })
    }

    /// The backend to use, found by trying; why better ones were passed over is logged.
    pub(super) fn select(&self, config: &ProviderConfig) -> Result<Backend> {
        let selection: Selection = select(self.choice, config)?;
        if !selection.passed_over.is_empty() {
            tracing::warn!("using {selection}");
        }
        Ok(selection.backend)
    }
}

/// What programs call a backend.
pub(crate) const fn name(backend: Backend) -> &'static std::ffi::CStr {
    match backend {
        Backend::IoUring => c"io_uring",
        Backend::Epoll => c"epoll",
        Backend::Kqueue => c"kqueue",
        Backend::Iocp => c"IOCP",
        Backend::Rio => c"RIO",
        _ => c"unknown",
    }
}

/// A backend's features for programs that ask before the provider runs: what it has where the system grants everything.
pub(super) fn usual_features(backend: Backend) -> &'static [&'static str] {
    match backend {
        Backend::IoUring | Backend::Rio => &["BufferRegistration", "Batching"],
        Backend::Epoll => &["Batching"],
        _ => &[],
    }
}

/// The error for calls that need a provider that runs.
pub(super) fn not_initialized() -> Error {
    Error::new(ErrorCode::NotInitialized, "the provider does not run; call fp_provider_initialize first")
}
