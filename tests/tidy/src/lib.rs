//! Tests that keep layout, dependencies and unsafe code in order.
