//! Dependencies point one way.

use std::collections::{BTreeMap, BTreeSet};

use tidy::{Package, packages};

/// Which packages of ours each folder may depend on. A folder that is not listed here is a mistake.
fn allowed(folder: &str) -> Option<&'static [&'static str]> {
    const RUNTIME: &[&str] = &[
        "lockstep-binding",
        "lockstep-client",
        "lockstep-core",
        "lockstep-loader",
        "lockstep-os",
        "lockstep-plugin-api",
        "lockstep-store",
        "lockstep-wire",
    ];
    Some(match folder {
        // These know nothing of ours.
        "runtime/core" | "runtime/wire" | "runtime/os" | "plugin-api/macros" | "tests/tidy" => &[],
        "plugin-api" => &["lockstep-plugin-macros"],
        "plugin-api/test-kit" => {
            &["lockstep-binding", "lockstep-core", "lockstep-plugin-api", "lockstep-sim"]
        }
        "runtime/binding" => &["lockstep-core", "lockstep-plugin-api"],
        "runtime/store" => &["lockstep-core"],
        "runtime/loader" => &["lockstep-os", "lockstep-plugin-api"],
        "runtime/loader/fixtures/habits" | "runtime/loader/fixtures/odd-layout" => &["lockstep-plugin-api"],
        "runtime/loader/fixtures/nodelete" => &["lockstep-plugin-api", "ledger-v1"],
        "runtime/sim" => &["lockstep-core", "lockstep-store"],
        "runtime/client" => &["lockstep-core", "lockstep-wire"],
        "runtime" => RUNTIME,
        "hosts/lockstepd" => {
            &["lockstep-core", "lockstep-loader", "lockstep-os", "lockstep-runtime", "lockstep-store"]
        }
        // Its load generator is a client.
        "hosts/lockstep" => {
            &["lockstep-core", "lockstep-loader", "lockstep-runtime", "lockstep-store", "lockstep-wire"]
        }
        // A version may be built on the one before it; the thin `so` packages around a version on that version.
        "plugins/ledger-v1" | "plugins/ledger-v1-twin" | "plugins/standing-orders" | "plugins/archive" => {
            &["lockstep-plugin-api"]
        }
        "plugins/archive/so" => &["archive", "lockstep-plugin-api"],
        "plugins/standing-orders/so" => &["lockstep-plugin-api", "standing-orders"],
        "plugins/standing-orders-v2" => &["lockstep-plugin-api", "standing-orders"],
        "plugins/standing-orders-v2/so" => &["lockstep-plugin-api", "standing-orders-v2"],
        "plugins/ledger-v1-deadly" => &["lockstep-plugin-api", "ledger-v1"],
        "plugins/ledger-v1-deadly/so" => &["lockstep-plugin-api", "ledger-v1-deadly"],
        "plugins/ledger-v2" => &["lockstep-plugin-api", "ledger-v1"],
        "plugins/ledger-v2-broken" => &["lockstep-plugin-api", "ledger-v1", "ledger-v2"],
        "plugins/ledger-v1/so" => &["lockstep-plugin-api", "ledger-v1"],
        "plugins/ledger-v1-twin/so" => &["lockstep-plugin-api", "ledger-v1-twin"],
        "plugins/ledger-v2/so" => &["lockstep-plugin-api", "ledger-v2"],
        "plugins/ledger-v2-broken/so" => &["lockstep-plugin-api", "ledger-v2-broken"],
        // The hot path's parts are measured one at a time, without a host around them.
        "tests/micro" => &[
            "ledger-v1",
            "lockstep-binding",
            "lockstep-core",
            "lockstep-os",
            "lockstep-plugin-api",
            "lockstep-store",
            "lockstep-wire",
        ],
        // Exercises run the hosts as programs, so they need no more than what clients and operators have.
        "tests/rig" | "tests/process" | "examples/quickstart" => &[
            "ledger-v1",
            "ledger-v2",
            "lockstep-client",
            "lockstep-core",
            "lockstep-plugin-api",
            "lockstep-runtime",
            "lockstep-wire",
            "rig",
        ],
        // One of the drills runs the simulated world instead.
        "tests/drill" => &["lockstep-client", "lockstep-core", "lockstep-sim", "model", "rig"],
        // Whatever decodes anything.
        "tests/fuzz" => &[
            "ledger-v1",
            "lockstep",
            "lockstep-binding",
            "lockstep-client",
            "lockstep-core",
            "lockstep-loader",
            "lockstep-os",
            "lockstep-plugin-api",
            "lockstep-runtime",
            "lockstep-store",
            "lockstep-wire",
        ],
        "tests/model" => &["lockstep-core", "lockstep-sim"],
        "tests/scenarios" => &["lockstep-core", "lockstep-sim", "lockstep-store"],
        // Our own store beside libraries that could take its place.
        "tests/stores" => &["lockstep-core", "lockstep-os", "lockstep-store"],
        _ => return None,
    })
}

