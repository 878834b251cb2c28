//! A Lockstep processor.

fn main() {}
