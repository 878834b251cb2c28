//! Checks, probes, loads and really unloads plugins.
