//! Logs, on standard error, so that standard output stays for results.
//!
//! What is logged can be changed while the tool runs: [`Logging::follow`] obeys a file. Unlike signals that is the same on
//! every system, in a container and under a service manager, and it reaches each target.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Stderr};
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::Formatter;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::{EnvFilter, reload};

use crate::failure::{Failure, Result};

/// How often a followed file is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Far more than any filter has. What follows in a file is not read.
const MAX_FILTER_BYTES: u64 = 64 * 1024;

/// Where the filter lets events through to: text on standard error.
type Output = Formatter<DefaultFields, Format, fn() -> Stderr>;

/// Starts logging. `filter` is a level (`debug`) or a list of targets with levels (`warn,fastport=debug`); without one the
/// subcommand's `default_level` counts.
///
/// # Errors
/// If the filter cannot be read.
pub(crate) fn start(filter: Option<&str>, default_level: &str) -> Result<Logging> {
    let directives = filter.unwrap_or(default_level).to_owned();
    let filter = parse(&directives).map_err(|reason| Failure::usage(format!("--log '{directives}': {reason}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr as fn() -> Stderr)
        .with_ansi(io::stderr().is_terminal())
        // Told on standard error, where just nothing could be written, and by a macro that panics then.
        .log_internal_errors(false)
        .with_filter_reloading();
    let filter = builder.reload_handle();
    builder.init();
    Ok(Logging { directives, filter })
}

/// The log, with the means to change what goes into it.
pub(crate) struct Logging {
    /// What the command line asks for.
    directives: String,
    filter: reload::Handle<EnvFilter, Output>,
}

impl Logging {
    /// Obeys the filter in a file from now on, whenever it changes. While there is no such file, or nothing in it, the
    /// command line counts. Later mistakes are logged, and leave the filter as it is.
    ///
    /// # Errors
    /// If the file has a filter that cannot be read, or cannot be read itself.
    pub(crate) fn follow(self, file: PathBuf) -> Result<()> {
        let mut follower = Follower { seen: Ok(self.directives.clone()), logging: self, file };
        follower.look()?;
        std::thread::Builder::new()
            .name("fastport-log".to_owned())
            .spawn(move || {
                loop {
                    std::thread::sleep(LOOK_AGAIN);
                    if let Err(failure) = follower.look() {
                        tracing::warn!("{failure}; the log stays as it is");
                    }
                }
            })
            .map(drop)
            .map_err(|error| Failure::new(format!("cannot start a thread that follows the log filter: {error}")))
    }

    /// Replaces the filter.
    fn set(&self, directives: &str) -> std::result::Result<(), String> {
        self.filter.reload(parse(directives)?).map_err(|error| error.to_string())?;
        // A warning, because most filters let it pass: a log that falls silent should say why.
        tracing::warn!("the log filter is '{directives}' from now on");
        Ok(())
    }
}

/// A file with a filter, and what was seen of it.
struct Follower {
    logging: Logging,
    file: PathBuf,
    /// The last filter, or the last error: each is heeded once.
    seen: std::result::Result<String, String>,
}

impl Follower {
    fn look(&mut self) -> Result<()> {
        let found = self.read().map_err(|error| error.to_string());
        if found == self.seen {
            return Ok(());
        }
        self.seen.clone_from(&found);
        let done = found.and_then(|directives| self.logging.set(&directives));
        done.map_err(|reason| Failure::usage(format!("log filter in '{}': {reason}", self.file.display())))
    }

    /// The filter that should be in force. Lines count as separated by commas.
    fn read(&self) -> io::Result<String> {
        let mut text = String::new();
        match File::open(&self.file) {
            Ok(file) => drop(file.take(MAX_FILTER_BYTES).read_to_string(&mut text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Ok(if lines.is_empty() { self.logging.directives.clone() } else { lines.join(",") })
    }
}

/// Reads a filter. A bare word that is no level would count as a target, and a misspelt level would silence the log.
fn parse(directives: &str) -> std::result::Result<EnvFilter, String> {
    const EXAMPLE: &str = "give a level such as 'debug', or targets with levels such as 'warn,fastport=debug'";
    let directives: Vec<&str> = directives.split(',').map(str::trim).collect();
    for directive in &directives {
        let is_level = !directive.is_empty() && directive.parse::<LevelFilter>().is_ok();
        if !is_level && !directive.contains(['=', '[']) {
            return Err(format!("'{directive}' is no level; {EXAMPLE}"));
        }
    }
    EnvFilter::try_new(directives.join(",")).map_err(|error| format!("{error}; {EXAMPLE}"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn levels_and_targets_with_levels_are_filters() {
        for directives in ["debug", "WARN", "off", "warn,fastport=debug", "info, fastport_io::backend=trace"] {
            assert!(parse(directives).is_ok(), "{directives}: {:?}", parse(directives));
        }
    }

    #[test]
    fn what_is_misspelt_is_refused_with_an_example() {
        for directives in ["", "debgu", "warn,fastport", "fastport=loudly", "warn,,info"] {
            let reason = parse(directives).unwrap_err();
            assert!(reason.contains("such as 'debug'"), "{directives}: {reason}");
        }
    }
}
