//! What to change, and how: the doctor's judgement on what it found.

use serde::Serialize;

use super::facts::Facts;
use super::report::BackendReport;

/// Something that keeps FastPort below what this machine could do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    /// What is so, and what follows from it.
    pub(crate) problem: String,
    /// The command, or the setting, that changes it.
    pub(crate) remedy: String,
}

/// Descriptors below which a busy server turns clients away.
const ENOUGH_FILES: u64 = 65_536;
/// Waiting connections below which a burst of clients is refused.
const ENOUGH_BACKLOG: u64 = 1024;
/// Bytes under way that fill 1 Gbit/s at a round trip of 10 ms.
const ENOUGH_BUFFER_BYTES: u64 = 1_250_000;
/// Bytes of registered memory: what one worker's pools take by default.
const ENOUGH_LOCKED_BYTES: u64 = 8 << 20;

/// Everything that should be changed, the most important first.
pub(crate) fn advise(facts: &Facts, backends: &[BackendReport]) -> Vec<Advice> {
    let io_uring = backends.iter().find(|it| it.name == "io_uring" && facts.system == "linux");
    let refusal = io_uring.and_then(|it| it.reason.as_deref());
    let mut advice = Vec::new();
    if refusal.is_some() {
        advice.extend(allow_io_uring(facts));
    }
    advice.extend(raise_open_files(facts));
    // What io_uring might lock does not matter where it is refused for another reason.
    if refusal.is_none_or(|reason| reason.contains("locked memory")) {
        advice.extend(raise_locked_memory(facts));
    }
    advice.extend(raise_backlog(facts));
    advice.extend(raise_buffers(facts));
    advice
}

fn allow_io_uring(facts: &Facts) -> Vec<Advice> {
    let mut advice = Vec::new();
    if let Some(level @ 1..) = facts.io_uring_disabled {
        advice.push(Advice {
            problem: format!("kernel.io_uring_disabled is {level}: the fastest backend is switched off"),
            remedy: "sysctl -w kernel.io_uring_disabled=0".to_owned(),
        });
    }
    if facts.seccomp_filter == Some(true) {
        advice.push(Advice {
            problem: "a seccomp filter is in force, as in most containers: it may forbid the fastest backend"
                .to_owned(),
            remedy: "docker run --security-opt seccomp=PROFILE.json, with io_uring_setup, io_uring_enter and \
                     io_uring_register among the allowed calls (to try it out: seccomp=unconfined)"
                .to_owned(),
        });
    }
    advice
}

fn raise_open_files(facts: &Facts) -> Option<Advice> {
    let most = facts.open_files?.hard.filter(|&most| most < ENOUGH_FILES)?;
    Some(Advice {
        problem: format!("a process may open {most} files: no more sessions than that"),
        remedy: "ulimit -Hn 1048576 (as root), or LimitNOFILE=1048576 in the unit of systemd".to_owned(),
    })
}

fn raise_locked_memory(facts: &Facts) -> Option<Advice> {
    if facts.system != "linux" || facts.locks_freely {
        return None;
    }
    let bytes = facts.locked_bytes?.soft.filter(|&bytes| bytes < ENOUGH_LOCKED_BYTES)?;
    Some(Advice {
        problem: format!(
            "{bytes} bytes of memory may be locked: too little for io_uring's queues and registered buffers"
        ),
        remedy: "ulimit -l unlimited (as root), or LimitMEMLOCK=infinity in the unit of systemd".to_owned(),
    })
}

fn raise_backlog(facts: &Facts) -> Option<Advice> {
    let backlog = facts.listen_backlog.filter(|&backlog| backlog < ENOUGH_BACKLOG)?;
    let name = match facts.system.as_str() {
        "linux" => "net.core.somaxconn",
        "freebsd" => "kern.ipc.soacceptqueue",
        _ => "kern.ipc.somaxconn",
    };
    let assign = if facts.system == "linux" { "sysctl -w" } else { "sysctl" };
    Some(Advice {
        problem: format!("{backlog} connections may wait to be accepted: a burst of clients is refused"),
        remedy: format!("{assign} {name}=4096"),
    })
}

