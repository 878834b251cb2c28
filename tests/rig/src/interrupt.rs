//! Ctrl-C, seen where something is waited for: everything that was started is ended and cleared away on the way out.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::Failure;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C makes [`check`] fail; a second one ends this process at once (and, by their guard, its children).
///
/// # Errors
/// When signals can't be listened for.
pub fn listen() -> Result<(), Failure> {
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

/// Whether to go on.
///
/// # Errors
/// After a Ctrl-C.
pub fn check() -> Result<(), Failure> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(Failure::new("interrupted")) } else { Ok(()) }
}
