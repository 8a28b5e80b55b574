//! Runs the program. Every process has a time limit and ends with its test, whatever happens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};

use crate::system::Killer;

/// No process of a test lives longer than this, even on a machine with much else to do.
///
/// Windows is mostly Wine, whose server is one thread for all programs: on a busy machine the standard workloads need a minute.
const LIMIT: Duration = Duration::from_secs(if cfg!(windows) { 240 } else { 60 });

/// The backends that run on this machine.
pub(crate) fn backends() -> Vec<&'static str> {
    crate::emulator::install();
    let names: Vec<_> = fastport_io::supported().into_iter().map(fastport_io::Backend::name).collect();
    assert!(!names.is_empty(), "no backend runs here, so nothing would be tested");
    names
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ended {
    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The one line on standard error that tells why the program gave up.
    #[track_caller]
    pub(crate) fn only_error(&self) -> &str {
        let lines: Vec<&str> = self.errors.lines().collect();
        let [line] = lines.as_slice() else { panic!("expected one line: {self:#?}") };
        line
    }
}

/// A running process.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    error_lines: Receiver<String>,
    collectors: Vec<JoinHandle<String>>,
    /// Gone when the process is: the watchdog sleeps until then, or until the limit.
    ended: Option<Sender<()>>,
    watchdog: Option<JoinHandle<()>>,
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    start(arguments).wait()
}

/// Runs the program with this standard input to its end.
pub(crate) fn run_with_input(arguments: &[&str], input: &str) -> Ended {
    let mut running = start(arguments);
    let mut stdin: ChildStdin = running.child.stdin.take().expect("standard input is a pipe");
    // The program may end before it has read everything.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    running.wait()
}

/// Starts the program.
pub(crate) fn start(arguments: &[&str]) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fastport"))
        .args(crate::emulator::SWITCH)
        .args(arguments)
        .env_remove("FASTPORT_BACKEND")
        .env_remove("FASTPORT_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (lines, output) = collect(child.stdout.take().expect("standard output is a pipe"));
    let (error_lines, errors) = collect(child.stderr.take().expect("standard error is a pipe"));
    let (ended, process_ended) = mpsc::channel::<()>();
    let killer = Killer::of(&child);
    let watchdog = std::thread::spawn(move || {
        if process_ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            killer.kill();
        }
    });
    let collectors = vec![output, errors];
    Running { child, lines, error_lines, collectors, ended: Some(ended), watchdog: Some(watchdog) }
}

/// Reads a stream to its end, on a thread of its own: line by line for who waits for one, and all of it at the end.
fn collect(stream: impl Read + Send + 'static) -> (Receiver<String>, JoinHandle<String>) {
    let (line, lines) = mpsc::channel();
    let collector = std::thread::spawn(move || {
        let mut all = String::new();
        for text in BufReader::new(stream).lines().map_while(Result::ok) {
            all.push_str(&text);
            all.push('\n');
            let _ = line.send(text);
        }
        all
    });
    (lines, collector)
}

impl Running {
    /// The next line on standard output.
    #[track_caller]
    pub(crate) fn next_line(&self) -> String {
        self.lines.recv_timeout(LIMIT).expect("a line on standard output before the process ends")
    }

    /// Waits for a line on standard error that has this text, and returns it.
    #[track_caller]
    pub(crate) fn expect_error_line(&self, text: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.error_lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no line with '{text}' on standard error"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The process, as the system numbers it.
    #[cfg(target_os = "linux")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process.
    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process lives");
    }

    /// Ends the process without asking it.
    #[cfg(windows)]
    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().expect("the process can be ended");
        self.wait()
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Ended {
        let status = self.child.wait().expect("the process can be waited for");
        let mut texts = self.collectors.drain(..).map(|collector| collector.join().expect("reading does not panic"));
        let (output, errors) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
        Ended { code: status.code(), output, errors }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both do nothing if the process has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(self.ended.take());
        if let Some(watchdog) = self.watchdog.take() {
            let _ = watchdog.join();
        }
    }
}

/// A running server, on a port of its own.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) first_line: String,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server with one worker and these further arguments.
    #[track_caller]
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let all: Vec<&str> =
            ["server", "--bind", "127.0.0.1:0", "--workers", "1"].iter().chain(arguments).copied().collect();
        let running = start(&all);
        let first_line = running.next_line();
        let address = first_line.split_whitespace().nth(2).and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in '{first_line}'"));
        Self { running, first_line, address }
    }

    /// The address as an argument.
    pub(crate) fn address_text(&self) -> String {
        self.address.to_string()
    }
}
