//! The tool on Windows: completion ports by default, Registered I/O for whoever asks.

use crate::process::{Server, run};
use crate::wire::RawClient;

#[test]
fn the_default_is_completion_ports() {
    let server = Server::start(&[]);
    assert!(server.first_line.ends_with("(iocp, 1 worker)"), "{}", server.first_line);
    RawClient::connect(server.address).expect_echo(1);
    let ended = run(&["client", "--addr", &server.address_text(), "hello"]).expect_code(0);
    assert!(ended.output.contains("hello") && ended.errors.is_empty(), "{ended:?}");
}

#[test]
fn a_frame_smaller_than_its_header_ends_the_session() {
    let server = Server::start(&[]);
    let mut client = RawClient::connect(server.address);
    client.send_bytes(&[0, 3, 0, 1]);
    client.expect_end();
}

/// What Wine is: Windows without Registered I/O.
#[cfg(not(feature = "rio-emulator"))]
mod without_registered_io {
    use super::*;

    fn is_missing() -> bool {
        fastport_io::is_supported(fastport_io::Backend::Rio).is_err()
    }

    #[test]
    fn whoever_asks_for_it_gets_one_line_with_the_remedy() {
        if !is_missing() {
            return;
        }
        for asked in [&["--rio"][..], &["--backend", "rio"]] {
            for tool in [&["server", "--bind", "127.0.0.1:0"][..], &["client"], &["bench"]] {
                let ended = run(&[tool, asked].concat()).expect_code(1);
                let error = ended.only_error();
                assert!(
                    error.contains("Registered I/O needs Windows 8") && error.contains("--backend iocp"),
                    "{ended:?}"
                );
            }
        }
    }

    #[test]
    fn auto_takes_completion_ports_and_says_why() {
        if !is_missing() {
            return;
        }
        let server = Server::start(&["--backend", "auto"]);
        assert!(server.first_line.ends_with("(iocp, 1 worker)"), "{}", server.first_line);
        server.running.expect_error_line("rio is not used: Registered I/O needs Windows 8");
    }

    #[test]
    fn with_fallback_completion_ports_take_its_place_with_a_warning() {
        if !is_missing() {
            return;
        }
        let server = Server::start(&["--rio", "--fallback", "--rio-slot-size", "4K"]);
        assert!(server.first_line.ends_with("(iocp, 1 worker)"), "{}", server.first_line);
        let ended = server.running.kill();
        assert!(ended.errors.contains("falling back to iocp"), "{ended:?}");
        assert!(ended.errors.contains("--rio-slot-size are for Registered I/O, which is not used"), "{ended:?}");
    }
}

#[cfg(feature = "rio-emulator")]
mod with_registered_io {
    use super::*;

    /// Sixteen receive slots for more sessions than that, which take turns.
    #[test]
    fn all_tools_run_on_it_and_the_server_logs_its_pools_queues_and_batches() {
        let sizes = ["--rio-slot-size", "4K", "--rio-pool-size", "64K"];
        let server = Server::start(&[&["--rio", "--log-period", "1"], &sizes[..]].concat());
        assert!(server.first_line.ends_with("(rio, 1 worker)"), "{}", server.first_line);
        let address = server.address_text();
        let ended = run(&["client", "--rio", "--addr", &address, "--count", "3", "--size", "10000"]).expect_code(0);
        assert!(ended.output.contains("3 sent, 3 received, 0 lost"), "{ended:?}");
        let load = ["bench", "--rio", "--sessions", "40", "--depth", "2", "--payload", "3000"];
        run(&[&load[..], &["--addr", &address, "--secs", "2.5"]].concat()).expect_code(0);
        run(&[&load[..], &sizes, &["--iterations", "20"]].concat()).expect_code(0);

        server.running.expect_error_line("use since the last report");
        let log = server.running.kill().errors;
        let start: Vec<&str> = log.lines().filter(|line| line.contains("table of functions loaded")).collect();
        let [start] = start.as_slice() else { panic!("one line for one worker: {log}") };
        for field in ["max_receive_slots=16", "slot_bytes=4096", "completion_entries=3072", "notification=\"port\""] {
            assert!(start.contains(field), "'{field}' is missing in: {start}");
        }
        let report = log.lines().find(|line| line.contains("use since the last report")).expect(&log);
        for field in ["receive_slots_held=", "completion_entries_taken=", "mean_commits=", "mean_dequeued="] {
            assert!(report.contains(field), "'{field}' is missing in: {report}");
        }
    }

    #[test]
    fn auto_takes_it_where_it_runs() {
        let server = Server::start(&["--backend", "auto"]);
        assert!(server.first_line.ends_with("(rio, 1 worker)"), "{}", server.first_line);
        RawClient::connect(server.address).expect_echo(1);
    }
}
