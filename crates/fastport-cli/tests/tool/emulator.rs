//! The emulator of Registered I/O, which only a program that was built for tests has (feature `rio-emulator`).

pub(crate) use switch::{SWITCH, install};

#[cfg(all(windows, feature = "rio-emulator"))]
mod switch {
    /// Goes before the arguments of each program that the tests start.
    pub(crate) const SWITCH: &[&str] = &["--rio-emulator"];

    /// Lets this process see what the programs see.
    pub(crate) fn install() {
        // SAFETY: the emulator keeps to the interface.
        unsafe { fastport_io::use_rio_table(fastport_rio_emulator::query) };
    }
}

#[cfg(not(all(windows, feature = "rio-emulator")))]
mod switch {
    pub(crate) const SWITCH: &[&str] = &[];

    pub(crate) fn install() {}
}

#[cfg(not(feature = "rio-emulator"))]
#[test]
fn a_program_that_was_not_built_for_tests_has_no_emulator() {
    crate::process::run(&["--rio-emulator", "doctor"]).expect_code(2);
    let program = std::fs::read(env!("CARGO_BIN_EXE_fastport")).unwrap();
    let has = |word: &str| program.windows(word.len()).any(|bytes| bytes == word.as_bytes());
    assert!(has("rio-pool-size"), "names of options can be found");
    assert!(!has("rio-emulator") && !has("fastport_rio_emulator"));
}
