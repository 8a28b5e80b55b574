//! Why the tool gives up: one line for a person, and an exit code for a script.

use std::fmt;
use std::process::ExitCode;

/// The result of a subcommand.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// A reason that says what to do, in one line.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    exit_code: u8,
}

impl Failure {
    /// The work could not be done: exit code 1.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self::with_code(message, 1)
    }

    /// The command line asks for something impossible: exit code 2, as for an unknown flag.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::with_code(message, 2)
    }

    fn with_code(message: impl fmt::Display, exit_code: u8) -> Self {
        // Messages of other layers may have line breaks; scripts and logs expect one line for one error.
        let message = message.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { message, exit_code }
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit_code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<fastport_io::Error> for Failure {
    fn from(error: fastport_io::Error) -> Self {
        Self::new(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_always_one_line() {
        assert_eq!(Failure::new("first\n  second\n").to_string(), "first second");
    }
}
