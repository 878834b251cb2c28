//! What authors of Lockstep plugins write against.

pub mod abi;
