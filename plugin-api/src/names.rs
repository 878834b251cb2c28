//! Names in lists of an application's own: tables and work units, found where they stand.
//!
//! What is looked for is nearly always the very text that the list has, in the same place, so places are compared first. It
//! happens in each use of a table, and for each unit of each plan.

/// Where `name` stands among `names`.
pub(crate) fn place_of(names: impl Iterator<Item = &'static str> + Clone, name: &str) -> Option<usize> {
    let same_place = names.clone().position(|other| std::ptr::eq(other, name));
    same_place.or_else(|| names.clone().position(|other| other == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_its_text_wherever_that_lies() {
        static NAMES: [&str; 3] = ["accounts", "receipts", "rec"];
        assert_eq!(place_of(NAMES.iter().copied(), NAMES[1]), Some(1));
        assert_eq!(place_of(NAMES.iter().copied(), &String::from("receipts")), Some(1));
        assert_eq!(
            place_of(NAMES.iter().copied(), &NAMES[1][..3]),
            Some(2),
            "the same place, and another text"
        );
        assert_eq!(place_of(NAMES.iter().copied(), "journal"), None);
    }
}
