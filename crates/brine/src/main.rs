//! The `brine` program: Salt's event bus, native.

fn main() {}
