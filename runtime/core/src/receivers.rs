//! Receivers of messages that versions declare (R34), held against the applications that run beside them on a processor.
//!
//! A message that nobody can take is used up by a fault of its receiver, which no rollback of the sender takes back. So an
//! upgrade that would lead to such messages is not begun: the receiver's application goes first when a procedure comes,
//! the sender's when one goes. Deliberately absent: versions that declare nothing, of which nothing is known.

use std::sync::Arc;

use crate::descriptor::{ApplicationDescriptor, Receiver};

/// A receiver that a version would leave without its procedure, or that is not there for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// In a sentence.
    pub why: String,
    /// What to do first.
    pub help: String,
}

/// What is against `new` taking the place of `old` beside `others`, which run on the same processor.
#[must_use]
pub fn unanswered(
    old: &ApplicationDescriptor,
    new: &ApplicationDescriptor,
    others: &[Arc<ApplicationDescriptor>],
) -> Vec<Unanswered> {
    let mut found = Vec::new();
    for Receiver { application, procedure } in declared(new).filter(|it| it.application != new.name) {
        let sends =
            format!("{} {} sends messages to `{procedure}` of `{application}`", new.name, new.version);
        match others.iter().find(|other| other.name == *application) {
            None => found.push(Unanswered {
                why: format!("{sends}, which does not run there"),
                help: format!("let `{application}` run beside it on both processors"),
            }),
            Some(other) => found.extend(lacks(other, procedure).map(|lack| Unanswered {
                why: format!("{sends}, and {application} {} {lack}", other.version),
                help: format!("upgrade `{application}` first, to a version that takes them"),
            })),
        }
    }
    for other in others {
        for Receiver { procedure, .. } in declared(other).filter(|it| it.application == new.name) {
            // What it could not take before either is no reason.
            let lack = lacks(new, procedure).filter(|_| lacks(old, procedure).is_none());
            found.extend(lack.map(|lack| Unanswered {
                why: format!(
                    "{} {} sends messages to `{procedure}` of `{}`, and {} {} {lack}",
                    other.name, other.version, new.name, new.name, new.version
                ),
                help: format!("upgrade `{}` first, to a version that does not send them", other.name),
            }));
        }
    }
    found
}

fn declared(version: &ApplicationDescriptor) -> impl Iterator<Item = &Receiver> {
    version.sends.iter().flatten()
}

