//! What the log tells of a provider.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastport_io::ProviderConfig;

use crate::emulated::{Emulated, pool};

const START: &str = "table of functions loaded";
const USE: &str = "use since the last report";

/// What this thread has logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Runs a test whose log is kept.
    fn watch(test: impl FnOnce(&Self)) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || test(&log));
    }

    /// The lines that have these words.
    fn lines(&self, words: &str) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        String::from_utf8_lossy(&bytes).lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[track_caller]
fn assert_tells(line: &str, fields: &[&str]) {
    for field in fields {
        assert!(line.contains(field), "'{field}' is missing in: {line}");
    }
}

#[test]
fn table_pool_and_queue_are_told_with_the_first_turn() {
    Log::watch(|log| {
        let mut config = ProviderConfig { receive_pool: pool(2048, 16, 64), ..ProviderConfig::default() };
        config.rio.completion_entries = 96;
        config.rio.copy_pool = pool(4096, 1, 1);
        let mut emulated = Emulated::open(&config);
        assert!(log.lines(START).is_empty(), "a provider that is only opened says nothing");
        emulated.rig.turn();
        emulated.rig.turn();
        let lines = log.lines(START);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let registered = format!("registered_bytes={}", 16 * 2048 + 4096);
        let fields = ["receive_slots=16", "max_receive_slots=64", "slot_bytes=2048", "completion_entries=96", "port"];
        assert_tells(&lines[0], &fields);
        assert_tells(&lines[0], &[&registered]);
    });
}

#[test]
fn the_use_of_pool_and_queue_and_the_batches_are_told_once_in_a_period() {
    Log::watch(|log| {
        let mut config = ProviderConfig::default();
        config.rio.log_period = Duration::from_millis(1);
        let mut emulated = Emulated::open(&config);
        let rig = &mut emulated.rig;
        let (client, server) = rig.pair();
        rig.receive_stream(server);
        // Whoever does nothing reports nothing, so there has to be something in each period.
        rig.until("the connection is in a report", |rig| {
            rig.send(client, b"counted".to_vec());
            let in_report = |line: &String| line.contains("entries_taken=6") && line.contains("mean_commits=1");
            log.lines(USE).iter().any(in_report)
        });
        let report = log.lines(USE).pop().unwrap();
        assert_tells(&report, &["receive_slots_held=", "receive_slots_high_water=", "requests=", "copied_sends="]);
        assert_tells(&report, &["completion_entries=", "mean_dequeued="]);
    });
}

#[test]
fn a_provider_that_does_nothing_reports_nothing() {
    Log::watch(|log| {
        let mut config = ProviderConfig::default();
        config.rio.log_period = Duration::ZERO;
        let mut emulated = Emulated::open(&config);
        for _ in 0..10 {
            emulated.rig.turn();
        }
        assert!(log.lines(USE).is_empty());
    });
}
