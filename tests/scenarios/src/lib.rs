//! Scenario tests in the simulated world.
