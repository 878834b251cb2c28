//! The plugin file of ledger-v1-deadly.

lockstep_plugin_api::export_application!(ledger_v1_deadly::application);
