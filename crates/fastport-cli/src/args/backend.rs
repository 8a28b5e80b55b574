//! The options that choose a backend, and what they make of a provider's pool.

use clap::Args;
use fastport_io::{BACKEND_VARIABLE, Backend, PoolConfig, ProviderConfig};

use super::values::size_bytes;
use crate::failure::{Failure, Result};

/// The backend, where there is one. `bench` takes several.
#[derive(Debug, Args)]
pub(crate) struct BackendArgs {
    /// I/O backend: auto, io_uring, epoll, kqueue, iocp or rio. [default: $FASTPORT_BACKEND, or else auto; on Windows iocp]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,

    #[command(flatten)]
    pub(crate) rio: RioArgs,
}

impl BackendArgs {
    /// The backend's name, which nobody has checked yet.
    pub(crate) fn name(&self) -> &str {
        match &self.backend {
            _ if self.rio.rio => Backend::Rio.name(),
            Some(name) => name,
            None => default_name(std::env::var_os(BACKEND_VARIABLE).is_some_and(|name| !name.is_empty())),
        }
    }
}

/// Windows starts with completion ports; Registered I/O has to be asked for. `auto` obeys the variable.
fn default_name(variable_is_set: bool) -> &'static str {
    if cfg!(windows) && !variable_is_set { Backend::Iocp.name() } else { "auto" }
}

/// Where `--help` shows these options. Each names it: set for the whole structure, it would go on behind it.
const HEADING: &str = "Registered I/O (Windows)";

/// What concerns Registered I/O only.
#[derive(Debug, Default, Args)]
pub(crate) struct RioArgs {
    /// Use Registered I/O, as --backend rio does.
    #[arg(long, conflicts_with = "backend", help_heading = HEADING)]
    rio: bool,

    /// The most memory for receive buffers of one thread (64K, 32M, …); Registered I/O locks all of it.
    /// [default: as on other backends]
    #[arg(long, value_name = "BYTES", value_parser = size_bytes, help_heading = HEADING)]
    rio_pool_size: Option<usize>,

    /// Size of one receive buffer. [default: as on other backends]
    #[arg(long, value_name = "BYTES", value_parser = size_bytes, help_heading = HEADING)]
    rio_slot_size: Option<usize>,
}

impl RioArgs {
    /// The backends that were asked for by name, which may be none.
    pub(crate) fn or_names<'a>(&'a self, names: &'a [String]) -> Vec<&'a str> {
        if self.rio { vec![Backend::Rio.name()] } else { names.iter().map(String::as_str).collect() }
    }

    /// The set-up with what these options say. Sizes that they do not name are those of the other backends.
    ///
    /// # Errors
    /// A wrong command line if a size is out of range, whether Registered I/O will be used or not.
    pub(crate) fn apply(&self, mut config: ProviderConfig) -> Result<ProviderConfig> {
        if self.were_given() {
            let pool = receive_pool("--rio-", self.rio_slot_size, self.rio_pool_size, &config.receive_pool)?;
            config.rio.receive_pool = Some(pool);
        }
        Ok(config)
    }

    /// Says it if sizes were given that count for none of `backends`.
    pub(crate) fn warn_unless_used(&self, backends: &[Backend]) {
        if self.were_given() && !backends.contains(&Backend::Rio) {
            tracing::warn!("--rio-pool-size and --rio-slot-size are for Registered I/O, which is not used");
        }
    }

    fn were_given(&self) -> bool {
        self.rio_pool_size.is_some() || self.rio_slot_size.is_some()
    }
}

/// The pool that options ask for; where they say nothing, it is as in `defaults`. `prefix` is what their names begin with.
///
/// # Errors
/// A wrong command line if a size is out of range.
pub(crate) fn receive_pool(
    prefix: &str,
    slot_size: Option<usize>,
    pool_size: Option<usize>,
    defaults: &PoolConfig,
) -> Result<PoolConfig> {
    let slot_bytes = slot_size.unwrap_or(defaults.slot_bytes);
    if !(64..=PoolConfig::MAX_SLOT_BYTES).contains(&slot_bytes) {
        return Err(Failure::usage(format!(
            "{prefix}slot-size {slot_bytes} is outside 64 ..= {} bytes",
            PoolConfig::MAX_SLOT_BYTES
        )));
    }
    let max_slots = match pool_size {
        Some(pool_bytes) => (pool_bytes / slot_bytes).min(PoolConfig::MAX_SLOTS as usize) as u32,
        None => defaults.max_slots,
    };
    if max_slots == 0 {
        return Err(Failure::usage(format!("{prefix}pool-size must hold at least one slot of {slot_bytes} bytes")));
    }
    Ok(PoolConfig { slot_bytes, initial_slots: defaults.initial_slots.min(max_slots), max_slots })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn sizes(pool: Option<usize>, slot: Option<usize>) -> RioArgs {
        RioArgs { rio: false, rio_pool_size: pool, rio_slot_size: slot }
    }

    #[test]
    fn sizes_of_registered_io_count_for_it_alone() {
        let others = ProviderConfig::default();
        let mut config = sizes(Some(64 * KIB), Some(4 * KIB)).apply(others.clone()).unwrap();
        let pool = PoolConfig { slot_bytes: 4 * KIB, initial_slots: 16, max_slots: 16 };
        assert_eq!(config.rio.receive_pool.take(), Some(pool));
        assert_eq!(config, others);
    }

    #[test]
    fn without_sizes_of_its_own_registered_io_has_those_of_the_others() {
        let others = ProviderConfig::default();
        assert_eq!(sizes(None, None).apply(others.clone()).unwrap(), others);
    }

    #[test]
    fn a_pool_that_holds_no_slot_is_refused_by_the_name_of_its_option() {
        let refusal = sizes(Some(KIB), Some(4 * KIB)).apply(ProviderConfig::default()).unwrap_err();
        assert!(refusal.to_string().contains("--rio-pool-size"), "{refusal}");
        let refusal = sizes(None, Some(1)).apply(ProviderConfig::default()).unwrap_err();
        assert!(refusal.to_string().contains("--rio-slot-size"), "{refusal}");
    }

    #[test]
    fn on_windows_the_default_is_iocp_unless_the_variable_is_set() {
        assert_eq!(default_name(false), if cfg!(windows) { "iocp" } else { "auto" });
        assert_eq!(default_name(true), "auto");
    }
}
