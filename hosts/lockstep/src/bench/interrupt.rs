//! Ctrl-C ends the measurement early; a second one ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::error::Wrong;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Listens from now on.
///
/// # Errors
/// When signals can't be listened for.
pub fn listen() -> Result<(), Wrong> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if INTERRUPTED.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    });
    Ok(())
}

/// Whether Ctrl-C was pressed.
pub fn pressed() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
