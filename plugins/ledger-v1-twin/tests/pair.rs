//! The twin beside the version that it is a twin of: different code, in lock step.
#![forbid(unsafe_code)]

use ledger_v1::name::AccountName;
use ledger_v1::parameters::{OpenAccount, OpenAccounts, Transfer};
use ledger_v1::rows::ACCOUNTS;
use lockstep_plugin_api::Application;
use lockstep_test_kit::{Call, Pair, call};

fn name(text: &str) -> AccountName {
    AccountName::new(text).expect("a name")
}

fn open(account: &str, cents: u64) -> Call {
    call("open_account", &OpenAccount { account: name(account), cents })
}

fn transfer(from: &str, to: &str, cents: u64) -> Call {
    call("transfer", &Transfer { from: name(from), to: name(to), cents })
}

fn both_ways() -> [(&'static Application, &'static Application); 2] {
    let (one, twin) = (ledger_v1::application(), ledger_v1_twin::application());
    [(one, twin), (twin, one)]
}

fn pair_of(active: &'static Application, standby: &'static Application) -> Pair {
    Pair::of_versions(active, standby).given([open("alice", 500), open("bob", 0)])
}

#[test]
fn both_run_everything_in_lock_step() {
    for (active, standby) in both_ways() {
        let mut pair = pair_of(active, standby);
        let batch = OpenAccounts { first: 0, count: 50, cents: 5 };
        for call in [
            transfer("alice", "bob", 250),
            transfer("bob", "alice", 1),
            transfer("bob", "alice", 10_000),
            transfer("bob", "bob", 1),
            transfer("bob", "acc7", 1),
            call("open_accounts", &batch),
            open("bob", 1),
        ] {
            assert!(!pair.run(call).was_shipped());
        }
        assert_eq!(pair.rows(&ACCOUNTS).len(), 52);
    }
}

#[test]
fn the_twin_completes_what_the_other_began() {
    for (active, standby) in both_ways() {
        pair_of(active, standby)
            .crash_after_every_work_unit_of(transfer("alice", "bob", 250))
            .same_outcome_everywhere();
    }
}

#[test]
fn the_twin_does_the_same_on_every_run() {
    let twin = ledger_v1_twin::application();
    pair_of(twin, twin).deterministic(transfer("alice", "bob", 250));
}

#[test]
fn one_replaces_the_other_without_a_change_of_version() {
    for (one, other) in both_ways() {
        let mut pair = pair_of(one, one).upgrade_to(other);
        assert!(!pair.run(transfer("alice", "bob", 250)).was_shipped());
        // Nothing was enabled, so the way back stays open.
        let mut pair = pair.back();
        assert!(pair.run(transfer("bob", "alice", 250)).fault().is_none());
        assert_eq!(pair.rows(&ACCOUNTS)[0].1.cents, 500);
    }
}
