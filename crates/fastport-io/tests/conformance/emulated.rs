//! Registered I/O over the emulator, which checks every rule of the interface on the way and ends the process on a breach.

use fastport_io::{ProviderConfig, RioOptions};
use fastport_rio_emulator::{Emulator, Settings};

/// A number that is added to the seeds, to look for an order of events that the usual ones do not bring about.
const SEED_VARIABLE: &str = "FASTPORT_RIO_SEED";

/// The defaults with a change, for a provider over the emulator. What the emulator disturbs on this thread comes from
/// `seed`.
pub(crate) fn config(seed: u64, change: impl FnOnce(&mut RioOptions)) -> ProviderConfig {
    // SAFETY: the emulator keeps to the interface.
    unsafe { fastport_io::use_rio_table(fastport_rio_emulator::query) };
    let offset = std::env::var(SEED_VARIABLE).map_or(0, |seed| seed.parse().expect("FASTPORT_RIO_SEED is a number"));
    let seed = seed + offset;
    // In force until the thread of the test ends.
    std::mem::forget(Emulator::new(Settings { seed, ..Settings::default() }));
    let mut config = ProviderConfig::default();
    change(&mut config.rio);
    config
}