/// Why `version` can't take messages to `procedure`.
fn lacks(version: &ApplicationDescriptor, procedure: &str) -> Option<&'static str> {
    match version.procedure(procedure) {
        None => Some("has no such procedure"),
        Some((_, declared)) if declared.reads_only => Some("only reads in it"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{BodyUse, ProcedureDescriptor, Recovery, UnitDescriptor, Version};
    use crate::ids::PluginHash;

    fn version(
        name: &str,
        major: u32,
        procedures: &[(&str, bool)],
        sends: Option<&[(&str, &str)]>,
    ) -> Arc<ApplicationDescriptor> {
        let procedure = |(name, reads_only): &(&str, bool)| ProcedureDescriptor {
            name: (*name).into(),
            version: 1,
            recovery: Recovery::RollBack,
            reads_only: *reads_only,
            one_sided: false,
            body: BodyUse::Carried,
            deadline_ms: 0,
            hang_ms: 0,
            units: vec![UnitDescriptor { name: "run".into(), reads_body: false, undo: None }],
            undos: vec![],
            parameters: String::new(),
        };
        let receiver = |(application, procedure): &(&str, &str)| Receiver {
            application: (*application).into(),
            procedure: (*procedure).into(),
        };
        Arc::new(ApplicationDescriptor {
            name: name.into(),
            version: Version { major, minor: 0, patch: 0 },
            hash: PluginHash::default(),
            tables: vec![],
            features: vec![],
            procedures: procedures.iter().map(procedure).collect(),
            sends: sends.map(|sends| sends.iter().map(receiver).collect()),
        })
    }

    fn why(
        old: &ApplicationDescriptor,
        new: &ApplicationDescriptor,
        beside: &[&Arc<ApplicationDescriptor>],
    ) -> String {
        let others: Vec<_> = beside.iter().map(|&each| each.clone()).collect();
        let found = unanswered(old, new, &others);
        found.iter().map(|it| format!("{}; {}\n", it.why, it.help)).collect()
    }

    #[test]
    fn a_receiver_comes_before_its_sender_and_goes_after_it() {
        let ledger = [
            version("ledger", 1, &[("transfer", false)], None),
            version("ledger", 2, &[("transfer", false), ("holiday", false)], None),
            version("ledger", 3, &[("holiday", false)], None),
        ];
        let orders = [
            version("orders", 1, &[], Some(&[("ledger", "transfer")])),
            version("orders", 2, &[], Some(&[("ledger", "transfer"), ("ledger", "holiday")])),
            version("orders", 3, &[], Some(&[("ledger", "holiday")])),
        ];
        assert_eq!(
            why(&orders[0], &orders[1], &[&ledger[0]]),
            "orders 2.0.0 sends messages to `holiday` of `ledger`, and ledger 1.0.0 has no such procedure; upgrade \
             `ledger` first, to a version that takes them\n"
        );
        assert_eq!(
            why(&ledger[1], &ledger[2], &[&orders[1]]),
            "orders 2.0.0 sends messages to `transfer` of `ledger`, and ledger 3.0.0 has no such procedure; upgrade \
             `orders` first, to a version that does not send them\n"
        );
        // The one order that there is.
        for (old, new, beside) in [
            (&ledger[0], &ledger[1], &orders[0]),
            (&orders[0], &orders[1], &ledger[1]),
            (&orders[1], &orders[2], &ledger[1]),
            (&ledger[1], &ledger[2], &orders[2]),
        ] {
            assert_eq!(why(old, new, &[beside]), "");
        }
    }

    #[test]
    fn who_is_not_there_or_only_reads_takes_no_messages() {
        let old = version("orders", 1, &[], None);
        let new = version("orders", 2, &[], Some(&[("ledger", "balance")]));
        assert!(why(&old, &new, &[]).contains("`balance` of `ledger`, which does not run there"));
        let ledger = version("ledger", 1, &[("balance", true)], None);
        assert!(why(&old, &new, &[&ledger]).contains("ledger 1.0.0 only reads in it"));
        // What was so before does not keep the ledger from its upgrade.
        assert_eq!(why(&ledger, &version("ledger", 2, &[("balance", true)], None), &[&new]), "");
    }

    #[test]
    fn a_version_that_says_nothing_is_not_held_to_anything() {
        let old = version("orders", 1, &[], Some(&[]));
        assert_eq!(why(&old, &version("orders", 2, &[], None), &[]), "");
        assert!(version("orders", 2, &[], None).sends_to("ledger", "transfer"));
        assert!(!old.sends_to("ledger", "transfer") && old.sends_to("orders", "anything"));
    }

    #[test]
    fn declarations_are_sound() {
        let wrong = |sends: &[(&str, &str)]| {
            let version = version("orders", 1, &[("due", false), ("left", true)], Some(sends));
            version.check().err().unwrap_or_default()
        };
        assert_eq!(wrong(&[("orders", "due"), ("ledger", "left")]), "");
        assert!(
            wrong(&[("orders", "gone")]).contains("its own `gone`, which is no procedure of it that writes")
        );
        assert!(wrong(&[("orders", "left")]).contains("its own `left`"));
        assert!(wrong(&[("ledger", "a"), ("ledger", "a")]).contains("is declared twice"));
        assert!(wrong(&[("", "a")]).contains("needs names of 1 to 64 bytes"));
        let many: Vec<String> = (0..257).map(|at| at.to_string()).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| ("ledger", name.as_str())).collect();
        assert!(wrong(&many).contains("at most 256"));
    }
}