/// Everything that is wrong with the directions.
fn wrong(packages: &[Package]) -> Vec<String> {
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut problems = Vec::new();
    for package in packages {
        let folder = package.folder();
        let Some(allowed) = allowed(&folder) else {
            problems.push(format!("{folder}: no rule says what it may depend on; add one to tests/tidy"));
            continue;
        };
        for dependency in
            package.dependencies().iter().filter(|dependency| ours.contains(dependency.name.as_str()))
        {
            // Tests of a plugin may run it in the test kit, and tests of a shell part a real plugin.
            let for_tests = dependency.kind.as_deref() == Some("dev");
            let test_only = [
                "ledger-v1",
                "ledger-v1-twin",
                "ledger-v2",
                "lockstep-test-kit",
                "lockstep-binding",
                "tempfile",
            ];
            if for_tests && test_only.contains(&dependency.name.as_str()) {
                continue;
            }
            if !allowed.contains(&dependency.name.as_str()) {
                problems.push(format!("{folder} must not depend on {}", dependency.name));
            }
        }
    }
    problems
}

#[test]
fn dependencies_point_one_way() {
    let problems = wrong(&packages());
    assert!(problems.is_empty(), "{problems:#?}");
}

/// The core is pure: these would bring in a clock, threads, files, a network or a layout of memory.
#[test]
fn the_core_depends_on_nothing_impure() {
    let allowed = [
        "hashbrown",
        "postcard",
        // Asks for memory ahead of its use.
        "safe_arch",
        "serde",
        "serde_json",
        "smallvec",
        "smol_str",
        "thiserror",
        "triomphe",
        "xxhash-rust",
    ];
    let packages = packages();
    let core = packages.iter().find(|package| package.name == "lockstep-core").expect("there is a core");
    for dependency in core.dependencies().iter().filter(|dependency| dependency.kind.is_none()) {
        assert!(
            allowed.contains(&dependency.name.as_str()),
            "the core must not depend on {}",
            dependency.name
        );
    }
}

/// A library that only a few packages may know.
#[test]
fn some_libraries_are_known_in_one_place() {
    let places: BTreeMap<&str, &[&str]> = BTreeMap::from([
        // One of the fixtures is a plugin of other types.
        ("abi_stable", &["plugin-api", "runtime/loader", "runtime/loader/fixtures/odd-layout"][..]),
        ("libloading", &["runtime/loader"][..]),
        ("actix", &["runtime"][..]),
        ("actix-web", &["runtime"][..]),
        ("fjall", &["tests/stores"][..]),
        ("redb", &["runtime/store", "tests/stores"][..]),
        ("stateright", &["tests/model"][..]),
    ]);
    for package in packages() {
        for dependency in package.dependencies() {
            if let Some(places) = places.get(dependency.name.as_str()) {
                assert!(
                    places.contains(&package.folder().as_str()),
                    "{} must not depend on {}; only {places:?} may",
                    package.folder(),
                    dependency.name
                );
            }
        }
    }
}
