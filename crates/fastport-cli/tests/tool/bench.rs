//! `fastport bench`.

use std::collections::HashMap;
use std::net::TcpListener;

use crate::process::{Server, backends, run};

/// A workload that is over in a moment.
const SMALL: [&str; 9] = ["bench", "--sessions", "4", "--depth", "3", "--iterations", "50", "--warmup", "7"];

const COLUMNS: [&str; 37] = [
    "test_name",
    "io_mode",
    "iterations",
    "payload_size",
    "avg_latency_ns",
    "min_latency_ns",
    "max_latency_ns",
    "p50_latency_ns",
    "p90_latency_ns",
    "p95_latency_ns",
    "p99_latency_ns",
    "p999_latency_ns",
    "stddev_ns",
    "avg_server_ns",
    "packets_per_sec",
    "mb_per_sec",
    "requested_sessions",
    "connected_sessions",
    "connection_losses",
    "depth",
    "warmup_requests",
    "warmup_responses",
    "measured_requests",
    "measured_responses",
    "payload_min_bytes",
    "payload_max_bytes",
    "payload_pool_size",
    "connect_elapsed_ns",
    "warmup_elapsed_ns",
    "measured_elapsed_ns",
    "avg_network_ns",
    "round",
    "server_workers",
    "io_threads",
    "warmup_iterations",
    "time_limit_ns",
    "timeout_ns",
];

fn small(arguments: &[&str]) -> Vec<String> {
    SMALL.iter().chain(arguments).map(ToString::to_string).collect()
}

fn run_small(arguments: &[&str]) -> crate::process::Ended {
    let all = small(arguments);
    run(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The lines of a CSV text, each by the names of its columns.
fn records(text: &str) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), COLUMNS);
    reader.deserialize().map(|record| record.unwrap()).collect()
}

fn number(record: &HashMap<String, String>, column: &str) -> f64 {
    record[column].parse().unwrap_or_else(|_| panic!("{column} is {}", record[column]))
}

/// What is compared if no backend is named: Registered I/O has to be asked for.
fn compared_by_default() -> Vec<&'static str> {
    backends().into_iter().filter(|&backend| backend != "rio").collect()
}

#[test]
fn each_backend_has_a_line_and_nothing_is_lost() {
    for backend in backends() {
        let ended = run_small(&["--backend", backend, "--csv", "-", "--payload", "100"]).expect_code(0);
        let records = records(&ended.output);
        let [record] = records.as_slice() else { panic!("{ended:?}") };
        assert_eq!((record["test_name"].as_str(), record["io_mode"].as_str()), ("custom", backend));
        for (column, expected) in [
            ("iterations", 50),
            ("payload_size", 100),
            ("requested_sessions", 4),
            ("connected_sessions", 4),
            ("connection_losses", 0),
            ("depth", 3),
            ("warmup_requests", 4 * 7),
            ("warmup_responses", 4 * 7),
            ("measured_requests", 4 * 50),
            ("measured_responses", 4 * 50),
            ("payload_min_bytes", 100),
            ("payload_max_bytes", 100),
            ("payload_pool_size", 256),
            ("round", 1),
            ("server_workers", 1),
            ("io_threads", 1),
            ("warmup_iterations", 7),
            ("time_limit_ns", 0),
        ] {
            assert_eq!(record[column], expected.to_string(), "{column}");
        }
        assert!(ended.errors.contains("Throughput"), "the table goes to standard error: {ended:?}");
    }
}

#[test]
fn without_a_workload_the_standard_ones_run_on_every_backend() {
    let ended = run(&["bench", "--secs", "0.1", "--csv", "-"]).expect_code(0);
    let records = records(&ended.output);
    for backend in compared_by_default() {
        let names: Vec<&str> = records
            .iter()
            .filter(|record| record["io_mode"] == backend)
            .map(|record| record["test_name"].as_str())
            .collect();
        assert_eq!(names, ["latency", "sessions", "pipelined", "large"]);
    }
    for record in &records {
        assert_eq!(record["measured_requests"], record["measured_responses"], "{record:?}");
        assert_eq!(record["connection_losses"], "0", "{record:?}");
    }
}