fn raise_buffers(facts: &Facts) -> Vec<Advice> {
    // Elsewhere the names differ from version to version.
    if facts.system != "linux" {
        return Vec::new();
    }
    [
        ("receive", facts.receive_buffer, "net.ipv4.tcp_rmem='4096 131072 6291456'"),
        ("send", facts.send_buffer, "net.ipv4.tcp_wmem='4096 16384 4194304'"),
    ]
    .into_iter()
    .filter_map(|(which, buffer, setting)| {
        let bytes = buffer?.largest_tuned;
        (bytes < ENOUGH_BUFFER_BYTES).then(|| Advice {
            problem: format!("{which} buffers grow to {bytes} bytes only: large packets crawl on long ways"),
            remedy: format!("sysctl -w {setting}"),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::facts::{BufferBytes, Limit};
    use super::*;
    use fastport_io::{Backend, Error, ErrorCode};

    fn healthy() -> Facts {
        let buffer = BufferBytes { initial: 131_072, largest_tuned: 6_291_456, largest_set: Some(212_992) };
        Facts {
            system: "linux".to_owned(),
            cores: 8,
            open_files: Some(Limit { soft: Some(1024), hard: Some(1_048_576) }),
            locked_bytes: Some(Limit { soft: Some(8 << 20), hard: Some(8 << 20) }),
            listen_backlog: Some(4096),
            receive_buffer: Some(buffer),
            send_buffer: Some(buffer),
            io_uring_disabled: Some(0),
            seccomp_filter: Some(false),
            ..Facts::default()
        }
    }

    fn refused() -> BackendReport {
        refused_by("blocked")
    }

    fn refused_by(reason: &'static str) -> BackendReport {
        BackendReport::new(Backend::IoUring, false, Err(Error::new(ErrorCode::PlatformNotSupported, reason)))
    }

    fn remedies(facts: &Facts, backends: &[BackendReport]) -> String {
        advise(facts, backends).into_iter().map(|advice| advice.remedy + "\n").collect()
    }

    #[test]
    fn a_healthy_system_gets_no_advice() {
        assert_eq!(advise(&healthy(), &[]), []);
    }

    #[test]
    fn a_system_of_which_nothing_is_known_gets_no_advice() {
        assert_eq!(advise(&Facts { system: "plan9".to_owned(), ..Facts::default() }, &[refused()]), []);
    }

    #[test]
    fn the_cause_of_a_refusal_is_turned_into_its_remedy() {
        let by_sysctl = Facts { io_uring_disabled: Some(2), ..healthy() };
        assert_eq!(remedies(&by_sysctl, &[refused()]), "sysctl -w kernel.io_uring_disabled=0\n");
        let by_filter = Facts { seccomp_filter: Some(true), ..healthy() };
        assert!(remedies(&by_filter, &[refused()]).contains("--security-opt"));
        // A filter that lets io_uring pass is none of our business.
        assert_eq!(remedies(&by_filter, &[]), "");
    }

    #[test]
    fn low_limits_are_told_with_the_command_that_raises_them() {
        let few = Some(Limit { soft: Some(1024), hard: Some(4096) });
        assert!(remedies(&Facts { open_files: few, ..healthy() }, &[]).contains("LimitNOFILE"));
        assert!(remedies(&Facts { listen_backlog: Some(128), ..healthy() }, &[]).contains("net.core.somaxconn=4096"));
        let small = Some(BufferBytes { initial: 4096, largest_tuned: 212_992, largest_set: None });
        assert!(remedies(&Facts { receive_buffer: small, ..healthy() }, &[]).contains("tcp_rmem"));
        assert!(remedies(&Facts { send_buffer: small, ..healthy() }, &[]).contains("tcp_wmem"));
    }

    #[test]
    fn locked_memory_matters_to_processes_that_the_limit_binds() {
        let little = Some(Limit { soft: Some(65_536), hard: Some(65_536) });
        let bound = Facts { locked_bytes: little, ..healthy() };
        assert!(remedies(&bound, &[]).contains("LimitMEMLOCK"));
        let starved = "not enough locked memory for the rings (ENOMEM)";
        assert!(remedies(&bound, &[refused_by(starved)]).contains("LimitMEMLOCK"));
        assert_eq!(remedies(&bound, &[refused_by("this kernel has no io_uring (ENOSYS)")]), "");
        assert_eq!(remedies(&Facts { locks_freely: true, ..bound }, &[]), "");
    }
}
