//! The plugin file of ledger-v2-broken.
