//! The header that C programs include is the one that this crate describes.

// The header is the same for every system, and what makes it asks cargo, which is not at hand where Windows is emulated.
#![cfg(not(windows))]

use std::path::Path;

/// Set to write the header instead of comparing it.
const WRITE_VARIABLE: &str = "FASTPORT_WRITE_HEADER";

#[test]
fn the_checked_in_header_is_current() {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = crate_directory.join("../../include/fastport/fastport.h");
    let config = cbindgen::Config::from_file(crate_directory.join("cbindgen.toml")).expect("cbindgen.toml is readable");
    let mut made = Vec::new();
    cbindgen::Builder::new()
        .with_crate(crate_directory)
        .with_config(config)
        .generate()
        .expect("a header can be made of this crate")
        .write(&mut made);
    let made = String::from_utf8(made).expect("a header is text");
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        std::fs::write(&header, &made).expect("the header can be written");
    }
    let checked_in = std::fs::read_to_string(&header).expect("the header is checked in");
    assert!(
        checked_in == made,
        "{} is not current; run {WRITE_VARIABLE}=1 cargo test -p fastport-capi --test header",
        header.display()
    );
}
