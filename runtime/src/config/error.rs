//! What is wrong with a configuration file, where, and what to write instead.

use std::path::Path;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode, SourceSpan};

use super::locate::{self, Key};

/// An error in a configuration file: a diagnostic with a code, a label in the source and a help line. Shown to people
/// by [`report::render`](super::report::render).
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct ConfigError(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    code: &'static str,
    message: String,
    source_text: Option<NamedSource<String>>,
    span: SourceSpan,
    label: String,
    help: String,
}

impl Diagnostic for ConfigError {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(self.0.code))
    }
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(&self.0.help))
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.source_text.as_ref().map(|source| source as &dyn SourceCode)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.0.source_text.as_ref()?;
        let label = LabeledSpan::new_with_span(Some(self.0.label.clone()), self.0.span);
        Some(Box::new(std::iter::once(label)))
    }
}

impl ConfigError {
    /// The file can't be read.
    #[must_use]
    pub fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        ConfigError(Box::new(Parts {
            code: "LS0100",
            message: format!("cannot read {}: {error}", path.display()),
            source_text: None,
            span: (0, 0).into(),
            label: String::new(),
            help: "name the file with --config; docs/configuration.md describes its fields".into(),
        }))
    }

    /// An error in the value that `at` leads to.
    #[must_use]
    pub fn at_value(
        code: &'static str,
        text: &str,
        path: &Path,
        at: &[Key],
        message: String,
        label: &str,
        help: &str,
    ) -> Self {
        let span = locate::value(text, at).unwrap_or(0..0);
        ConfigError(Box::new(Parts {
            code,
            message,
            source_text: Some(named(path, text)),
            span: span.into(),
            label: label.into(),
            help: help.into(),
        }))
    }

    /// The reader's own error.
    pub(super) fn malformed(text: &str, path: &Path, error: &ron::error::SpannedError) -> Self {
        use ron::Error;
        let end = locate::offset(text, error.span.end.line, error.span.end.col);
        let start = locate::offset(text, error.span.start.line, error.span.start.col).min(end);
        let mut span = start..end;
        let list = |names: &[&str]| names.join(", ");
        let (message, label, help) = match &error.code {
            Error::NoSuchStructField { expected, found, .. } => {
                span = locate::word_before(text, found, end).unwrap_or(span);
                let message = format!("`{found}` is not a field of this file");
                (message, format!("expected one of {}", list(expected)), nearest(found, expected))
            }
            Error::NoSuchEnumVariant { expected, found, .. } => {
                span = locate::word_before(text, found, end).unwrap_or(span);
                (
                    format!("`{found}` is not possible here"),
                    format!("expected {}", list(expected)),
                    nearest(found, expected),
                )
            }
            Error::MissingStructField { field, .. } => {
                let message = format!("`{field}` is missing");
                (
                    message,
                    format!("expected `{field}: ...` before this"),
                    format!("write `{field}`; it has no default"),
                )
            }
            Error::DuplicateStructField { field, .. } => {
                span = locate::word_before(text, field, end).unwrap_or(span);
                (
                    format!("`{field}` stands here twice"),
                    "already given above".into(),
                    "remove one of the two".into(),
                )
            }
            code => {
                // The reader stops before the space that stands before the surprise.
                let rest = text.get(end..).unwrap_or("");
                let space = rest.len() - rest.trim_start_matches([' ', '\t']).len();
                span = end + space..end + space;
                let told = code.to_string();
                let label = told
                    .strip_prefix("Expected ")
                    .map_or_else(|| told.clone(), |rest| format!("expected {rest}"));
                let message = "the file cannot be read as RON, the notation of Rust values".into();
                (message, label, "docs/configuration.md shows a whole file".into())
            }
        };
        ConfigError(Box::new(Parts {
            code: "LS0112",
            message,
            source_text: Some(named(path, text)),
            span: span.into(),
            label,
            help,
        }))
    }
}

fn named(path: &Path, text: &str) -> NamedSource<String> {
    NamedSource::new(path.display().to_string(), text.to_string())
}

/// The word of `expected` that `found` may have been meant for.
fn nearest(found: &str, expected: &[&str]) -> String {
    let best = expected.iter().map(|word| (distance(found, word), word)).min();
    match best {
        Some((steps, word)) if steps <= 2 + word.len() / 4 => format!("did you mean `{word}`?"),
        _ => "docs/configuration.md lists the fields and their values".into(),
    }
}

/// How many letters must be changed, added or removed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
