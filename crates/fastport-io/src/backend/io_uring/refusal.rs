//! Why the kernel refuses io_uring, and what to do: the sentence for a failed `io_uring_setup(2)`.
//!
//! The error number alone does not tell. `EPERM` comes from a sysctl, from a seccomp filter or from a security module;
//! `ENOSYS` from an old kernel, from one that was built without io_uring, or from a filter that hides it. So the facts
//! that tell them apart are read along.

use std::io;

use rustix::io::Errno;

use crate::error::{Error, ErrorCode};

/// The error for a refusal of `io_uring_setup(2)`.
pub(super) fn explain(refusal: &io::Error) -> Error {
    explain_with(refusal, Circumstances::read())
}

/// What the process is subject to.
#[derive(Clone, Copy, Debug, Default)]
struct Circumstances {
    /// `kernel.io_uring_disabled` (since Linux 6.6): 1 forbids it to processes without privileges, 2 to all.
    sysctl: u8,
    /// The process has `CAP_SYS_ADMIN`, which the value 1 of the sysctl lets pass.
    is_admin: bool,
    /// A seccomp filter is installed.
    is_filtered: bool,
}

/// The bit of `CAP_SYS_ADMIN` (linux/capability.h).
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// `SECCOMP_MODE_FILTER` (linux/seccomp.h).
const SECCOMP_MODE_FILTER: &str = "2";

const ALLOW: &str = "allow io_uring_setup, io_uring_enter and io_uring_register in the sandbox's profile";

impl Circumstances {
    fn read() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/sys/kernel/io_uring_disabled"), &read("/proc/self/status"))
    }

    /// From the texts of the sysctl and of `/proc/self/status`. What is missing restricts nothing.
    fn parse(sysctl: &str, status: &str) -> Self {
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map_or("", str::trim)
        };
        let capabilities = u64::from_str_radix(field("CapEff"), 16).unwrap_or(0);
        Self {
            sysctl: sysctl.trim().parse().unwrap_or(0),
            is_admin: capabilities & CAP_SYS_ADMIN != 0,
            is_filtered: field("Seccomp") == SECCOMP_MODE_FILTER,
        }
    }

    fn is_forbidden_by_sysctl(self) -> bool {
        self.sysctl >= 2 || (self.sysctl == 1 && !self.is_admin)
    }
}

fn explain_with(refusal: &io::Error, circumstances: Circumstances) -> Error {
    let Some(os_code) = refusal.raw_os_error() else {
        return Error::new(ErrorCode::OperationFailed, format!("io_uring_setup failed: {refusal}"));
    };
    let errno = Errno::from_raw_os_error(os_code);
    let forbidden = |advice: String| Error::new(ErrorCode::PlatformNotSupported, advice);
    match errno {
        Errno::PERM if circumstances.is_forbidden_by_sysctl() => forbidden(by_sysctl(circumstances)),
        Errno::NOSYS if !circumstances.is_filtered => forbidden(
            "this kernel has no io_uring (ENOSYS); it needs Linux 5.6 or newer with CONFIG_IO_URING".to_owned(),
        ),
        Errno::PERM | Errno::ACCESS | Errno::NOSYS | Errno::OPNOTSUPP => match (circumstances.is_filtered, name(errno))
        {
            (true, name) => forbidden(format!("blocked by seccomp ({name}); {ALLOW}")),
            (false, name) => forbidden(format!("blocked by a security module or sandbox ({name}); {ALLOW}")),
        },
        Errno::NOMEM => Error::from_os(os_code)
            .during("not enough locked memory for the rings (ENOMEM); raise 'ulimit -l' or lower the queue depth"),
        Errno::MFILE | Errno::NFILE => Error::from_os(os_code).during("no file descriptors left; raise 'ulimit -n'"),
        _ => Error::from_os(os_code).during("io_uring_setup failed"),
    }
}

fn by_sysctl(circumstances: Circumstances) -> String {
    let mut advice = match circumstances.sysctl {
        1 => "disabled for processes without privileges by sysctl kernel.io_uring_disabled=1; set it to 0 with \
              'sysctl -w kernel.io_uring_disabled=0', or name a group of this user in kernel.io_uring_group"
            .to_owned(),
        level => format!(
            "disabled by sysctl kernel.io_uring_disabled={level}; set it to 0 with 'sysctl -w kernel.io_uring_disabled=0'"
        ),
    };
    if circumstances.is_filtered {
        advice.push_str("; a seccomp filter is in force as well and may forbid it, too");
    }
    advice
}

fn name(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => "EPERM",
        Errno::ACCESS => "EACCES",
        Errno::NOSYS => "ENOSYS",
        _ => "EOPNOTSUPP",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Circumstances = Circumstances { sysctl: 0, is_admin: true, is_filtered: false };
    const FILTERED: Circumstances = Circumstances { is_filtered: true, ..FREE };

    fn explained(errno: Errno, circumstances: Circumstances) -> String {
        let refusal = io::Error::from_raw_os_error(errno.raw_os_error());
        explain_with(&refusal, circumstances).to_string()
    }

    #[test]
    fn a_filter_is_told_from_a_sysctl_and_from_an_old_kernel() {
        for (errno, circumstances, words) in [
            (Errno::PERM, FILTERED, "blocked by seccomp (EPERM)"),
            (Errno::NOSYS, FILTERED, "blocked by seccomp (ENOSYS)"),
            (Errno::OPNOTSUPP, FILTERED, "blocked by seccomp (EOPNOTSUPP)"),
            (Errno::PERM, FREE, "security module"),
            (Errno::NOSYS, FREE, "5.6"),
            (Errno::PERM, Circumstances { sysctl: 2, ..FREE }, "sysctl -w kernel.io_uring_disabled=0"),
            (Errno::PERM, Circumstances { sysctl: 1, is_admin: false, ..FREE }, "without privileges"),
        ] {
            let text = explained(errno, circumstances);
            assert!(text.contains(words), "{errno:?} with {circumstances:?}: {text}");
        }
    }

    #[test]
    fn a_sysctl_that_lets_this_process_pass_is_not_blamed() {
        let text = explained(Errno::PERM, Circumstances { sysctl: 1, is_admin: true, is_filtered: true });
        assert!(text.contains("seccomp") && !text.contains("sysctl"), "{text}");
    }

    #[test]
    fn two_causes_at_once_are_both_named() {
        let text = explained(Errno::PERM, Circumstances { sysctl: 2, is_admin: true, is_filtered: true });
        assert!(text.contains("io_uring_disabled=2") && text.contains("seccomp"), "{text}");
    }

    #[test]
    fn exhausted_limits_say_which_to_raise() {
        assert!(explained(Errno::NOMEM, FREE).contains("ulimit -l"));
        assert!(explained(Errno::MFILE, FREE).contains("ulimit -n"));
    }

    #[test]
    fn circumstances_are_read_from_what_the_kernel_writes() {
        let status = "Name:\tserver\nCapEff:\t000001ffffffffff\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let read = Circumstances::parse("2\n", status);
        assert!(read.sysctl == 2 && read.is_admin && read.is_filtered);
        let read = Circumstances::parse("", "CapEff:\t0000000000000000\nSeccomp:\t0\n");
        assert!(read.sysctl == 0 && !read.is_admin && !read.is_filtered);
        let read = Circumstances::parse("", "");
        assert!(read.sysctl == 0 && !read.is_admin && !read.is_filtered);
    }
}
