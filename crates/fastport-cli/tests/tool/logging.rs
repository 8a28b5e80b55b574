//! `--log`, and changing the log of a running server by `--log-filter-file`.

use std::path::Path;

use crate::process::{Server, run};
use crate::wire::RawClient;

/// A server logs it at the level `debug`, in the target `fastport::answers`.
const UNKNOWN_ID: &str = "packet with an unknown id";

/// Has the server see a packet with this unknown id, for certain: the echo after it is answered.
fn send_unknown_id(server: &Server, id: u16) {
    let mut client = RawClient::connect(server.address);
    client.send(id, b"");
    client.expect_echo(1);
}

/// Replaces a file at once, as careful editors do.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, file).unwrap();
}

#[test]
fn the_log_of_a_running_server_follows_a_file_target_by_target() {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("filter");
    let server = Server::start(&["--log", "warn", "--log-filter-file", file.to_str().unwrap()]);
    let running = &server.running;
    send_unknown_id(&server, 0x7A01);

    replace(&file, "warn\nfastport::answers=debug\n");
    running.expect_error_line("the log filter is 'warn,fastport::answers=debug' from now on");
    send_unknown_id(&server, 0x7A02);
    assert!(running.expect_error_line(UNKNOWN_ID).contains("7a02"), "what came before was not logged");

    replace(&file, "warn,fastport::answers=loudly");
    running.expect_error_line("the log stays as it is");
    send_unknown_id(&server, 0x7A03);
    running.expect_error_line(UNKNOWN_ID);

    std::fs::remove_file(&file).unwrap();
    running.expect_error_line("the log filter is 'warn' from now on");
    send_unknown_id(&server, 0x7A04);

    replace(&file, "debug");
    running.expect_error_line("the log filter is 'debug' from now on");
    send_unknown_id(&server, 0x7A05);
    assert!(running.expect_error_line(UNKNOWN_ID).contains("7a05"), "without the file the command line counts");
}

#[test]
fn a_filter_that_cannot_be_read_at_the_start_is_one_line() {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("filter");
    std::fs::write(&file, "debgu").unwrap();
    let arguments = ["server", "--bind", "127.0.0.1:0", "--log-filter-file", file.to_str().unwrap()];
    let ended = run(&arguments).expect_code(2);
    assert!(ended.only_error().contains("'debgu' is no level"), "{ended:?}");
    // A directory can be opened, but not read.
    let arguments = ["server", "--bind", "127.0.0.1:0", "--log-filter-file", room.path().to_str().unwrap()];
    let ended = run(&arguments).expect_code(2);
    assert!(ended.only_error().contains("log filter in"), "{ended:?}");
}

#[test]
fn a_misspelt_level_is_refused_and_not_taken_for_a_target() {
    let ended = run(&["server", "--bind", "127.0.0.1:0", "--log", "debgu"]).expect_code(2);
    assert!(ended.only_error().contains("--log 'debgu'"), "{ended:?}");
}
