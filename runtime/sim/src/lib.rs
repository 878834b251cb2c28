//! A simulated world that drives the real core.
