//! The plugin file of the ledger's version 1, built with plugin API 1.0.

lockstep_plugin_api::export_application!(ledger_v1::application);
