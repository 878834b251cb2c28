//! What authors of Lockstep plugins write against.
