//! Results as JSON: an array with an object for each run.

use std::io::{self, Write};

use super::super::outcome::Outcome;
use super::row::Row;

/// Writes the array, indented, with a line break at its end. The names in the objects are the CSV columns.
pub(super) fn write(output: &mut dyn Write, outcomes: &[Outcome]) -> io::Result<()> {
    let rows: Vec<Row<'_>> = outcomes.iter().map(Row::from).collect();
    serde_json::to_writer_pretty(&mut *output, &rows)?;
    writeln!(output)
}

#[cfg(test)]
mod tests {
    use super::super::super::outcome::example;
    use super::*;
    use fastport_io::Backend;

    #[test]
    fn each_run_is_an_object_with_numbers_as_numbers() {
        let mut output = Vec::new();
        write(&mut output, &[example("plain", Backend::IoUring, 100)]).unwrap();
        let parsed: serde_json::Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(parsed.as_array().unwrap().len(), 1);
        assert_eq!(parsed[0]["io_mode"], "io_uring");
        assert_eq!(parsed[0]["measured_responses"], 100);
        assert_eq!(parsed[0]["packets_per_sec"], 50.0);
        assert_eq!(parsed[0].as_object().unwrap().len(), 37);
    }

    #[test]
    fn no_runs_are_an_empty_array() {
        let mut output = Vec::new();
        write(&mut output, &[]).unwrap();
        assert_eq!(output, b"[]\n");
    }
}
