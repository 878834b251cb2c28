//! The plugin file of standing-orders-v2.

lockstep_plugin_api::export_application!(standing_orders_v2::application);
