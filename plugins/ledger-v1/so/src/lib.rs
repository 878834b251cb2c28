//! The plugin file of ledger-v1.
