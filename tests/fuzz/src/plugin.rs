//! What comes from a plugin: its file before it is loaded, its description, what its trial says, its replies; and what is
//! handed to it: control parameters of clients, rows of the partner.

use std::sync::OnceLock;

use ledger_v1::name::AccountName;
use ledger_v1::parameters::{OpenAccounts, Transfer};
use lockstep_binding::{Bound, descriptor_of, host_services};
use lockstep_core::application::Application;
use lockstep_core::campaign::CheckVerdict;
use lockstep_core::event::Encoding;
use lockstep_loader::{ElfReport, elf, said_by_child};
use lockstep_plugin_api::abi::PluginModuleRef;
use lockstep_plugin_api::application::Description;
use lockstep_plugin_api::host::HostedPlugin;
use lockstep_runtime::decoders;

use crate::{Target, elf_file, rounds, samples};

pub const PLUGIN_ELF: Target = Target {
    name: "plugin-elf",
    reads: "a plugin file before it is loaded: ELF headers, symbols, the version of its API",
    run: plugin_elf,
    seeds: || vec![elf_file::plugin(), elf_file::pinned_plugin()],
};

pub const PLUGIN_DESCRIPTION: Target = Target {
    name: "plugin-description",
    reads: "what a plugin says of itself",
    run: plugin_description,
    seeds: descriptions,
};

pub const PROBE_OUTPUT: Target = Target {
    name: "probe-output",
    reads: "what the child of a trial run says, among lines that the plugin prints",
    run: probe_output,
    seeds: outputs,
};

pub const PARAMETERS: Target = Target {
    name: "parameters",
    reads: "control parameters of a client in both encodings, and rows of the partner, as the ledger reads them",
    run: parameters,
    seeds: parameter_seeds,
};

