//! Where a value stands in a RON text, for pointing at it in errors.
//!
//! Reads only texts that `ron` has read already, so it needs no errors of its own: a text that it can't follow gives
//! no place, never a panic.

use std::ops::Range;

/// One step into a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A struct's field.
    Field(&'static str),
    /// A list's element, or an enum variant's or tuple's part.
    At(usize),
}

/// The place of the value that `path` leads to; of the nearest value around it that is written down, if it is not.
pub fn value(text: &str, path: &[Key]) -> Option<Range<usize>> {
    let mut cursor = Cursor { text, at: 0 };
    cursor.skip_space();
    let mut found = cursor.at..cursor.skip_value()?;
    for key in path {
        match part(text, found.clone(), *key) {
            Some(inner) => found = inner,
            None => break,
        }
    }
    Some(found)
}

/// The part `key` of the value that stands at `whole`.
fn part(text: &str, whole: Range<usize>, key: Key) -> Option<Range<usize>> {
    let mut cursor = Cursor { text, at: whole.start };
    cursor.skip_word();
    cursor.skip_space();
    cursor.take(&['(', '[', '{'])?;
    let mut index = 0;
    loop {
        cursor.skip_space();
        if cursor.at >= whole.end || cursor.take(&[')', ']', '}']).is_some() {
            return None;
        }
        let start = cursor.at;
        let word = cursor.skip_word();
        cursor.skip_space();
        let named = !word.is_empty() && cursor.take(&[':']).is_some();
        if named {
            cursor.skip_space();
        } else {
            cursor.at = start;
        }
        let value = cursor.at..cursor.skip_value()?;
        let hit = match key {
            Key::Field(name) => named && &text[word] == name,
            Key::At(wanted) => !named && index == wanted,
        };
        if hit {
            return Some(value);
        }
        index += 1;
        cursor.skip_space();
        cursor.take(&[',']);
    }
}

/// The last place before `end` where `word` stands by itself.
pub fn word_before(text: &str, word: &str, end: usize) -> Option<Range<usize>> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut hits: Vec<_> = text.get(..end)?.match_indices(word).map(|(at, _)| at..at + word.len()).collect();
    hits.retain(|hit| {
        !text[..hit.start].chars().next_back().is_some_and(is_part)
            && !text[hit.end..].chars().next().is_some_and(is_part)
    });
    hits.pop()
}

/// The byte offset of a line and a column, both counted from 1 in characters.
pub fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(start..).unwrap_or("");
    let inside: usize = rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
    start + inside
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, wanted: &[char]) -> Option<char> {
        let found = self.peek().filter(|c| wanted.contains(c))?;
        self.at += found.len_utf8();
        Some(found)
    }

    fn skip_while(&mut self, good: impl Fn(char) -> bool) -> Range<usize> {
        let start = self.at;
        let length = self.rest().find(|c| !good(c)).unwrap_or(self.rest().len());
        self.at += length;
        start..self.at
    }

    fn skip_word(&mut self) -> Range<usize> {
        self.skip_while(|c| c.is_alphanumeric() || c == '_')
    }

    /// Spaces, comments and attributes such as `#![enable(...)]`.
    fn skip_space(&mut self) {
        loop {
            self.skip_while(char::is_whitespace);
            let rest = self.rest();
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                block_comment(rest)
            } else if rest.starts_with("#!") {
                rest.find(']').map_or(rest.len(), |end| end + 1)
            } else {
                return;
            };
            self.at += length;
        }
    }

    /// Skips one value and says where it ends.
    fn skip_value(&mut self) -> Option<usize> {
        let mut depth = 0_usize;
        loop {
            let before = self.at;
            match self.peek()? {
                '"' => self.at += quoted(self.rest(), '"'),
                '\'' => self.at += quoted(self.rest(), '\''),
                'r' if raw_string(self.rest()).is_some() => self.at += raw_string(self.rest())?,
                '(' | '[' | '{' => {
                    self.at += 1;
                    depth += 1;
                }
                ')' | ']' | '}' => {
                    self.at += 1;
                    depth = depth.checked_sub(1)?;
                }
                ',' | ':' if depth > 0 => self.at += 1,
                c if c.is_alphanumeric() || c == '_' => {
                    self.skip_word();
                }
                c => self.at += c.len_utf8(),
            }
            let end = self.at;
            if depth > 0 {
                self.skip_space();
                continue;
            }
            // A variant's or struct's name goes on with its brackets.
            let named = self.text[before..end].starts_with(|c: char| c.is_alphabetic() || c == '_');
            let mut ahead = Cursor { text: self.text, at: end };
            ahead.skip_space();
            match ahead.peek() {
                Some('(') if named => self.at = ahead.at,
                Some(c) if ahead.at == end && !matches!(c, ',' | ')' | ']' | '}' | ':') => {}
                _ => return Some(end),
            }
        }
    }
}

/// The length of the string or character at the start of `text`, quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// The length of the raw string at the start of `text`, if one stands there.
fn raw_string(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('r')?;
    let marks = inner.len() - inner.trim_start_matches('#').len();
    let open = 1 + marks + 1;
    text.get(..open)?.ends_with('"').then_some(())?;
    let close = format!("\"{}", &inner[..marks]);
    Some(text[open..].find(&close).map_or(text.len(), |end| open + end + close.len()))
}

/// The length of the block comment at the start of `text`; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::Key::{At, Field};
    use super::*;

    const TEXT: &str = r##"
// node: "comment",
(
    node: "a, (b", /* node: /* nested */ 3 */
    raw: r#"x " y"#,
    arbiter: Local ( "dir" ),
    list: [(name: "x"), (name: "ä", n: -1.5)], quoted: "\"",
)"##;

    fn found(path: &[Key]) -> &'static str {
        &TEXT[value(TEXT, path).unwrap()]
    }

    #[test]
    fn values_are_found_between_comments_strings_and_brackets() {
        assert_eq!(found(&[Field("node")]), "\"a, (b\"");
        assert_eq!(found(&[Field("raw")]), "r#\"x \" y\"#");
        assert_eq!(found(&[Field("arbiter")]), "Local ( \"dir\" )");
        assert_eq!(found(&[Field("arbiter"), At(0)]), "\"dir\"");
        assert_eq!(found(&[Field("list"), At(1), Field("name")]), "\"ä\"");
        assert_eq!(found(&[Field("list"), At(1), Field("n")]), "-1.5");
        assert_eq!(found(&[Field("quoted")]), "\"\\\"\"");
    }

    #[test]
    fn a_value_that_is_not_written_points_at_what_is_around_it() {
        assert_eq!(found(&[Field("list"), At(0), Field("plugin")]), "(name: \"x\")");
    }

    #[test]
    fn no_cut_of_a_text_makes_it_panic() {
        for (cut, _) in TEXT.char_indices() {
            let _ = value(&TEXT[..cut], &[Field("list"), At(1), Field("name")]);
            let _ = value(&TEXT[cut..], &[Field("list"), At(1), Field("name")]);
        }
    }
}
