//! `fastport doctor`.

use std::collections::HashSet;

use serde_json::Value;

use crate::process::{backends, run};

/// One that no system has beside those of this one.
const FOREIGN: &str = if cfg!(target_os = "linux") { "rio" } else { "epoll" };

fn report() -> Value {
    let ended = run(&["doctor", "--json"]).expect_code(0);
    serde_json::from_str(&ended.output).expect("standard output is JSON")
}

#[test]
fn the_report_agrees_with_what_runs_here() {
    let report = report();
    let found = report["backends"].as_array().unwrap();
    let working: HashSet<&str> =
        found.iter().filter(|it| it["works"] == true).map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(working, HashSet::from_iter(backends()));
    let chosen: Vec<&str> =
        found.iter().filter(|it| it["chosen"] == true).map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(chosen, backends()[..1]);
    for backend in found {
        assert_eq!(backend["works"] == true, backend["reason"].is_null(), "{backend}");
    }
    assert!(report["cores"].as_u64().unwrap() >= 1);
}

#[test]
fn the_text_names_every_backend_and_the_limits() {
    let text = run(&["doctor"]).expect_code(0).output;
    let limits = if cfg!(unix) { "open files" } else { "Limits and settings" };
    for name in ["io_uring", "epoll", "kqueue", "iocp", "rio", limits] {
        assert!(text.contains(name), "'{name}' is missing in\n{text}");
    }
}

#[test]
fn a_backend_that_runs_here_is_a_success() {
    for backend in backends() {
        let ended = run(&["doctor", "--backend", backend]).expect_code(0);
        assert_eq!(ended.errors, "");
    }
}

#[test]
fn a_backend_that_does_not_run_here_is_told_in_the_words_of_the_server() {
    let doctor = run(&["doctor", "--backend", FOREIGN]).expect_code(1);
    assert!(doctor.output.contains("Backends"), "the report comes all the same");
    let server = run(&["server", "--backend", FOREIGN, "--bind", "127.0.0.1:0"]).expect_code(1);
    assert_eq!(doctor.only_error(), server.only_error());
    assert!(doctor.only_error().contains(backends()[0]), "it names one that runs");
}

#[test]
fn a_backend_that_never_was_is_refused_with_those_that_are() {
    let ended = run(&["doctor", "--backend", "select"]).expect_code(1);
    assert!(ended.only_error().contains("choose auto"));
}
