//! The plugin file of ledger-v1.

lockstep_plugin_api::export_application!(ledger_v1::application);
