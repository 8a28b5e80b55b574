//! What the doctor reads from the system: its version, its limits, and how it is set.
//!
//! Reading never fails. What a system does not have, or does not tell, is `None` and left out of the report.

use serde::Serialize;

/// The state of the system, as this process sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Facts {
    pub(crate) system: String,
    pub(crate) kernel: Option<String>,
    /// Cores that this process may use: its affinity and its control group count.
    pub(crate) cores: usize,
    /// Open descriptors (`RLIMIT_NOFILE`).
    pub(crate) open_files: Option<Limit>,
    /// Bytes of memory that stay in place (`RLIMIT_MEMLOCK`).
    pub(crate) locked_bytes: Option<Limit>,
    /// The process is exempt from that limit (`CAP_IPC_LOCK`).
    pub(crate) locks_freely: bool,
    /// Connections that may wait to be accepted.
    pub(crate) listen_backlog: Option<u64>,
    pub(crate) receive_buffer: Option<BufferBytes>,
    pub(crate) send_buffer: Option<BufferBytes>,
    pub(crate) congestion_control: Option<String>,
    pub(crate) congestion_controls: Vec<String>,
    /// `kernel.io_uring_disabled` (Linux 6.6).
    pub(crate) io_uring_disabled: Option<u64>,
    /// A seccomp filter decides which system calls the process may make.
    pub(crate) seccomp_filter: Option<bool>,
}

/// A limit of the process. `None` stands for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Limit {
    /// In force now; may be raised up to `hard`, which FastPort's server does for descriptors.
    pub(crate) soft: Option<u64>,
    /// The most that the process may ask for.
    pub(crate) hard: Option<u64>,
}

/// Sizes of a TCP socket's buffer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BufferBytes {
    /// At the beginning of a connection.
    pub(crate) initial: u64,
    /// What the system's own tuning goes up to.
    pub(crate) largest_tuned: u64,
    /// What a program may set (`SO_RCVBUF`, `SO_SNDBUF`).
    pub(crate) largest_set: Option<u64>,
}

