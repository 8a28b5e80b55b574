//! The message types, one module for each protobuf package.
//!
//! The code is generated from `proto/*.proto`; a test fails when it is out of date and tells the
//! command that refreshes it. The modules stand side by side because the generated code refers to
//! its neighbours as `super::commons`.

/// Package `fastport.protocols.commons`: the header and the result codes.
#[allow(clippy::pedantic)]
pub mod commons {
    include!("generated/fastport.protocols.commons.rs");
}

/// Package `fastport.protocols.tests`: ping and echo.
#[allow(clippy::pedantic)]
pub mod tests {
    include!("generated/fastport.protocols.tests.rs");
}

/// Package `fastport.protocols.benchmark`: round-trip time and throughput.
#[allow(clippy::pedantic)]
pub mod benchmark {
    include!("generated/fastport.protocols.benchmark.rs");
}

/// Package `fastport.protocols.admin`: the state of a server and its sessions.
#[allow(clippy::pedantic)]
pub mod admin {
    include!("generated/fastport.protocols.admin.rs");
}
