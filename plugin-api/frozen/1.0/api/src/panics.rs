//! Panics of the author's code: caught at every entry, with message and location, without a backtrace.
//!
//! A backtrace leaks tens of megabytes in each generation of a plugin, and the default hook asks for the thread's
//! name, which would tie a host thread to the plugin. So the hook installed here only notes the place. The note is
//! plain data in a thread-local without a destructor, which ties nothing.
//!
//! Linked into a program instead of loaded, the hook hands panics outside of entries on to the one before it.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

#[derive(Clone, Copy)]
struct Place {
    file: [u8; 160],
    file_len: u8,
    line: u32,
    column: u32,
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static PLACE: Cell<Option<Place>> = const { Cell::new(None) };
}

fn note(info: &PanicHookInfo<'_>) {
    let Some(location) = info.location() else { return };
    let mut place = Place { file: [0; 160], file_len: 0, line: location.line(), column: location.column() };
    // The end of a path says more than its beginning.
    let file = location.file().as_bytes();
    let file = &file[file.len().saturating_sub(place.file.len())..];
    place.file[..file.len()].copy_from_slice(file);
    place.file_len = file.len() as u8;
    PLACE.set(Some(place));
}

/// The hook of a loaded plugin, whose standard library is its own.
fn loaded_hook(info: &PanicHookInfo<'_>) {
    if INSIDE.get() {
        return note(info);
    }
    // A thread of the author's: there is no event to fault, but operators should know.
    let message = message_of(info.payload());
    let place = info.location().map_or_else(String::new, |location| format!(" at {location}"));
    crate::log_bridge::write(1, "panic", &format!("a thread of the plugin panicked: {message}{place}"));
}

/// Installs the hook.
pub(crate) fn install(loaded: bool) {
    if loaded {
        std::panic::set_hook(Box::new(loaded_hook));
        return;
    }
    static LINKED: Once = Once::new();
    LINKED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| if INSIDE.get() { note(info) } else { before(info) }));
    });
}

/// Takes the hook out again; where the application is linked in, it stays.
pub(crate) fn remove(loaded: bool) {
    if loaded {
        drop(std::panic::take_hook());
    }
}

fn message_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

/// Runs the author's code.
///
/// # Errors
/// Message and location, when it panicked.
pub(crate) fn caught<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    let before = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    INSIDE.set(before);
    result.map_err(|payload| {
        let message = message_of(&*payload);
        let said = match PLACE.take() {
            Some(place) => {
                let file = String::from_utf8_lossy(&place.file[..place.file_len.into()]);
                format!("{message} at {file}:{}:{}", place.line, place.column)
            }
            None => message.to_owned(),
        };
        // A payload whose drop panics must not take the host along.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        said
    })
}

/// Runs code of the author's that the host calls back: its panic is noted like any other, and goes on in the entry.
pub(crate) fn inside<R>(run: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    let before = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    INSIDE.set(before);
    result
}

/// Runs host code that a callback of the plugin leads to: its panics are not the plugin's, so the hook that was
/// there before sees them.
pub(crate) fn outside<R>(run: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    let before = INSIDE.replace(false);
    let result = catch_unwind(AssertUnwindSafe(run));
    INSIDE.set(before);
    result
}
