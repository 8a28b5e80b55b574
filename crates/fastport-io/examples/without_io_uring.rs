//! Runs a command in a sandbox that forbids io_uring, as containers do: a seccomp filter answers its three system calls
//! with an error.
//!
//! ```text
//! cargo run -p fastport-io --example without_io_uring -- EPERM fastport doctor
//! ```
//!
//! The errors that are seen in the wild: EPERM (Docker, Podman), ENOSYS (gVisor, Android), EOPNOTSUPP (some hosters).

#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(error), Some(command)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: without_io_uring EPERM|ENOSYS|EOPNOTSUPP COMMAND [ARGUMENTS]");
        return 2.into();
    };
    let errno = match error.to_str() {
        Some("EPERM") => libc::EPERM,
        Some("ENOSYS") => libc::ENOSYS,
        Some("EOPNOTSUPP") => libc::EOPNOTSUPP,
        _ => {
            eprintln!("without_io_uring: {} is none of EPERM, ENOSYS, EOPNOTSUPP", error.display());
            return 2.into();
        }
    };
    if let Err(error) = sandbox::forbid_io_uring(errno) {
        eprintln!("without_io_uring: cannot install the filter: {error}");
        return 2.into();
    }
    let error = std::process::Command::new(&command).args(arguments).exec();
    eprintln!("without_io_uring: cannot run {}: {error}", command.display());
    2.into()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("without_io_uring: only Linux has io_uring");
    std::process::exit(2);
}

#[cfg(target_os = "linux")]
pub(crate) mod sandbox {
    use std::io;

    use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};

    /// Installs a filter under which the system calls of io_uring fail with `errno`. Commands that are run inherit it.
    pub(crate) fn forbid_io_uring(errno: i32) -> io::Result<()> {
        let mut program = [
            // The number of the system call is the first field of `struct seccomp_data` (seccomp(2)).
            statement(BPF_LD | BPF_W | BPF_ABS, 0),
            jump_if_equal(libc::SYS_io_uring_setup, 3),
            jump_if_equal(libc::SYS_io_uring_enter, 2),
            jump_if_equal(libc::SYS_io_uring_register, 1),
            statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW),
            statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32),
        ];
        let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: this option takes four numbers.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        // SAFETY: the program is as long as is said and lives until the call returns, which copies it.
        check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) })
    }

    fn statement(code: u32, value: u32) -> sock_filter {
        sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
    }

    /// Passes over `distance` instructions if the number is this one.
    fn jump_if_equal(number: libc::c_long, distance: u8) -> sock_filter {
        sock_filter { code: (BPF_JMP | BPF_JEQ | BPF_K) as u16, jt: distance, jf: 0, k: number as u32 }
    }

    fn check(result: libc::c_int) -> io::Result<()> {
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
