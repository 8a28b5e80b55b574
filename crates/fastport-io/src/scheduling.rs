//! How a thread competes with other threads for its core.

use std::fmt;
use std::marker::PhantomData;

use crate::error::Result;

/// How a thread competes with other threads for its core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// As the thread is set up already. Where nobody has set up anything, a thread that something has come for displaces one
    /// that computes.
    #[default]
    Inherited,
    /// It displaces nobody: `SCHED_BATCH` of Linux (sched(7)), which needs no privilege. What comes while another thread has
    /// the core is handled in one go when that thread sleeps, or when its time slice is over, up to some milliseconds later.
    /// On a core that nobody else wants it makes no difference.
    Batch,
}

impl Scheduling {
    /// Sets up the calling thread, until what is returned is dropped.
    ///
    /// # Errors
    /// `PlatformNotSupported` for [`Scheduling::Batch`] on other systems than Linux; what the system says if it refuses
    /// (pthread_setschedparam(3)).
    pub fn enter(self) -> Result<Scheduled> {
        let before = match self {
            Self::Inherited => None,
            Self::Batch => Some(system::enter_batch()?),
        };
        Ok(Scheduled { before, on_this_thread: PhantomData })
    }
}

/// The calling thread is scheduled as [`Scheduling::enter`] was asked to; afterwards as before.
#[must_use = "the thread is scheduled as before when this is dropped"]
pub struct Scheduled {
    before: Option<system::Schedule>,
    on_this_thread: PhantomData<*const ()>,
}

impl Drop for Scheduled {
    fn drop(&mut self) {
        if let Some(before) = self.before.take()
            && let Err(error) = system::set(&before)
        {
            tracing::warn!(%error, "the thread keeps its batch scheduling");
        }
    }
}

impl fmt::Debug for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.before.is_some() { "batch scheduling" } else { "the scheduling that was there" })
    }
}

#[cfg(target_os = "linux")]
mod system {
    use crate::error::{Error, Result};

    /// A policy with its parameters.
    pub(super) struct Schedule {
        policy: libc::c_int,
        parameters: libc::sched_param,
    }

    impl Schedule {
        fn batch() -> Self {
            // SAFETY: plain numbers, for which zero is a value; it is the only priority of this policy.
            Self { policy: libc::SCHED_BATCH, parameters: unsafe { std::mem::zeroed() } }
        }
    }

    /// Returns what was in force before.
    pub(super) fn enter_batch() -> Result<Schedule> {
        let mut before = Schedule::batch();
        let (policy, parameters) = (&raw mut before.policy, &raw mut before.parameters);
        // SAFETY: pthread_self names the calling thread, which lives; both targets are valid for writes.
        checked(unsafe { libc::pthread_getschedparam(libc::pthread_self(), policy, parameters) })?;
        set(&Schedule::batch())?;
        Ok(before)
    }

    pub(super) fn set(schedule: &Schedule) -> Result<()> {
        // SAFETY: pthread_self names the calling thread, which lives; the parameters are only read.
        let code = unsafe {
            libc::pthread_setschedparam(libc::pthread_self(), schedule.policy, &raw const schedule.parameters)
        };
        checked(code)
    }

    /// These calls return the error's number.
    fn checked(code: libc::c_int) -> Result<()> {
        if code == 0 { Ok(()) } else { Err(Error::from_os(code).during("cannot set the thread's scheduling")) }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use crate::error::{Error, ErrorCode, Result};

    /// There is none.
    pub(super) enum Schedule {}

    pub(super) fn enter_batch() -> Result<Schedule> {
        Err(Error::new(
            ErrorCode::PlatformNotSupported,
            "batch scheduling is Linux's; here threads keep the scheduling that they inherit".to_owned(),
        ))
    }

    pub(super) fn set(schedule: &Schedule) -> Result<()> {
        match *schedule {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy of the calling thread, proc_pid_stat(5).
    #[cfg(target_os = "linux")]
    fn policy() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let behind_the_name = stat.rsplit(')').next().unwrap();
        behind_the_name.split_whitespace().nth(38).unwrap().parse().unwrap()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_is_scheduled_in_batches_until_the_guard_is_dropped() {
        let before = policy();
        let inherited = Scheduling::Inherited.enter().unwrap();
        assert_eq!(policy(), before);
        let batch = Scheduling::Batch.enter().unwrap();
        assert_eq!(policy(), libc::SCHED_BATCH);
        drop(batch);
        assert_eq!(policy(), before);
        drop(inherited);
        assert_eq!(policy(), before);
    }

    #[test]
    #[cfg(not(target_os = "linux"))]
    fn other_systems_say_that_they_have_no_batch_scheduling() {
        drop(Scheduling::Inherited.enter().unwrap());
        let error = Scheduling::Batch.enter().unwrap_err();
        assert_eq!(error.code(), crate::ErrorCode::PlatformNotSupported);
        assert!(error.to_string().contains("Linux"), "{error}");
    }
}
