//! The embedded database of a group: redo log, checkpoint, recovery.
