//! Interposers, the liveness mutex and other pieces of the operating system.
