//! The `fastport` tool.
fn main() {}
