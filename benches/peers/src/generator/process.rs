//! What the kernel tells of a process: CPU time and memory.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// CPU time of all threads of a process, softirq work in their context included.
pub(crate) fn cpu_time(pid: Option<u32>) -> Duration {
    let Some(pid) = pid else { return Duration::ZERO };
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    threads.flatten().map(|thread| thread_time(&thread.path())).sum()
}

/// `schedstat` counts nanoseconds, `stat` only ticks of 10 ms.
fn thread_time(thread: &Path) -> Duration {
    let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0))
}

/// Resident memory; 0 if it cannot be read.
pub(crate) fn resident_kib(pid: Option<u32>) -> u64 {
    let Some(pid) = pid else { return 0 };
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

/// Time that all cores together were busy.
pub(crate) fn machine_time() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy: u64 = ticks.iter().take(8).enumerate().filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, t)| t).sum();
    Duration::from_millis(busy * 10)
}
