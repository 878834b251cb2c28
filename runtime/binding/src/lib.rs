//! Binds a plugin's entries to the core's application trait.
