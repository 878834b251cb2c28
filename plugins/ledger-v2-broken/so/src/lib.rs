//! The plugin file of ledger-v2-broken.

lockstep_plugin_api::export_application!(ledger_v2_broken::application);
