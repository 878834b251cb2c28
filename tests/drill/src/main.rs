//! All long exercises of Lockstep in one binary.

fn main() {}
