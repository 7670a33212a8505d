//! Chores: checks, real Salt for the tests, captures.

fn main() {}
