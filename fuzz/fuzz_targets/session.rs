//! The session's state machine against a model. The model stands beside the session, where property tests play it too.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| fastport::fuzzing::session(script));
