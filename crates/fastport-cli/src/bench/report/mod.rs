//! Results for people and for programs: a table, CSV and JSON.

mod csv;
mod json;
mod row;
mod table;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::outcome::Outcome;
use crate::failure::{Failure, Result};

/// Where results go, opened before the first run: a file that cannot be written is known at once, not after minutes.
pub(crate) struct Destinations {
    csv: Option<Destination>,
    json: Option<Destination>,
}

/// A file, or standard output.
enum Destination {
    StandardOutput,
    File(PathBuf, File),
}

impl Destinations {
    /// Opens what `--csv` and `--json` name; `-` is standard output.
    ///
    /// # Errors
    /// If a file cannot be created, or both are to go to standard output.
    pub(crate) fn open(csv: Option<&Path>, json: Option<&Path>) -> Result<Self> {
        let destinations =
            Self { csv: csv.map(Destination::open).transpose()?, json: json.map(Destination::open).transpose()? };
        match destinations {
            Self { csv: Some(Destination::StandardOutput), json: Some(Destination::StandardOutput) } => {
                Err(Failure::usage("--csv - and --json - would mix on standard output; give one of them a file"))
            }
            destinations => Ok(destinations),
        }
    }

    /// Writes all results. The table goes to standard output unless CSV or JSON do.
    ///
    /// # Errors
    /// If something cannot be written.
    pub(crate) fn write(self, outcomes: &[Outcome]) -> Result<()> {
        let table = table::render(outcomes);
        if self.standard_output_is_taken() {
            write_to("standard error", &mut io::stderr().lock(), |output| writeln!(output, "{table}"))?;
        } else {
            write_to("standard output", &mut io::stdout().lock(), |output| writeln!(output, "{table}"))?;
        }
        if let Some(destination) = self.csv {
            destination.write(|output| csv::write(output, outcomes))?;
        }
        if let Some(destination) = self.json {
            destination.write(|output| json::write(output, outcomes))?;
        }
        Ok(())
    }

    fn standard_output_is_taken(&self) -> bool {
        [&self.csv, &self.json].into_iter().any(|destination| matches!(destination, Some(Destination::StandardOutput)))
    }
}

impl Destination {
    fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::StandardOutput);
        }
        let file = File::create(path)
            .map_err(|error| Failure::new(format!("cannot write to '{}': {error}", path.display())))?;
        Ok(Self::File(path.to_owned(), file))
    }

    fn write(self, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        match self {
            Self::StandardOutput => write_to("standard output", &mut io::stdout().lock(), content),
            Self::File(path, file) => write_to(&path.display().to_string(), &mut io::BufWriter::new(file), content),
        }
    }
}

fn write_to(name: &str, output: &mut dyn Write, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    content(output)
        .and_then(|()| output.flush())
        .map_err(|error| Failure::new(format!("cannot write results to {name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_results_cannot_share_standard_output() {
        let dash = Path::new("-");
        assert!(Destinations::open(Some(dash), Some(dash)).is_err());
        assert!(Destinations::open(Some(dash), None).unwrap().standard_output_is_taken());
        assert!(!Destinations::open(None, None).unwrap().standard_output_is_taken());
    }

    #[test]
    fn a_file_in_a_missing_folder_is_refused_by_name() {
        let missing = tempfile::tempdir().unwrap().path().join("gone").join("results.csv");
        let failure = Destinations::open(Some(&missing), None).err().unwrap();
        assert!(failure.to_string().contains("results.csv"), "{failure}");
    }
}
