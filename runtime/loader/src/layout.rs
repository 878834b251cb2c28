//! Whether a loaded library speaks our contract: first our own version number, then the layout of every type
//! that crosses the boundary.
//!
//! Within a major version types only grow at the end of those that may (`abi_stable`'s prefix types). So of the two
//! sides' layouts the older one's must be the beginning of the newer one's, whoever is older. The version of the *package* that the
//! types stand in says nothing: the contract has a version of its own.
//!
//! The layout is checked with a *local* table. abi_stable's own functions keep the plugin's layouts in a
//! process-global one, which would point into a library that is gone.
//!
//! Deliberately absent: any of `RootModule::load_*`, `init_root_module`, `check_layout` and `ensure_layout`, for that
//! reason. Invariant: the texts returned are copies, made while the library is mapped.

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{
    AbiInstability, AbiInstabilityError, AbiInstabilityErrors, CheckingGlobals, ExpectedFound,
    check_layout_compatibility_with_globals,
};
use abi_stable::library::LibHeader;
use abi_stable::type_layout::{TLFieldOrFunction, TypeLayout};
use lockstep_plugin_api::abi::{API_MAGIC, API_VERSION, ApiVersion, PluginModuleRef};

use crate::LoadError;

/// How many differences are told.
const DIFFERENCES_MAX: usize = 3;
/// Of one text of abi_stable's, which can be a whole type.
const TEXT_CHARS_MAX: usize = 120;

/// Checks the version that the plugin exports.
pub(crate) fn check_api(plugin: ApiVersion) -> Result<(), LoadError> {
    if API_VERSION.runs(plugin) {
        return Ok(());
    }
    if plugin.magic != API_MAGIC {
        return Err(LoadError::OtherInterface {
            detail: "its version symbol does not carry Lockstep's mark".to_owned(),
        });
    }
    let next = if (plugin.major, plugin.minor) > (API_VERSION.major, API_VERSION.minor) {
        "upgrade the host, or build the plugin with an older plugin API"
    } else {
        "build the plugin anew with the plugin API that belongs to this host"
    };
    let text = |version: ApiVersion| format!("{}.{}", version.major, version.minor);
    Err(LoadError::OtherApi { found: text(plugin), expected: text(API_VERSION), next })
}

/// Checks the layout of the root module, of a plugin with this version, and of all that can be reached from it.
pub(crate) fn check_layout(header: &LibHeader, plugin: ApiVersion) -> Result<(), LoadError> {
    let Some(layout) = header.layout() else {
        return Err(LoadError::OtherLayout { detail: "it was exported without its layout".to_owned() });
    };
    let host = <PluginModuleRef as StableAbi>::LAYOUT;
    let compared = if plugin.minor < API_VERSION.minor {
        compare((layout, "plugin"), (host, "host"))
    } else {
        compare((host, "host"), (layout, "plugin"))
    };
    compared.map_err(|detail| LoadError::OtherLayout { detail })
}

/// A layout and whose it is.
type Side = (&'static TypeLayout, &'static str);

/// Whether `older` is the beginning of `newer`.
fn compare(older: Side, newer: Side) -> Result<(), String> {
    let globals = CheckingGlobals::new();
    let result = check_layout_compatibility_with_globals(older.0, newer.0, &globals);
    drop(globals);
    match result {
        Err(errors) if errors.errors.iter().flat_map(|error| &error.errs).any(counts) => {
            Err(shortened(&errors, [older.1, newer.1]))
        }
        // Errors around others are empty: with nothing that counts, the versions of packages were all that differed.
        Ok(()) | Err(_) => Ok(()),
    }
}

fn counts(kind: &AbiInstability) -> bool {
    !matches!(kind, AbiInstability::PackageVersion(_))
}

/// The innermost differences, each as `path: host has X, plugin has Y`.
fn shortened(errors: &AbiInstabilityErrors, sides: [&str; 2]) -> String {
    // The innermost differences are the causes of those around them.
    let mut by_depth: Vec<&AbiInstabilityError> = errors.errors.iter().collect();
    by_depth.sort_by_key(|error| std::cmp::Reverse(error.stack_trace.len()));
    let all: Vec<String> = by_depth
        .into_iter()
        .flat_map(|error| {
            let kinds = error.errs.iter().filter(|kind| counts(kind));
            kinds.map(move |kind| format!("{}{}", path(error), difference(kind, sides)))
        })
        .collect();
    let told = all.iter().take(DIFFERENCES_MAX).cloned().collect::<Vec<_>>().join("; ");
    match all.len().saturating_sub(DIFFERENCES_MAX) {
        0 if told.is_empty() => "of an unknown kind".to_owned(),
        0 => told,
        more => format!("{told}; and {more} more"),
    }
}

