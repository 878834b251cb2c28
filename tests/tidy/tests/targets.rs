//! What has tests is tested, and what has none is not built a second time for them.
//!
//! A library or program without unit tests says `test = false`, a library without examples in its documentation
//! `doctest = false`: each of these would be compiled, or read through, for nothing. Whoever adds the first one takes the line
//! out again.

use tidy::{Package, Source, Target, packages, sources};

/// The files that a target is made of. Where a package has both, its program is its root file alone.
fn files<'a>(package: &Package, target: &Target, sources: &'a [Source]) -> Vec<&'a Source> {
    let folder = format!("{}/src/", package.folder());
    let has_library = package.targets().iter().any(Target::is_library);
    let root = target.root_file();
    let belongs = |source: &&Source| match (has_library, target.is_program()) {
        (true, true) => source.path == root,
        (true, false) => source.path.starts_with(&folder) && source.path != format!("{folder}main.rs"),
        (false, _) => source.path.starts_with(&folder),
    };
    sources.iter().filter(belongs).collect()
}

fn has_tests(source: &Source) -> bool {
    let code = source.code();
    code.contains("#[test]") || code.contains("::test]") || code.contains("proptest!")
}

/// Whether a block of the documentation is compiled.
fn has_examples(source: &Source) -> bool {
    let mut inside = false;
    let mut found = false;
    for line in source.text.lines() {
        let docs = line.trim_start().strip_prefix("//!").or_else(|| line.trim_start().strip_prefix("///"));
        let Some(tags) = docs.and_then(|docs| docs.trim().strip_prefix("```")) else { continue };
        let first = tags.split(',').next().unwrap_or_default();
        found |= !inside && !["text", "ignore", "sh", "console", "toml", "ron", "json"].contains(&first);
        inside = !inside;
    }
    found
}

#[test]
fn what_has_tests_is_tested_and_what_has_none_is_not_built_for_them() {
    let sources = sources();
    for package in packages() {
        for target in package.targets().iter().filter(|target| target.is_library() || target.is_program()) {
            let files = files(&package, target, &sources);
            let root = target.root_file();
            assert!(files.iter().any(|file| file.path == root), "{root} is among its own files");
            let tests = files.iter().any(|file| has_tests(file));
            assert_eq!(target.test, tests, "{root}: `test` in its manifest, and whether it has unit tests");
            if target.is_library() {
                let examples = files.iter().any(|file| has_examples(file));
                let what = "`doctest` in its manifest, and whether its documentation has examples";
                assert_eq!(target.doctest, examples, "{root}: {what}");
            }
        }
    }
}
