//! What the tests need of the system, each in its way.

#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;

#[cfg(unix)]
mod unix {
    use std::process::Child;

    use rustix::process::{Pid, Signal, kill_process};

    /// Ends a process while another thread waits for it.
    pub(crate) struct Killer(Pid);

    impl Killer {
        pub(crate) fn of(child: &Child) -> Self {
            Self(Pid::from_child(child))
        }

        pub(crate) fn kill(self) {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

#[cfg(windows)]
mod windows {
    use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};
    use std::process::Child;

    use windows_sys::Win32::System::Threading::TerminateProcess;

    /// Ends a process while another thread waits for it.
    pub(crate) struct Killer(OwnedHandle);

    impl Killer {
        pub(crate) fn of(child: &Child) -> Self {
            Self(child.as_handle().try_clone_to_owned().expect("a handle can be copied"))
        }

        pub(crate) fn kill(self) {
            // SAFETY: the handle is that of a process, and open.
            unsafe { TerminateProcess(self.0.as_raw_handle(), 1) };
        }
    }
}
