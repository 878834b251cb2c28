//! The plugin file of ledger-v1-twin.

lockstep_plugin_api::export_application!(ledger_v1_twin::application);
