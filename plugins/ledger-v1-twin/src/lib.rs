//! The plugin file of ledger-v1-twin.
