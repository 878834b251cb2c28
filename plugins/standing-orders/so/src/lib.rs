//! The plugin file of standing-orders.

lockstep_plugin_api::export_application!(standing_orders::application);
