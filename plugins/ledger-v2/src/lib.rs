//! The plugin file of ledger-v2.
