//! How a test is run: with a time limit, alone where it must be, and only where its backend exists.
//!
//! Every wait of a test has a limit of its own ([`crate::rig`]). The watchdog here is for what no test can catch: a call
//! of the provider that does not return.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use fastport_io::{Backend, ProviderConfig, is_supported};

/// The longest that a test may take. Hundreds of times what the slowest one needs on one core.
const TEST_LIMIT: Duration = Duration::from_secs(if cfg!(windows) { 360 } else { 120 });

/// If set, a backend that cannot run here fails its tests; otherwise they are passed over with a message.
const REQUIRE_VARIABLE: &str = "FASTPORT_REQUIRE_BACKENDS";

/// Held shared by ordinary tests, exclusively by those that look at the whole process.
static PROCESS: RwLock<()> = RwLock::new(());

/// A test together with what it is run for.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) backend: Backend,
    pub(crate) config: ProviderConfig,
    pub(crate) test: fn(&ProviderConfig),
}

impl Case {
    /// Runs a test beside others.
    pub(crate) fn run(self) {
        let _shared = PROCESS.read().unwrap_or_else(PoisonError::into_inner);
        self.run_in_time();
    }

    /// Runs a test while no other one runs in this process: it counts descriptors, or changes limits or signals.
    pub(crate) fn run_alone(self) {
        let _exclusive = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
        self.run_in_time();
    }

    fn run_in_time(self) {
        #[cfg(feature = "sim")]
        let _network = fastport_io::sim::SimNetwork::new(1, fastport_io::sim::FaultPlan::default()).enter();
        if let Err(error) = is_supported(self.backend) {
            let required = std::env::var_os(REQUIRE_VARIABLE).is_some();
            assert!(!required, "{REQUIRE_VARIABLE} is set, but {} cannot run here: {error}", self.backend);
            eprintln!("passed over: {} cannot run here: {error}", self.backend);
            return;
        }
        let (running, ended) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            // Dropped when the test returns or panics, which ends the watchdog.
            let _running = running;
            scope.spawn(move || {
                if ended.recv_timeout(TEST_LIMIT) == Err(RecvTimeoutError::Timeout) {
                    abort(self.name);
                }
            });
            (self.test)(&self.config);
        });
    }
}

/// Written past the capture of test output, which would be lost with the process.
fn abort(name: &str) -> ! {
    let _ = writeln!(std::io::stderr(), "\ntest {name} did not end within {TEST_LIMIT:?}; a call does not return");
    std::process::abort();
}

/// Naming [`is_bound`](Self::is_bound) does not compile for a type that is `Send`: two implementations are to choose from.
pub(crate) trait BoundToItsThread<Choice> {
    fn is_bound() {}
}

impl<T> BoundToItsThread<()> for T {}
impl<T: Send> BoundToItsThread<u8> for T {}

/// The number of descriptors that this process has open. Only for tests that run alone.
#[cfg(unix)]
pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/dev/fd").expect("every Unix lists the descriptors of a process").count()
}

/// The number of handles that this process has open; Wine always says 0, so there these tests see memory only. Only for
/// tests that run alone.
#[cfg(windows)]
pub(crate) fn open_descriptors() -> usize {
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};
    let mut count = 0;
    // SAFETY: the handle stands for this process; the call writes a number.
    let counted = unsafe { GetProcessHandleCount(GetCurrentProcess(), &raw mut count) };
    assert_ne!(counted, 0, "Windows counts the handles of a process");
    count as usize
}

/// Allows the process as many descriptors as the system grants it, and returns how many that are.
#[cfg(unix)]
pub(crate) fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised to the hard one");
    limit.maximum.unwrap_or(u64::MAX)
}

/// True under Wine, which differs from Windows in a few things that tests have to know.
#[cfg(windows)]
pub(crate) fn is_wine() -> bool {
    use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
    // SAFETY: both names are C strings, and every process has that library loaded.
    let marker =
        unsafe { GetProcAddress(GetModuleHandleA(c"ntdll.dll".as_ptr().cast()), c"wine_get_version".as_ptr().cast()) };
    marker.is_some()
}
