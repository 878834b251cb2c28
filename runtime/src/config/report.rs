//! How an error is shown to people: one form for both hosts.
//!
//! ```text
//! error LS0101: `listen.http` is not an address
//!    a.ron:5:20  listen: (http: "localhost 7101", ...
//!                               ^^^^^^^^^^^^^^^^ expected HOST:PORT
//!    help: write for example "127.0.0.1:7101"
//! ```
//!
//! Plain text without colours, so that it reads the same in a terminal, a log and a test.

use std::fmt::Write as _;

use miette::Diagnostic;

/// Longer source lines are cut.
const LINE_CHARS_MAX: usize = 80;

/// `error` with its code, its place in the source, its causes and its help line.
#[must_use]
pub fn render(error: &dyn Diagnostic) -> String {
    let mut out = String::from("error");
    if let Some(code) = error.code() {
        let _ = write!(out, " {code}");
    }
    let _ = writeln!(out, ": {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let _ = writeln!(out, "   because: {inner}");
        cause = inner.source();
    }
    if let (Some(source), Some(labels)) = (error.source_code(), error.labels()) {
        for label in labels {
            place(&mut out, source, &label);
        }
    }
    if let Some(help) = error.help() {
        let _ = writeln!(out, "   help: {help}");
    }
    out
}

fn place(out: &mut String, source: &dyn miette::SourceCode, label: &miette::LabeledSpan) {
    // Without a line of context only the span's own bytes would come, not the line around them.
    let Ok(contents) = source.read_span(label.inner(), 1, 1) else { return };
    let whole = String::from_utf8_lossy(contents.data());
    let before = label.offset().saturating_sub(contents.span().offset()).min(whole.len());
    let (Some(left), Some(right)) = (whole.get(..before), whole.get(before..)) else { return };
    let line_start = left.rfind('\n').map_or(0, |at| at + 1);
    let head = left[line_start..].trim_start();
    let rest = right.split('\n').next().unwrap_or("");
    let marked = right.get(..label.len().min(rest.len())).unwrap_or("").chars().count().max(1);
    let column = left[line_start..].chars().count() + 1;
    let line = contents.line() + 1 + left[..line_start].matches('\n').count();
    let name = contents.name().unwrap_or("input");
    let prefix = format!("   {name}:{line}:{column}  ");
    let shown: String = format!("{head}{rest}");
    let cut = if shown.chars().count() > LINE_CHARS_MAX {
        format!("{} ...", shown.chars().take(LINE_CHARS_MAX).collect::<String>())
    } else {
        shown
    };
    let _ = writeln!(out, "{prefix}{}", cut.trim_end());
    let indent = prefix.chars().count() + head.chars().count();
    let room = LINE_CHARS_MAX.saturating_sub(head.chars().count()).max(1);
    let marks = "^".repeat(marked.min(room));
    let _ = writeln!(out, "{:indent$}{marks} {}", "", label.label().unwrap_or(""));
}