pub const CHECK_REPLY: Target = Target {
    name: "check-reply",
    reads: "the reply of a procedure that checks an upgrade",
    run: check_reply,
    seeds: || {
        let replies =
            ["null", "true", r#"{"pass": true, "why": "all 7 sums"}"#, r#"{"pass":false,"why":"3 cents"}"#];
        replies.map(|reply| reply.as_bytes().to_vec()).into()
    },
};

fn plugin_elf(bytes: &[u8]) -> bool {
    match elf::check(bytes) {
        Ok(report) => {
            let line = serde_json::to_vec(&report).expect("a report can be written as JSON");
            assert_eq!(rounds::json::<ElfReport>(&line), Some(report));
            true
        }
        Err(error) => {
            assert!(error.code().starts_with("LS04"), "{error}");
            false
        }
    }
}

fn ledger() -> PluginModuleRef {
    ledger_v1::application().module()
}

fn descriptions() -> Vec<Vec<u8>> {
    let description = HostedPlugin::new(ledger()).describe().expect("the ledger can be described");
    // As a plugin of 1.0 gives it, and as one of 1.2 does.
    let mut later = rounds::encoded(&description);
    later.extend(rounds::encoded(&Some(vec![("archive", "store")])));
    let small = Description {
        name: "counter".into(),
        version: (1, 0, 0),
        tables: Vec::new(),
        features: vec![("fast".into(), "it is fast".into())],
        procedures: Vec::new(),
        sends: None,
    };
    vec![rounds::encoded(&description), later, rounds::encoded(&small)]
}

fn plugin_description(bytes: &[u8]) -> bool {
    let described = Description::decode(bytes).ok();
    let descriptor = descriptor_of(bytes, samples::hash(1)).ok();
    assert_eq!(descriptor.is_some(), described.is_some());
    let (Some(descriptor), Some(described)) = (descriptor, described) else { return false };
    let again = [rounds::encoded(&described), rounds::encoded(&described.sends)].concat();
    assert_eq!(Description::decode(&again), Ok(described));
    if descriptor.check().is_ok() {
        let line = rounds::encoded(&descriptor);
        assert_eq!(rounds::postcard(&line), Some(descriptor));
    }
    true
}

fn outputs() -> Vec<Vec<u8>> {
    let lines = [
        r#"{"lockstep_probe":"stage","stage":"starting it"}"#.to_owned(),
        "a line of the plugin's own".to_owned(),
        r#"{"lockstep_probe":"refused","message":"LS0431: it panicked"}"#.to_owned(),
        format!(
            r#"{{"lockstep_probe":"passed","hash":"{}","elf":{{"api_major":1,"api_minor":2,"obstacles":["no_delete",{{"unique_symbols":{{"names":["x"]}}}}],"static_tls":false,"needed":["libc.so.6"],"mapped_bytes":4096}},"descriptor":"00ff","live_bytes":0,"kept_because":["still_mapped",{{"thread_alive":{{"tid":7,"name":"x"}}}}],"elapsed_us":9}}"#,
            samples::hash(1)
        ),
    ];
    (1..=lines.len()).filter(|end| *end != 2).map(|end| lines[..end].join("\n").into_bytes()).collect()
}

fn probe_output(bytes: &[u8]) -> bool {
    let (stage, last) = said_by_child(bytes);
    assert!(stage.len() <= bytes.len().max(100));
    let Some(last) = last else { return false };
    // Alone, the last word is the same.
    assert_eq!(said_by_child(&last).1, Some(last));
    true
}

fn parameter_seeds() -> Vec<Vec<u8>> {
    let transfer = Transfer { from: AccountName::numbered(1), to: AccountName::numbered(2), cents: 7 };
    let open = OpenAccounts { first: 0, count: 9, cents: 5 };
    let json = serde_json::to_vec(&transfer).expect("parameters can be written as JSON");
    let of = |what: u8, bytes: &[u8]| [&[what], bytes].concat();
    let account = ledger_v1::rows::Account::new(7, 500);
    let mut row = vec![AccountName::numbered(7).as_bytes().len() as u8 + 2];
    row.extend(AccountName::numbered(7).as_bytes());
    row.extend([0, 1]);
    ledger_v1::rows::ACCOUNTS.encode_row(&account, 1, &mut row).expect("a row can be written");
    vec![
        of(1 << 1, &rounds::encoded(&transfer)),
        of(1 << 1 | 1, &json),
        of(4 << 1, &rounds::encoded(&open)),
        of(0x80, &row),
    ]
}

/// Which procedure and encoding, then parameters; or which table, then the length of a key, the key, a row.
fn parameters(bytes: &[u8]) -> bool {
    static LEDGER: OnceLock<()> = OnceLock::new();
    LEDGER.get_or_init(|| HostedPlugin::new(ledger()).start(&host_services()).expect("the ledger starts"));
    let bound = Bound::new(ledger(), samples::hash(1)).expect("the ledger can be described");
    let Some((what, rest)) = bytes.split_first() else { return false };
    let number = usize::from(what & 0x7f);
    if what & 0x80 == 0 {
        let encoding = if number % 2 == 0 { Encoding::Postcard } else { Encoding::Json };
        let procedures = bound.descriptor().procedures.len();
        return match bound.begin(number / 2 % procedures, encoding, rest, 0) {
            Ok(run) => !run.plan().is_empty(),
            Err(why) => {
                assert!(!why.is_empty() && !why.contains("panicked"), "{why}");
                false
            }
        };
    }
    let Some((length, rest)) = rest.split_first() else { return false };
    let (key, row) = rest.split_at(usize::from(*length).min(rest.len()));
    let table = number % bound.descriptor().tables.len();
    if let Err(why) = bound.check_row(table, key, row) {
        assert!(!why.contains("panicked"), "{why}");
        return false;
    }
    let again = bound.rewrite_row(table, key, row, 1).expect("what can be read can be written");
    bound.check_row(table, key, &again).expect("what was written can be read");
    assert_eq!(bound.rewrite_row(table, key, &again, 1), Ok(again));
    true
}

fn check_reply(bytes: &[u8]) -> bool {
    match decoders::check_verdict(bytes) {
        CheckVerdict::Pass => true,
        CheckVerdict::Fail(why) => {
            assert!(!why.is_empty() && why.chars().count() <= 200);
            true
        }
        CheckVerdict::Inconclusive(why) => {
            assert!(why.chars().count() < 200);
            false
        }
    }
}
