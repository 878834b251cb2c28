//! The client library of Lockstep.
