//! The plugin file of archive.

lockstep_plugin_api::export_application!(archive::application);
