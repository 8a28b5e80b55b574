//! Results for people and for programs: a table, a page with plots, CSV and JSON.

mod chart;
mod csv;
mod figures;
mod group;
mod html;
mod json;
mod row;
mod table;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::outcome::Outcome;
use crate::args::ReportArgs;
use crate::failure::{Failure, Result};

/// Where results go, opened before the first run: a file that cannot be written is known at once, not after minutes.
pub(crate) struct Destinations(Vec<(Format, Destination)>);

/// What writes results in a format.
type Format = fn(&mut dyn Write, &[Outcome]) -> io::Result<()>;

/// A file, or standard output.
enum Destination {
    StandardOutput,
    File(PathBuf, File),
}

impl Destinations {
    /// Opens what `--csv`, `--json` and `--html` name; `-` is standard output.
    ///
    /// # Errors
    /// If a file cannot be created, or more than one is to go to standard output.
    pub(crate) fn open(args: &ReportArgs) -> Result<Self> {
        let mut destinations = Vec::new();
        for (path, format) in [(&args.csv, csv::write as Format), (&args.json, json::write), (&args.html, html::write)]
        {
            if let Some(path) = path {
                destinations.push((format, Destination::open(path)?));
            }
        }
        let destinations = Self(destinations);
        if destinations.on_standard_output() > 1 {
            return Err(Failure::usage(
                "of --csv, --json and --html only one can be '-', they would mix on standard output; name a file",
            ));
        }
        Ok(destinations)
    }

    /// Writes all results. The table goes to standard output unless something else does.
    ///
    /// # Errors
    /// If something cannot be written.
    pub(crate) fn write(self, outcomes: &[Outcome]) -> Result<()> {
        let table = table::render(outcomes);
        if self.on_standard_output() > 0 {
            write_to("standard error", &mut io::stderr().lock(), |output| writeln!(output, "{table}"))?;
        } else {
            write_to("standard output", &mut io::stdout().lock(), |output| writeln!(output, "{table}"))?;
        }
        for (format, destination) in self.0 {
            destination.write(|output| format(output, outcomes))?;
        }
        Ok(())
    }

    fn on_standard_output(&self) -> usize {
        self.0.iter().filter(|(_, destination)| matches!(destination, Destination::StandardOutput)).count()
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

    fn to(csv: Option<&Path>, json: Option<&Path>, html: Option<&Path>) -> ReportArgs {
        ReportArgs { csv: csv.map(Path::to_owned), json: json.map(Path::to_owned), html: html.map(Path::to_owned) }
    }

    #[test]
    fn two_results_cannot_share_standard_output() {
        let dash = Some(Path::new("-"));
        for mixed in [to(dash, dash, None), to(dash, None, dash), to(None, dash, dash)] {
            assert!(Destinations::open(&mixed).is_err());
        }
        assert_eq!(Destinations::open(&to(dash, None, None)).unwrap().on_standard_output(), 1);
        assert_eq!(Destinations::open(&to(None, None, None)).unwrap().on_standard_output(), 0);
    }

    #[test]
    fn a_file_in_a_missing_folder_is_refused_by_name() {
        let missing = tempfile::tempdir().unwrap().path().join("gone").join("results.csv");
        let failure = Destinations::open(&to(Some(&missing), None, None)).err().unwrap();
        assert!(failure.to_string().contains("results.csv"), "{failure}");
    }
}
