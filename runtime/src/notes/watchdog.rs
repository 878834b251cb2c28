//! The watchdog (R23): a thread beside the engines that looks whether a work unit returns.
//!
//! A unit that does not is noted; the note goes to the partner, and the process ends, so that the partner takes over at
//! once. It counts its own looks and not a clock, so that a process that was stopped or swapped out finds no unit hung.
//! Deliberately absent: going on without the thread that hangs; the process starts anew.

use std::sync::{Arc, Weak};
use std::time::Duration;

use lockstep_core::ids::NodeId;
use lockstep_os::unit_page::decode;
use lockstep_os::unit_page::signals::Guard;

/// A unit did not return.
const HUNG: &str = "LS0643";
/// How often is looked.
const LOOK: Duration = Duration::from_millis(10);

/// One group that is watched.
struct Watched {
    label: Arc<str>,
    guard: Weak<Guard>,
    /// The piece that ran at the last look, and how many looks have found it.
    seen: (u64, u64),
}

/// Watches the groups of `node` until they are gone.
///
/// # Errors
/// When there is no thread for it.
pub fn launch(node: &NodeId, groups: Vec<(Arc<str>, Arc<Guard>)>) -> std::io::Result<()> {
    let watched = groups.iter().map(|(label, guard)| Watched {
        label: label.clone(),
        guard: Arc::downgrade(guard),
        seen: (0, 0),
    });
    let (mut watched, node) = (watched.collect::<Vec<_>>(), node.clone());
    drop(groups);
    let watch = move || {
        while !watched.is_empty() {
            std::thread::sleep(LOOK);
            watched.retain_mut(|group| match group.guard.upgrade() {
                Some(guard) => {
                    look(group, &guard, &node);
                    true
                }
                None => false,
            });
        }
    };
    std::thread::Builder::new().name("watchdog".into()).spawn(watch).map(drop)
}

fn look(group: &mut Watched, guard: &Guard, node: &NodeId) {
    let Some((piece, hang_ms)) = guard.page().running() else {
        group.seen = (0, 0);
        return;
    };
    group.seen = if group.seen.0 == piece { (piece, group.seen.1 + 1) } else { (piece, 0) };
    let ms = group.seen.1 * LOOK.as_millis() as u64;
    if ms < hang_ms {
        return;
    }
    let Some(note) = guard.page().mark_hung(piece, ms) else { return };
    let told = guard.send(&note);
    let left = decode(&note);
    tracing::error!(
        code = HUNG,
        application = &*group.label,
        %node,
        procedure = left.as_ref().map(|left| left.procedure.as_str()),
        unit = left.as_ref().map(|left| left.unit.as_str()),
        ms,
        told,
        "a work unit does not return; this processor ends, and its partner takes over (R23)"
    );
    std::process::abort();
}
