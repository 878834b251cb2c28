//! The attribute macros of lockstep-plugin-api.
