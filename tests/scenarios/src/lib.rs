//! Scenario tests in the simulated world; see `tests/`.
#![forbid(unsafe_code)]
