//! Modules open with their purpose, stay short, and are named after what they are.

use tidy::sources;

#[test]
fn every_module_opens_with_its_purpose() {
    for source in sources() {
        assert!(source.text.starts_with("//!"), "{}: the first line must be `//! ...`", source.path);
    }
}

#[test]
fn no_file_is_too_long() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= 800, "{}: {lines} lines; one subject a file, at most 800 lines", source.path);
    }
}

/// Words that say nothing about what a thing is.
const EMPTY_WORDS: [&str; 4] = ["manager", "util", "common", "helper"];

fn empty_word(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    EMPTY_WORDS.into_iter().find(|word| lower.contains(word))
}

#[test]
fn names_say_what_a_thing_is() {
    for source in sources() {
        let file = source.path.rsplit('/').next().unwrap_or("");
        assert_eq!(empty_word(file), None, "{}: a file's name", source.path);
        for (number, line) in source.code().lines().enumerate() {
            let mut words =
                line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            while let Some(word) = words.next() {
                if ["struct", "enum", "trait", "type", "mod", "union"].contains(&word) {
                    let name = words.next().unwrap_or("");
                    assert_eq!(empty_word(name), None, "{}:{}: `{name}`", source.path, number + 1);
                }
            }
        }
    }
}

/// Things that were only meant for a while.
#[test]
fn nothing_is_left_for_later_in_the_code() {
    for source in sources().iter().filter(|source| !source.path.starts_with("tests/tidy/")) {
        for (number, line) in source.text.lines().enumerate() {
            for word in ["todo!", "unimplemented!", "TODO", "FIXME", "XXX", "dbg!("] {
                assert!(!line.contains(word), "{}:{}: `{word}`", source.path, number + 1);
            }
        }
    }
}

/// `do_send` ignores a mailbox's bound.
#[test]
fn mailboxes_stay_bounded() {
    for source in sources().iter().filter(|source| source.path.starts_with("runtime/")) {
        for (number, line) in source.code().lines().enumerate() {
            let unbounded = line.contains(".do_send(") || line.contains("unbounded_channel");
            assert!(!unbounded, "{}:{}: an unbounded queue", source.path, number + 1);
        }
    }
}