#[test]
fn figures_are_in_order_and_fit_together() {
    let ended = run_small(&["--backend", backends()[0], "--csv", "-"]).expect_code(0);
    let record = &records(&ended.output)[0];
    let ascending = [
        "min_latency_ns",
        "p50_latency_ns",
        "p90_latency_ns",
        "p95_latency_ns",
        "p99_latency_ns",
        "p999_latency_ns",
        "max_latency_ns",
    ];
    for pair in ascending.windows(2) {
        assert!(number(record, pair[0]) <= number(record, pair[1]), "{pair:?}: {record:?}");
    }
    assert!(number(record, "min_latency_ns") > 0.0);
    assert!(number(record, "avg_server_ns") < number(record, "avg_latency_ns"));
    for column in ["connect_elapsed_ns", "warmup_elapsed_ns", "measured_elapsed_ns"] {
        assert!(number(record, column) > 0.0, "{column}");
    }
    let rate = number(record, "measured_responses") / (number(record, "measured_elapsed_ns") / 1e9);
    assert!((number(record, "packets_per_sec") / rate - 1.0).abs() < 0.01, "{record:?}");
}

#[test]
fn json_is_an_array_of_objects_with_the_columns_of_the_csv() {
    let folder = tempfile::tempdir().unwrap();
    let (csv_file, json_file) = (folder.path().join("results.csv"), folder.path().join("results.json"));
    let files = [csv_file.to_str().unwrap(), json_file.to_str().unwrap()];
    let ended = run_small(&["--csv", files[0], "--json", files[1]]).expect_code(0);
    assert!(ended.output.contains("Throughput"), "without '-' the table goes to standard output: {ended:?}");

    let records = records(&std::fs::read_to_string(&csv_file).unwrap());
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json_file).unwrap()).unwrap();
    let objects = json.as_array().unwrap();
    assert_eq!(objects.len(), compared_by_default().len());
    assert_eq!(objects.len(), records.len());
    for (object, record) in objects.iter().zip(&records) {
        let object = object.as_object().unwrap();
        assert_eq!(object.len(), COLUMNS.len());
        for column in COLUMNS {
            let text = object[column].as_str().map_or_else(|| object[column].to_string(), str::to_owned);
            assert_eq!(text, record[column], "{column}");
        }
    }
}

#[test]
fn json_on_standard_output_is_nothing_but_json() {
    let ended = run_small(&["--backend", backends()[0], "--json", "-"]).expect_code(0);
    let json: serde_json::Value = serde_json::from_str(&ended.output).unwrap();
    assert_eq!(json[0]["measured_responses"], 200);
}

#[test]
fn a_page_has_a_plot_of_rates_and_one_of_round_trips_for_each_workload() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.html");
    let arguments = ["--name", "mine & yours", "--html", file.to_str().unwrap(), "--csv", "-"];
    let ended = run_small(&arguments).expect_code(0);
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"), "{page}");
    assert_eq!((page.matches("<svg").count(), page.matches("<h2>mine &amp; yours</h2>").count()), (2, 1));
    for record in records(&ended.output) {
        // In both plots and in both tables.
        assert!(page.matches(&record["io_mode"]).count() >= 4, "{record:?}: {page}");
    }

    let ended = run_small(&["--backend", backends()[0], "--html", "-"]).expect_code(0);
    assert!(ended.output.starts_with("<!DOCTYPE html>") && ended.errors.contains("Throughput"), "{ended:?}");
}

#[test]
fn repeated_runs_take_turns() {
    let ended = run_small(&["--repeat", "3", "--csv", "-"]).expect_code(0);
    let records = records(&ended.output);
    let modes: Vec<String> = records.iter().map(|record| record["io_mode"].clone()).collect();
    let backends = compared_by_default();
    for (index, record) in records.iter().enumerate() {
        assert_eq!(record["round"], (index / backends.len() + 1).to_string());
    }
    assert_eq!(modes.len(), 3 * backends.len());
    for round in modes.chunks(backends.len()) {
        for backend in &backends {
            assert!(round.iter().any(|mode| mode == backend), "{modes:?}");
        }
    }
    assert!(ended.errors.contains("spread"), "{ended:?}");
}

