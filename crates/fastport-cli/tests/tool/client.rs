//! `fastport client`.

use std::net::TcpListener;

use crate::process::{Server, backends, run, run_with_input};

#[test]
fn bytes_come_back_with_their_times_and_a_summary() {
    for backend in backends() {
        let server = Server::start(&["--backend", backend]);
        let address = server.address_text();
        let ended =
            run(&["client", "--addr", &address, "--backend", backend, "--count", "5", "--size", "1000"]).expect_code(0);
        assert_eq!(ended.output.matches("1000 bytes: seq=").count(), 5, "{ended:?}");
        assert!(ended.output.contains("5 sent, 5 received, 0 lost; round trip min"), "{ended:?}");
        assert_eq!(ended.errors, "");
    }
}

#[test]
fn texts_come_back_as_they_were() {
    let server = Server::start(&[]);
    let ended = run(&["client", "--addr", &server.address_text(), "hello", "Grüße, 世界"]).expect_code(0);
    assert!(ended.output.contains("hello  (seq=1") && ended.output.contains("Grüße, 世界  (seq=2"), "{ended:?}");
}

#[test]
fn lines_of_standard_input_come_back_as_they_were() {
    let server = Server::start(&[]);
    let ended = run_with_input(&["client", "--addr", &server.address_text(), "--stdin"], "one\ntwo").expect_code(0);
    assert!(ended.output.contains("one  (seq=1") && ended.output.contains("two  (seq=2"), "{ended:?}");
    assert!(ended.output.contains("2 sent, 2 received, 0 lost"), "{ended:?}");
}

#[test]
fn the_largest_content_comes_back() {
    let server = Server::start(&[]);
    let ended = run(&["client", "--addr", &server.address_text(), "--size", "65400", "--count", "2"]).expect_code(0);
    assert!(ended.output.contains("2 sent, 2 received, 0 lost"), "{ended:?}");
}

#[test]
fn a_port_where_nobody_listens_is_one_line_that_names_the_remedy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for backend in backends() {
        let ended = run(&["client", "--addr", &address, "--backend", backend]).expect_code(1);
        assert!(ended.only_error().contains("refused") && ended.only_error().contains("fastport server"), "{ended:?}");
    }
}

#[test]
fn a_server_that_never_answers_leaves_losses_and_an_exit_code() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let ended = run(&["client", "--addr", &address, "--count", "2", "--timeout", "0.1"]).expect_code(1);
    assert!(ended.output.contains("2 sent, 0 received, 2 lost"), "{ended:?}");
    assert!(ended.only_error().contains("2 of 2 requests"), "{ended:?}");
}

#[test]
fn a_server_that_hangs_up_is_told_with_its_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let ended = run(&["client", "--addr", &address]).expect_code(1);
    server.join().unwrap();
    assert!(ended.only_error().contains("connection"), "{ended:?}");
}

#[test]
fn wrong_arguments_are_refused() {
    run(&["client", "--size", "65401"]).expect_code(2);
    run(&["client", "--count", "0"]).expect_code(2);
    run(&["client", "--stdin", "text"]).expect_code(2);
    let ended = run(&["client", "--backend", "warp"]).expect_code(1);
    assert!(ended.only_error().contains("'warp'"), "{ended:?}");
    let ended = run(&["client", "--addr", "127.0.0.1"]).expect_code(1);
    assert!(ended.only_error().contains("HOST:PORT"), "{ended:?}");
}
