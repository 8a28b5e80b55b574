//! Keeps `src/generated` in step with `proto`.
//!
//! The generated types are checked in, so that neither a user nor a reader of the crate needs a
//! protobuf compiler. This test compiles the `.proto` files with protox, which is written in Rust,
//! and compares what prost-build makes of them with the files in the tree. Run with
//! `FASTPORT_REGENERATE=1` it writes the files instead.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use prost_build::Module;

const REFRESH_COMMAND: &str = "FASTPORT_REGENERATE=1 cargo test -p fastport-protocol --test generated";

#[test]
fn the_generated_types_are_what_the_proto_files_say() {
    let directory = crate_path("src/generated");
    let expected = generate();
    if std::env::var_os("FASTPORT_REGENERATE").is_some_and(|value| value == "1") {
        write_files(&directory, &expected);
    }
    let found = read_files(&directory);

    let expected_names: Vec<_> = expected.keys().collect();
    let found_names: Vec<_> = found.keys().collect();
    assert_eq!(
        found_names, expected_names,
        "src/generated does not hold the files that proto asks for; refresh it with `{REFRESH_COMMAND}` \
         and delete what is left over"
    );
    for (name, content) in &expected {
        assert!(found[name] == *content, "src/generated/{name} is out of date; refresh it with `{REFRESH_COMMAND}`");
    }
}

/// What the `.proto` files generate: file name to content.
fn generate() -> BTreeMap<String, String> {
    let sources = read_files(&crate_path("proto")).into_keys();
    let descriptors = protox::compile(sources, [crate_path("proto")])
        .unwrap_or_else(|error| panic!("the proto files do not compile: {error:?}"));
    let requests =
        descriptors.file.into_iter().map(|file| (Module::from_protobuf_package_name(file.package()), file)).collect();
    // `Bytes` for bytes fields: a message decoded from a `Bytes` shares its memory.
    let modules =
        prost_build::Config::new().bytes(["."]).generate(requests).expect("prost-build accepts what protox compiled");
    modules
        .into_iter()
        .map(|(module, code)| {
            (
                module.to_file_name_or("root"),
                format!("// Generated from proto/*.proto, do not edit. Refresh with\n// {REFRESH_COMMAND}\n{code}"),
            )
        })
        .collect()
}

fn write_files(directory: &Path, files: &BTreeMap<String, String>) {
    for (name, content) in files {
        fs::write(directory.join(name), content)
            .unwrap_or_else(|error| panic!("cannot write src/generated/{name}: {error}"));
    }
}

fn read_files(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).expect("the directory can be listed");
    entries
        .map(|entry| {
            let path = entry.expect("the directory can be listed").path();
            let name = path.file_name().expect("an entry has a name");
            let content = fs::read_to_string(&path).expect("the directory holds text only");
            // A clone on Windows may have turned the line ends.
            (name.to_string_lossy().into_owned(), content.replace("\r\n", "\n"))
        })
        .collect()
}

fn crate_path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}