fn path(error: &AbiInstabilityError) -> String {
    let names: Vec<&str> = error
        .stack_trace
        .iter()
        .map(|frame| match frame.expected {
            TLFieldOrFunction::Field(field) => field.name(),
            TLFieldOrFunction::Function(function) => function.name.as_str(),
        })
        .collect();
    if names.is_empty() { String::new() } else { format!("{}: ", names.join(".")) }
}

fn difference(kind: &AbiInstability, [older, newer]: [&str; 2]) -> String {
    use AbiInstability as Kind;
    let (what, sides) = match kind {
        Kind::Name(sides) => ("", sides.display_str()),
        Kind::Package(sides) => ("package: ", sides.display_str()),
        Kind::Size(sides) => ("bytes: ", sides.display_str()),
        Kind::Alignment(sides) => ("alignment: ", sides.display_str()),
        Kind::FieldCountMismatch(sides) => ("number of fields: ", sides.display_str()),
        Kind::MismatchedPrefixSize(sides) => ("fields that must be there: ", sides.display_str()),
        Kind::UnexpectedField(sides) => ("field: ", sides.display_str()),
        Kind::TooManyVariants(sides) => ("number of variants: ", sides.display_str()),
        Kind::NonZeroness(sides) => ("never zero: ", sides.display_str()),
        Kind::MismatchedPrimitive(sides) => ("", sides.debug_str()),
        Kind::TLDataDiscriminant(sides) => ("kind of type: ", sides.debug_str()),
        Kind::ReprAttr(sides) => ("representation: ", sides.debug_str()),
        other => {
            // The name of the kind; what it holds can be hundreds of lines.
            let text = format!("{other:?}");
            let name = text.split(|end: char| !end.is_alphanumeric()).next().unwrap_or_default();
            return format!("they differ ({name})");
        }
    };
    match sides {
        Some(ExpectedFound { expected, found }) => {
            format!("{what}{older} has {}, {newer} has {}", one_line(&expected), one_line(&found))
        }
        None => format!("{what}they differ"),
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    mod older {
        #[repr(C)]
        #[derive(abi_stable::StableAbi)]
        pub struct Stats {
            pub errors: u32,
        }
        #[repr(C)]
        #[derive(abi_stable::StableAbi)]
        pub struct Holder {
            pub stats: Stats,
        }
    }

    mod newer {
        #[repr(C)]
        #[derive(abi_stable::StableAbi)]
        pub struct Stats {
            pub errors: u64,
        }
        #[repr(C)]
        #[derive(abi_stable::StableAbi)]
        pub struct Holder {
            pub stats: Stats,
        }
    }

    #[test]
    fn the_same_layout_passes() {
        let layout = <PluginModuleRef as StableAbi>::LAYOUT;
        compare((layout, "host"), (layout, "plugin")).expect("it is the same");
    }

    #[test]
    fn another_layout_is_told_in_one_short_line() {
        let (older, newer) = (<older::Holder as StableAbi>::LAYOUT, <newer::Holder as StableAbi>::LAYOUT);
        let text = compare((older, "host"), (newer, "plugin")).expect_err("they differ");
        assert!(text.contains("host has u32, plugin has u64"), "{text}");
        assert!(text.contains("stats"), "{text}");
        assert!(text.len() < 500 && !text.contains('\n'), "{text}");
    }

    #[test]
    fn versions_of_the_contract_are_told_apart() {
        let with = |magic, major, minor| check_api(ApiVersion { magic, major, minor });
        with(API_MAGIC, API_VERSION.major, API_VERSION.minor).expect("our own");
        let code = |result: Result<(), LoadError>| result.expect_err("refused").code();
        assert_eq!(code(with(API_MAGIC, API_VERSION.major, API_VERSION.minor + 1)), "LS0432");
        assert_eq!(code(with(API_MAGIC, API_VERSION.major + 1, 0)), "LS0432");
        assert_eq!(code(with(1, API_VERSION.major, API_VERSION.minor)), "LS0431");
        let newer = with(API_MAGIC, API_VERSION.major + 1, 0).expect_err("refused").to_string();
        assert!(newer.contains("upgrade the host"), "{newer}");
    }
}
