//! `lockstep plugin check` on real plugin files, with no processor and no configuration anywhere: what it prints, letter
//! by letter, its JSON, and how it ends.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// The shared library of a package of this workspace, as cargo names it.
fn plugin(package: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        // With the features that tests are built with: nothing is built twice.
        .args(["build", "--quiet", "--message-format=json", "--workspace", "--lib", "--example", "swap"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    let library = |line: &str| -> Option<PathBuf> {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_ours = message["package_id"].as_str()?.contains(&format!("#{package}@"));
        let files = message["filenames"].as_array().filter(|_| is_ours)?;
        files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".so")).map(PathBuf::from)
    };
    messages.lines().find_map(library).unwrap_or_else(|| panic!("{package} makes a shared library"))
}

fn v1() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| plugin("ledger-v1-so"))
}

fn v2() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| plugin("ledger-v2-so"))
}

fn check(arguments: &[&str]) -> Output {
    let nowhere = tempfile::tempdir().expect("a directory without a configuration");
    Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["plugin", "check"])
        .args(arguments)
        .env_remove("LOCKSTEP_CONFIG")
        .current_dir(&nowhere)
        .output()
        .expect("it runs")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of plain letters")
}

/// What was printed, with what differs from build to build named instead.
fn printed(output: &Output) -> String {
    let said = String::from_utf8(output.stdout.clone()).expect("it prints text");
    let said = said.replace(text(v1()), "V1").replace(text(v2()), "V2");
    let named = said.lines().map(|line| {
        if line.starts_with("  sha-256") {
            let hash = line.split_whitespace().last().unwrap_or_default();
            assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
            return line.replace(hash, "HASH");
        }
        match line.strip_suffix(" bytes").and_then(|rest| rest.rsplit_once("   ")) {
            Some((rest, _)) => format!("{rest}   SIZE bytes"),
            None => line.to_owned(),
        }
    });
    named.map(|line| line + "\n").collect()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_file_alone_says_what_it_is() {
    let output = check(&[text(v1())]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        printed(&output),
        "\
ledger 1.4.0   V1   SIZE bytes
  sha-256     HASH
  plugin API  1.2
  procedure      version  work units
  open_account   v1       open_account                  completed at a takeover
  transfer       v1       check, debit, credit, record  completed at a takeover
  balance        v1       balance                       reads only
  statement      v1       statement                     reads only
  open_accounts  v1       open_accounts                 completed at a takeover
  table     kind  formats
  accounts  hash  1
  journal   hash  1
  receipts  hash  1
  totals    hash  1
"
    );
}

#[test]
fn a_pair_that_can_be_upgraded_is_judged_procedure_by_procedure() {
    let output = check(&[text(v2()), "--against", text(v1())]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed = printed(&output);
    let pair = printed.find("ledger 1.4.0 ->").map_or("", |at| &printed[at..]);
    assert_eq!(
        pair,
        "\
ledger 1.4.0 -> 2.0.0: mixed (can be upgraded; 1 procedure is shipped while versions differ)
  against  V1
  procedure         1.4.0  2.0.0
  open_account      v1     v1     compatible  both have the same version (R16)
  transfer          v1     v2     mixed       shipped: 4 work units became 5 (R16)
  balance           v1     v1     compatible  both have the same version (R16)
  statement         v1     v1     compatible  both have the same version (R16)
  open_accounts     v1     v1     compatible  both have the same version (R16)
  sender            -      v1     mixed       1.4.0 does not have it: it is refused until the upgrade is through (R32)
  fee_holiday       -      v1     mixed       1.4.0 does not have it: it is refused until the upgrade is through (R32)
  fee_holiday_over  -      v1     mixed       1.4.0 does not have it: it is refused until the upgrade is through (R32)
  table, format  1.4.0  2.0.0
  accounts       1      1      compatible  both write the same format (R17)
  journal        1      2      compatible  rows stay in format 1 until features are enabled, and are then migrated into \
format 2 (R17)
  receipts       1      1      compatible  both write the same format (R17)
  totals         1      1      compatible  both write the same format (R17)
  by_number      -      1      compatible  derived: each version keeps its own, beside the rows that both share (R17)
  an upgrade enables transfer-fee
"
    );
    let identity = &printed[..printed.len() - pair.len()];
    for part in [
        "  journal    hash  1 to 2",
        "by_number  hash  1        derived from accounts",
        "transfer-fee  one cent",
    ] {
        assert!(identity.contains(part), "{part}: {identity}");
    }
}

#[test]
fn whom_a_version_sends_messages_to_is_shown() {
    let orders = plugin("standing-orders-so");
    let output = check(&[text(&orders)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = printed(&output);
    assert!(said.ends_with("  sends to  procedure\n  ledger    transfer\n"), "{said}");
    let output = check(&[text(&orders), "--output", "json"]);
    let sends = serde_json::json!([{"application": "ledger", "procedure": "transfer"}]);
    assert_eq!(json(&output)["sends"], sends);
    let output = check(&[text(v1()), "--output", "json"]);
    assert_eq!(json(&output)["sends"], Value::Null, "it does not say");
}

#[test]
fn one_version_written_twice_is_compatible_with_itself() {
    let twin = plugin("ledger-v1-twin-so");
    let output = check(&[text(&twin), "--against", text(v1()), "--output", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let found = json(&output);
    assert_eq!(found["pair"]["verdict"], "compatible");
    assert_ne!(found["file"]["hash"], found["against"]["hash"]);
}

#[test]
fn a_pair_that_is_none_ends_with_3_and_says_what_is_wrong_in_both_forms() {
    let output = check(&[text(v1()), "--against", text(v2()), "--output", "json"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let found = json(&output);
    assert_eq!((&found["file"]["api"], &found["file"]["version"]), (&"1.2".into(), &"1.4.0".into()));
    let pair = &found["pair"];
    assert_eq!(pair["verdict"], "incompatible");
    let of = |what: &str, name: &str| {
        let all = pair[what].as_array().expect("a list");
        all.iter().find(|each| each["name"] == name).cloned().unwrap_or_else(|| panic!("{name}: {pair}"))
    };
    assert_eq!(of("procedures", "transfer")["verdict"], "mixed");
    let sender = of("procedures", "sender");
    assert_eq!((&sender["verdict"], &sender["reasons"][0]["rule"]), (&"incompatible".into(), &"R32".into()));
    let journal = of("tables", "journal");
    assert_eq!(
        (&journal["verdict"], &journal["reasons"][0]["rule"]),
        (&"incompatible".into(), &"R17".into())
    );

    let output = check(&[text(v1()), "--against", text(v2())]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let told = printed(&output);
    for part in [
        "ledger 2.0.0 -> 1.4.0: incompatible: procedure `sender` is missing in 1.4.0; procedure `fee_holiday` is",
        "; table `journal` is in format 2, and 1.4.0 reads",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn what_is_no_plugin_ends_with_3_and_a_wrong_line_with_2() {
    let output = check(&[text(v1()), "--against", "nothing.so", "--output", "json"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(json(&output)["error"]["code"], "LS0401");
    let output = check(&[concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error LS0410"), "{output:?}");
    assert_eq!(check(&[]).status.code(), Some(2));
}
