//! The operators' command line of Lockstep.

fn main() {}
