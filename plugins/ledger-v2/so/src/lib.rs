//! The plugin file of ledger-v2.

lockstep_plugin_api::export_application!(ledger_v2::application);