#[test]
fn random_sizes_on_several_threads_against_a_server_of_its_own_process() {
    for backend in backends() {
        let server = Server::start(&["--backend", backend]);
        let ended = run(&[
            "bench",
            "--addr",
            &server.address_text(),
            "--backend",
            backend,
            "--name",
            "mixed",
            "--sessions",
            "200",
            "--payload-min",
            "0",
            "--payload-max",
            "65400",
            "--payload-pool",
            "50",
            "--iterations",
            "5",
            "--io-threads",
            "2",
            "--csv",
            "-",
        ])
        .expect_code(0);
        let record = &records(&ended.output)[0];
        assert_eq!((record["test_name"].as_str(), record["measured_responses"].as_str()), ("mixed", "1000"));
        assert!(number(record, "payload_size") > 0.0 && number(record, "payload_size") < 65_400.0);
    }
}

#[test]
fn a_run_by_time_ends_when_it_is_over() {
    let ended = run(&["bench", "--sessions", "2", "--secs", "0.2", "--warmup", "0", "--csv", "-"]).expect_code(0);
    let record = &records(&ended.output)[0];
    assert_eq!((record["iterations"].as_str(), record["warmup_requests"].as_str()), ("0", "0"));
    assert_eq!(record["measured_requests"], record["measured_responses"]);
    assert!(number(record, "measured_elapsed_ns") > 0.1e9);
    assert_eq!((record["time_limit_ns"].as_str(), record["warmup_iterations"].as_str()), ("200000000", "0"));
}

#[test]
fn a_server_that_never_answers_is_reported_as_losses() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let backend = backends()[0];
    let ended = run_small(&["--addr", &address, "--backend", backend, "--timeout", "0.3", "--csv", "-"]).expect_code(1);
    let record = &records(&ended.output)[0];
    assert_eq!((record["warmup_requests"].as_str(), record["warmup_responses"].as_str()), ("4", "0"));
    assert_eq!((record["server_workers"].as_str(), record["timeout_ns"].as_str()), ("0", "300000000"));
    assert!(ended.errors.contains("lost 4 requests and 0 sessions"), "{ended:?}");
}

#[test]
fn a_server_that_hangs_up_is_reported_as_lost_sessions() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        // All four are accepted before the first is dropped.
        let sessions: Vec<_> = (0..4).map(|_| listener.accept().unwrap()).collect();
        drop(sessions);
    });
    let ended =
        run_small(&["--addr", &address, "--backend", backends()[0], "--timeout", "5", "--csv", "-"]).expect_code(1);
    server.join().unwrap();
    assert_eq!(records(&ended.output)[0]["connection_losses"], "4", "{ended:?}");
    assert!(ended.errors.contains("4 sessions"), "{ended:?}");
}

#[test]
fn nobody_at_the_address_is_one_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let ended = run_small(&["--addr", &address]).expect_code(1);
    assert!(ended.only_error().contains("refused") && ended.only_error().contains("fastport server"), "{ended:?}");
}

#[test]
fn arguments_that_make_no_sense_are_refused_before_anything_runs() {
    let refused = run_small(&["--backend", &format!("{},warp", backends()[0])]).expect_code(1);
    assert!(refused.only_error().contains("'warp'"), "{refused:?}");
    let refused = run_small(&["--csv", "/no/such/folder/results.csv"]).expect_code(1);
    assert!(refused.only_error().contains("/no/such/folder"), "{refused:?}");
    let swapped = run_small(&["--payload-min", "9", "--payload-max", "3"]).expect_code(2);
    assert!(swapped.only_error().contains("swap"), "{swapped:?}");
    for two in [["--csv", "-", "--json", "-"], ["--html", "-", "--json", "-"]] {
        let refused = run_small(&two).expect_code(2);
        assert!(refused.only_error().contains("standard output"), "{refused:?}");
    }
    run(&["bench", "--depth", "65536", "--payload", "65400"]).expect_code(2);
    run(&["bench", "--secs", "0"]).expect_code(2);
}
