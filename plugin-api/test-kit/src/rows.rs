//! Rows as they stand in the database, for comparing databases and for telling people where they differ.

use std::collections::BTreeMap;

use lockstep_core::state::State;

/// How many bytes of a key or row are shown.
const SHOWN_BYTES_MAX: usize = 48;

/// All rows by key.
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// All rows of a database: by table, by key.
pub(crate) type AllRows = BTreeMap<String, Rows>;

/// All rows of `state`.
pub(crate) fn all_rows(state: &State) -> AllRows {
    let mut all = AllRows::new();
    for table in state.meta.tables.values() {
        let rows = all.entry(table.name.clone()).or_default();
        state.tables.scan(table.id, &[], None, &mut |key, value| {
            rows.insert(key.to_vec(), value.to_vec());
            true
        });
    }
    all
}

/// Bytes for people: text where they are text, else hexadecimal digits.
pub(crate) fn show(bytes: &[u8]) -> String {
    // A text in a key ends so.
    let text = bytes.strip_suffix(&[0, 1]).unwrap_or(bytes);
    if let Ok(text) = std::str::from_utf8(text)
        && !text.is_empty()
        && text.chars().count() <= SHOWN_BYTES_MAX
        && !text.chars().any(char::is_control)
    {
        return format!("{text:?}");
    }
    let digits: String = bytes.iter().take(SHOWN_BYTES_MAX).map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > SHOWN_BYTES_MAX { ".." } else { "" };
    format!("0x{digits}{more}")
}

/// A row or its absence for people.
pub(crate) fn show_row(row: Option<&[u8]>) -> String {
    row.map_or_else(|| "no row".into(), show)
}

/// The first row that differs, in words; `left` and `right` say whose they are.
pub(crate) fn first_difference(left: (&str, &AllRows), right: (&str, &AllRows)) -> Option<String> {
    let none = Rows::new();
    let names = left.1.keys().chain(right.1.keys().filter(|name| !left.1.contains_key(*name)));
    for name in names {
        let (ours, theirs) = (left.1.get(name).unwrap_or(&none), right.1.get(name).unwrap_or(&none));
        for key in ours.keys().chain(theirs.keys()) {
            let (our, their) = (ours.get(key).map(Vec::as_slice), theirs.get(key).map(Vec::as_slice));
            if our != their {
                return Some(format!(
                    "table `{name}`, key {}: {} {}, {} {}",
                    show(key),
                    left.0,
                    show_row(our),
                    right.0,
                    show_row(their)
                ));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_text_where_they_are_text() {
        assert_eq!(show(b"alice\0\x01"), "\"alice\"");
        assert_eq!(show(&[1, 0xff]), "0x01ff");
        assert_eq!(show(&[]), "0x");
        assert!(show(&[0xff; 100]).ends_with(".."));
    }
}
