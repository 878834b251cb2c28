//! The spans of a loaded plugin's `tracing`: their names and fields stand before the lines that are written in them.
//!
//! Deliberately absent: times of spans; spans of other subscribers; thread-locals with a destructor, which would tie
//! a thread to the library: the stack of a thread is a fixed array.
//!
//! Invariant: at most [`SPANS_MAX`] spans are kept, and none after [`clear`].

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Spans that are open at once; more have no name.
const SPANS_MAX: usize = 1_024;
/// Spans of a thread that are entered at once; deeper ones are not told.
const DEPTH_MAX: usize = 16;

struct Span {
    text: String,
    uses: usize,
}

struct Open {
    next: u64,
    spans: BTreeMap<u64, Span>,
}

static OPEN: Mutex<Open> = Mutex::new(Open { next: 1, spans: BTreeMap::new() });

thread_local! {
    static ENTERED: Cell<([u64; DEPTH_MAX], usize)> = const { Cell::new(([0; DEPTH_MAX], 0)) };
}

fn open() -> MutexGuard<'static, Open> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a span that is told as `text`; its number, from 1.
pub(crate) fn begin(text: String) -> u64 {
    let mut open = open();
    let number = open.next;
    open.next += 1;
    if open.spans.len() < SPANS_MAX {
        open.spans.insert(number, Span { text, uses: 1 });
    }
    number
}

/// Adds fields to a span.
pub(crate) fn add(number: u64, fields: &str) {
    if let Some(span) = open().spans.get_mut(&number) {
        span.text.push(' ');
        span.text.push_str(fields);
    }
}

/// One more holds the span.
pub(crate) fn hold(number: u64) {
    if let Some(span) = open().spans.get_mut(&number) {
        span.uses += 1;
    }
}

/// One less does; true when nobody holds it any more.
pub(crate) fn release(number: u64) -> bool {
    let mut open = open();
    let Some(span) = open.spans.get_mut(&number) else { return true };
    span.uses -= 1;
    let over = span.uses == 0;
    if over {
        open.spans.remove(&number);
    }
    over
}

/// This thread enters a span.
pub(crate) fn enter(number: u64) {
    let (mut numbers, depth) = ENTERED.get();
    if let Some(place) = numbers.get_mut(depth) {
        *place = number;
    }
    ENTERED.set((numbers, depth.saturating_add(1)));
}

/// This thread leaves the span that it entered last.
pub(crate) fn exit() {
    let (numbers, depth) = ENTERED.get();
    ENTERED.set((numbers, depth.saturating_sub(1)));
}

/// The spans that this thread is in, outermost first, each with a colon and a space behind it.
pub(crate) fn prefix() -> String {
    let (numbers, depth) = ENTERED.get();
    let mut text = String::new();
    if depth == 0 {
        return text;
    }
    let open = open();
    for span in numbers.iter().take(depth).filter_map(|number| open.spans.get(number)) {
        // Writing to a string can't fail.
        let _ = write!(text, "{}: ", span.text);
    }
    text
}

/// Forgets all spans.
pub(crate) fn clear() {
    open().spans.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_the_spans_that_they_are_written_in_and_no_span_stays() {
        let outer = begin("pay{to=bob}".into());
        let inner = begin("look".into());
        enter(outer);
        enter(inner);
        add(inner, "at=3");
        assert_eq!(prefix(), "pay{to=bob}: look at=3: ");
        exit();
        hold(outer);
        assert!(!release(outer), "one more holds it");
        assert_eq!(prefix(), "pay{to=bob}: ");
        exit();
        assert!(release(outer) && release(inner));
        assert_eq!(prefix(), "");
        for _ in 0..2 * DEPTH_MAX {
            enter(begin("deep".into()));
        }
        assert_eq!(prefix().matches("deep").count(), DEPTH_MAX);
        (0..2 * DEPTH_MAX).for_each(|_| exit());
        clear();
        assert!(open().spans.is_empty());
    }
}
