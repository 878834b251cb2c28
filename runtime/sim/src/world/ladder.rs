//! The story of a run as a ladder: the time at the left, then a column for each processor.

use lockstep_core::ids::Micros;

/// How wide a column is, in characters.
const COLUMN: usize = 62;

/// One line: in the column of a processor, or across both.
pub(super) fn line(now: Micros, column: Option<usize>, what: &str) -> String {
    let time = format!("{:>12.3} ms", now.0 as f64 / 1_000.0);
    match column {
        Some(0) => format!("{time}  {what:<COLUMN$} |"),
        Some(_) => format!("{time}  {:COLUMN$} | {what}", ""),
        None => format!("{time}  --- {what}"),
    }
}

/// The beginning of what does not have to be told whole.
pub(super) fn fit(what: &str) -> String {
    if what.chars().count() <= COLUMN {
        return what.into();
    }
    let mut text: String = what.chars().take(COLUMN - 2).collect();
    text.push_str("..");
    text
}
