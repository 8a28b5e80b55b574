//! A provider over the emulator, with the rig's books.

use fastport_io::{PoolConfig, ProviderConfig, Rio};
use fastport_rio_emulator::{Census, Emulator, Settings};

use crate::rig::Rig;

/// The provider goes first, so that its end is watched too.
pub(crate) struct Emulated {
    pub(crate) rig: Rig<Rio>,
    pub(crate) emulator: Emulator,
}

impl Emulated {
    pub(crate) fn open(config: &ProviderConfig) -> Self {
        Self::with_seed(1, config)
    }

    pub(crate) fn with_seed(seed: u64, config: &ProviderConfig) -> Self {
        Self::with_settings(Settings { seed, ..Settings::default() }, config)
    }

    pub(crate) fn with_settings(settings: Settings, config: &ProviderConfig) -> Self {
        install();
        let emulator = Emulator::new(settings);
        Self { rig: Rig::open(config), emulator }
    }

    pub(crate) fn census(&self) -> Census {
        self.emulator.census()
    }

    /// Drops the provider and checks that the system has everything back.
    #[track_caller]
    pub(crate) fn assert_all_given_back(self) {
        let Self { rig, emulator } = self;
        drop(rig);
        let census = emulator.census();
        assert_eq!((census.completion_queues, census.request_queues), (0, 0));
        assert_eq!((census.charged_entries, census.outstanding), (0, 0));
        assert_eq!(census.buffers, 0, "memory is still registered");
    }
}

pub(crate) fn install() {
    // SAFETY: the emulator keeps to the interface.
    unsafe { fastport_io::use_rio_table(fastport_rio_emulator::query) };
}

/// A small pool with room to grow.
pub(crate) const fn pool(slot_bytes: usize, initial_slots: u32, max_slots: u32) -> PoolConfig {
    PoolConfig { slot_bytes, initial_slots, max_slots }
}
