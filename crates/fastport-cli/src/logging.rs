//! Logs, on standard error, so that standard output stays for results.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, Result};

/// Starts logging. `filter` is a level (`debug`) or a list of targets with levels (`warn,fastport=debug`); without one the
/// subcommand's `default_level` counts.
///
/// # Errors
/// If the filter cannot be read.
pub(crate) fn start(filter: Option<&str>, default_level: &str) -> Result<()> {
    let directives = filter.unwrap_or(default_level);
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        Failure::usage(format!("--log '{directives}': {error}; give a level such as 'debug', or 'warn,fastport=debug'"))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}