/// One word of a setting's value, counted from 0.
type Word = (&'static str, usize);

/// Where a system keeps its settings. Names are those of sysctl; an empty one is not there.
struct Names {
    kernel: Word,
    listen_backlog: Word,
    /// At first, largest by tuning, largest that may be set.
    receive_buffer: [Word; 3],
    send_buffer: [Word; 3],
    congestion_control: Word,
    congestion_controls: &'static str,
}

const NONE: Word = ("", 0);

/// ip-sysctl.rst and net.rst of the kernel.
const LINUX: Names = Names {
    kernel: ("kernel.osrelease", 0),
    listen_backlog: ("net.core.somaxconn", 0),
    receive_buffer: [("net.ipv4.tcp_rmem", 1), ("net.ipv4.tcp_rmem", 2), ("net.core.rmem_max", 0)],
    send_buffer: [("net.ipv4.tcp_wmem", 1), ("net.ipv4.tcp_wmem", 2), ("net.core.wmem_max", 0)],
    congestion_control: ("net.ipv4.tcp_congestion_control", 0),
    congestion_controls: "net.ipv4.tcp_available_congestion_control",
};

/// tcp(4).
const FREEBSD: Names = Names {
    kernel: ("kern.osrelease", 0),
    listen_backlog: ("kern.ipc.soacceptqueue", 0),
    receive_buffer: [("net.inet.tcp.recvspace", 0), ("net.inet.tcp.recvbuf_max", 0), ("kern.ipc.maxsockbuf", 0)],
    send_buffer: [("net.inet.tcp.sendspace", 0), ("net.inet.tcp.sendbuf_max", 0), ("kern.ipc.maxsockbuf", 0)],
    congestion_control: ("net.inet.tcp.cc.algorithm", 0),
    congestion_controls: "",
};

/// `sysctl -a` on macOS.
const MACOS: Names = Names {
    kernel: ("kern.osrelease", 0),
    listen_backlog: ("kern.ipc.somaxconn", 0),
    receive_buffer: [("net.inet.tcp.recvspace", 0), ("net.inet.tcp.autorcvbufmax", 0), ("kern.ipc.maxsockbuf", 0)],
    send_buffer: [("net.inet.tcp.sendspace", 0), ("net.inet.tcp.autosndbufmax", 0), ("kern.ipc.maxsockbuf", 0)],
    congestion_control: NONE,
    congestion_controls: "",
};

/// Systems of which nothing else is known.
const OTHER: Names = Names {
    kernel: ("kern.osrelease", 0),
    listen_backlog: NONE,
    receive_buffer: [NONE; 3],
    send_buffer: [NONE; 3],
    congestion_control: NONE,
    congestion_controls: "",
};

/// The bit of `CAP_IPC_LOCK` (linux/capability.h).
const CAP_IPC_LOCK: u64 = 1 << 14;

impl Facts {
    /// The facts of this system and this process.
    pub(crate) fn read() -> Self {
        let system = std::env::consts::OS;
        let status = if system == "linux" { std::fs::read_to_string("/proc/self/status").ok() } else { None };
        let (open_files, locked_bytes) = limits();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            open_files,
            locked_bytes,
            ..Self::from_texts(system, setting, status.as_deref())
        }
    }

    /// What can be found in texts: the values of settings, and what Linux tells of a process.
    fn from_texts(system: &str, setting: impl Fn(&str) -> Option<String>, status: Option<&str>) -> Self {
        let names = match system {
            "linux" => LINUX,
            "freebsd" => FREEBSD,
            "macos" => MACOS,
            _ => OTHER,
        };
        let text = |(name, word): Word| Some(setting(name)?.split_whitespace().nth(word)?.to_owned());
        let number = |word: Word| text(word)?.parse::<u64>().ok();
        let buffer = |[initial, tuned, set]: [Word; 3]| {
            Some(BufferBytes { initial: number(initial)?, largest_tuned: number(tuned)?, largest_set: number(set) })
        };
        let field =
            |name: &str| status?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let capabilities = field("CapEff").and_then(|text| u64::from_str_radix(text, 16).ok());
        Self {
            system: system.to_owned(),
            kernel: text(names.kernel),
            locks_freely: capabilities.is_some_and(|capabilities| capabilities & CAP_IPC_LOCK != 0),
            listen_backlog: number(names.listen_backlog),
            receive_buffer: buffer(names.receive_buffer),
            send_buffer: buffer(names.send_buffer),
            congestion_control: text(names.congestion_control),
            congestion_controls: setting(names.congestion_controls)
                .map(|controls| controls.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
            io_uring_disabled: number(("kernel.io_uring_disabled", 0)),
            // SECCOMP_MODE_FILTER is 2.
            seccomp_filter: field("Seccomp").map(|mode| mode == "2"),
            ..Self::default()
        }
    }
}

/// The value of a sysctl.
fn setting(name: &str) -> Option<String> {
    if name.is_empty() || cfg!(windows) {
        return None;
    }
    let proc = std::path::Path::new("/proc/sys");
    if proc.is_dir() {
        return std::fs::read_to_string(proc.join(name.replace('.', "/"))).ok();
    }
    let told = std::process::Command::new("sysctl").args(["-n", name]).output().ok()?;
    if told.status.success() { String::from_utf8(told.stdout).ok() } else { None }
}

/// The limits on descriptors and on locked memory.
#[cfg(unix)]
fn limits() -> (Option<Limit>, Option<Limit>) {
    use rustix::process::{Resource, getrlimit};
    let limit = |resource| {
        let limit = getrlimit(resource);
        Some(Limit { soft: limit.current, hard: limit.maximum })
    };
    (limit(Resource::Nofile), limit(Resource::Memlock))
}

/// Windows has no such limits.
#[cfg(not(unix))]
fn limits() -> (Option<Limit>, Option<Limit>) {
    (None, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_linux(name: &str) -> Option<String> {
        let value = match name {
            "kernel.osrelease" => "6.1.0-18-amd64\n",
            "kernel.io_uring_disabled" => "2\n",
            "net.core.somaxconn" => "4096\n",
            "net.ipv4.tcp_rmem" => "4096\t131072\t6291456\n",
            "net.ipv4.tcp_wmem" => "4096\t16384\t4194304\n",
            "net.core.rmem_max" => "212992\n",
            "net.ipv4.tcp_congestion_control" => "cubic\n",
            "net.ipv4.tcp_available_congestion_control" => "reno cubic bbr\n",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn settings_of_linux_are_found_under_their_names() {
        let facts = Facts::from_texts("linux", on_linux, Some("CapEff:\t0000000000004000\nSeccomp:\t2\n"));
        assert_eq!(facts.kernel.as_deref(), Some("6.1.0-18-amd64"));
        assert_eq!(facts.listen_backlog, Some(4096));
        let receive = BufferBytes { initial: 131_072, largest_tuned: 6_291_456, largest_set: Some(212_992) };
        assert_eq!(facts.receive_buffer, Some(receive));
        let send = BufferBytes { initial: 16_384, largest_tuned: 4_194_304, largest_set: None };
        assert_eq!(facts.send_buffer, Some(send));
        assert_eq!(facts.congestion_control.as_deref(), Some("cubic"));
        assert_eq!(facts.congestion_controls, ["reno", "cubic", "bbr"]);
        assert_eq!(facts.io_uring_disabled, Some(2));
        assert_eq!(facts.seccomp_filter, Some(true));
        assert!(facts.locks_freely);
    }

    #[test]
    fn settings_of_freebsd_are_found_under_their_names() {
        let facts = Facts::from_texts(
            "freebsd",
            |name| match name {
                "kern.osrelease" => Some("14.2-RELEASE\n".to_owned()),
                "net.inet.tcp.recvspace" => Some("65536\n".to_owned()),
                "net.inet.tcp.recvbuf_max" => Some("2097152\n".to_owned()),
                _ => None,
            },
            None,
        );
        assert_eq!(facts.kernel.as_deref(), Some("14.2-RELEASE"));
        let receive = BufferBytes { initial: 65_536, largest_tuned: 2_097_152, largest_set: None };
        assert_eq!(facts.receive_buffer, Some(receive));
        assert_eq!((facts.send_buffer, facts.seccomp_filter, facts.locks_freely), (None, None, false));
    }

    #[test]
    fn nonsense_and_silence_are_left_out() {
        for answer in [None, Some(String::new()), Some("a b c\n".to_owned())] {
            let facts = Facts::from_texts("linux", |_| answer.clone(), Some("Seccomp\nCapEff:\tnone\n"));
            assert_eq!((facts.listen_backlog, facts.receive_buffer, facts.io_uring_disabled), (None, None, None));
            assert_eq!((facts.seccomp_filter, facts.locks_freely), (None, false));
        }
    }

    #[test]
    fn this_system_has_a_core_and_on_unix_a_limit_of_descriptors() {
        let facts = Facts::read();
        assert!(facts.cores >= 1);
        assert_eq!(facts.open_files.is_some(), cfg!(unix));
    }
}
