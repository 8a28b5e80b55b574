//! Setting a ring up: the ladder of flags, and the probe of what the kernel has.

use std::io;
use std::time::Duration;

use io_uring::{IoUring, Probe, opcode};
use rustix::io::Errno;

use super::refusal;
use crate::config::{IoUringOptions, ProviderConfig};
use crate::error::{Error, ErrorCode, Result};

/// What is used of io_uring: wanted by the options, and found in the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rungs {
    pub(super) deferred_task_work: bool,
    pub(super) extended_wait: bool,
    pub(super) multishot_accept: bool,
    pub(super) multishot_receive: bool,
    pub(super) buffer_ring: bool,
    pub(super) fixed_buffers: bool,
    pub(super) fixed_files: bool,
    /// A receive can be told to wait before it looks for data.
    pub(super) poll_first: bool,
    /// `IORING_OP_SEND_ZC` exists.
    pub(super) zero_copy_send: bool,
}

/// Set-up flags, best first. A kernel that does not know a flag answers `EINVAL`, and the next rung is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TaskFlags {
    single_issuer: bool,
    defer_taskrun: bool,
    coop_taskrun: bool,
    submit_all: bool,
}

/// The kernel gives the memory of a closed ring back a moment later, and a provider is mostly opened right after a trial
/// of the backend was closed. How often, and how long, that is waited for.
const MAX_WAITS: u32 = 40;
const WAIT: Duration = Duration::from_millis(5);

/// Builds the ring on the highest rung that the kernel grants. Wanted features that it lacks are told in `notes`.
pub(super) fn build(config: &ProviderConfig, notes: &mut Vec<String>) -> Result<(IoUring, Rungs)> {
    let options = &config.io_uring;
    let ladder = ladder(options);
    let mut depth = config.queue_depth;
    let mut rung = 0;
    let mut waits = 0;
    let ring = loop {
        match try_build(depth, ladder[rung]) {
            Ok(ring) => break ring,
            Err(error) if is(&error, Errno::INVAL) && rung + 1 < ladder.len() => rung += 1,
            // Rings count as locked memory before Linux 5.12, and again on newer kernels (seen on 6.18).
            Err(error) if is(&error, Errno::NOMEM) && depth > ProviderConfig::MIN_QUEUE_DEPTH => {
                depth = ProviderConfig::MIN_QUEUE_DEPTH;
            }
            Err(error) if is(&error, Errno::NOMEM) && waits < MAX_WAITS => {
                waits += 1;
                std::thread::sleep(WAIT);
            }
            Err(error) => return Err(refusal::explain(&error)),
        }
    };
    if rung > 0 {
        notes.push(format!("kernel refused {:?}, got {:?}", ladder[0], ladder[rung]));
    }
    if depth < config.queue_depth {
        let wanted = config.queue_depth;
        notes.push(format!("locked memory is enough for a queue of {depth} instead of {wanted}; raise 'ulimit -l'"));
    }
    let rungs = find_rungs(&ring, options, ladder[rung], notes)?;
    Ok((ring, rungs))
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn ladder(options: &IoUringOptions) -> Vec<TaskFlags> {
    let plain = TaskFlags { single_issuer: false, defer_taskrun: false, coop_taskrun: false, submit_all: true };
    let single = TaskFlags { single_issuer: options.single_issuer, ..plain };
    let mut ladder = Vec::new();
    if options.single_issuer && options.defer_taskrun {
        ladder.push(TaskFlags { defer_taskrun: true, ..single });
    }
    if options.coop_taskrun {
        ladder.push(TaskFlags { coop_taskrun: true, ..single });
        ladder.push(TaskFlags { coop_taskrun: true, ..plain });
    }
    ladder.push(single);
    ladder.push(plain);
    // 5.18 brought SUBMIT_ALL.
    ladder.push(TaskFlags { submit_all: false, ..plain });
    ladder.dedup();
    ladder
}

fn try_build(depth: u32, flags: TaskFlags) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    // Room for a burst of every kind: receives, sends and accepts of many sockets between two looks. What does not fit
    // is kept by the kernel (FEAT_NODROP), at a price.
    builder.dontfork().setup_clamp().setup_cqsize(depth * 8);
    if flags.submit_all {
        builder.setup_submit_all();
    }
    if flags.single_issuer {
        builder.setup_single_issuer();
    }
    if flags.defer_taskrun {
        builder.setup_defer_taskrun();
    }
    if flags.coop_taskrun {
        builder.setup_coop_taskrun();
    }
    builder.build(depth)
}

fn find_rungs(ring: &IoUring, options: &IoUringOptions, flags: TaskFlags, notes: &mut Vec<String>) -> Result<Rungs> {
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| Error::from(error).during("io_uring cannot be probed; it needs Linux 5.6 or newer"))?;
    let required = [
        (opcode::Accept::CODE, "ACCEPT"),
        (opcode::Connect::CODE, "CONNECT"),
        (opcode::Send::CODE, "SEND"),
        (opcode::SendMsg::CODE, "SENDMSG"),
        (opcode::Recv::CODE, "RECV"),
        (opcode::PollAdd::CODE, "POLL_ADD"),
        (opcode::Timeout::CODE, "TIMEOUT"),
        (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    ];
    if let Some((_, name)) = required.iter().find(|(code, _)| !probe.is_supported(*code)) {
        return Err(Error::new(
            ErrorCode::PlatformNotSupported,
            format!("io_uring lacks IORING_OP_{name}; it needs Linux 5.6 or newer"),
        ));
    }
    // Flags of known operations cannot be probed. Operations that came with the same release stand for them.
    let since_5_19 = probe.is_supported(opcode::Socket::CODE);
    let since_6_0 = probe.is_supported(opcode::SendZc::CODE);
    let mut want = |wanted: bool, has: bool, what: &str| {
        if wanted && !has {
            notes.push(format!("kernel lacks {what}"));
        }
        wanted && has
    };
    let buffer_ring = want(options.buffer_ring, since_5_19, "provided buffer rings (5.19)");
    Ok(Rungs {
        deferred_task_work: flags.defer_taskrun,
        extended_wait: want(options.extended_wait, ring.params().is_feature_ext_arg(), "waits with a limit (5.11)"),
        multishot_accept: want(options.multishot_accept, since_5_19, "multishot accept (5.19)"),
        multishot_receive: want(options.multishot_receive && buffer_ring, since_6_0, "multishot receive (6.0)"),
        buffer_ring,
        fixed_buffers: want(options.fixed_buffers, since_5_19, "sparse registered buffers (5.19)"),
        fixed_files: want(options.fixed_files, since_5_19, "sparse registered files (5.19)"),
        poll_first: since_5_19,
        zero_copy_send: since_6_0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_goes_from_best_to_plain_without_repeats() {
        let ladder = ladder(&IoUringOptions::default());
        assert!(ladder[0].defer_taskrun && ladder[0].single_issuer);
        let last = ladder[ladder.len() - 1];
        assert!(!last.single_issuer && !last.defer_taskrun && !last.coop_taskrun && !last.submit_all);
        for pair in ladder.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
    }

    #[test]
    fn a_switched_off_flag_is_on_no_rung() {
        let options = IoUringOptions { single_issuer: false, coop_taskrun: false, ..IoUringOptions::default() };
        assert!(ladder(&options).iter().all(|rung| !rung.single_issuer && !rung.coop_taskrun && !rung.defer_taskrun));
    }
}
