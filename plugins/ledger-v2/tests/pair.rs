//! Version 2 beside version 1, and the upgrade between them.
#![forbid(unsafe_code)]

use std::panic::catch_unwind;

use ledger_v1::name::AccountName;
use ledger_v1::parameters::{Line, Of, OpenAccount, Statement, Transfer};
use ledger_v1::rows::{ACCOUNTS, RECEIPTS};
use ledger_v2::numbers::{BY_NUMBER, Sender, Sent};
use ledger_v2::rows::JOURNAL;
use ledger_v2::transfer::{FEE_CENTS, fees_account};
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

fn givens() -> [Call; 3] {
    [open("alice", 500), open("bob", 0), transfer("alice", "bob", 100)]
}

fn versions() -> (&'static Application, &'static Application) {
    (ledger_v1::application(), ledger_v2::application())
}

fn cents(pair: &Pair) -> Vec<(String, u64)> {
    let rows = pair.rows(&ACCOUNTS);
    rows.into_iter().map(|(name, row)| (name.as_str().to_owned(), row.cents)).collect()
}

#[test]
fn while_versions_differ_a_transfer_is_shipped_and_leaves_the_same_rows() {
    let (one, two) = versions();
    let calls = || [transfer("alice", "bob", 250), open("carol", 1), transfer("bob", "carol", 7)];
    let old = Pair::of(one).given(givens()).given(calls());
    for (active, standby) in [(one, two), (two, one), (two, two)] {
        let mut pair = Pair::of_versions(active, standby).given(givens());
        let shipped = calls().map(|call| pair.run(call).was_shipped());
        assert_eq!(shipped, if std::ptr::eq(active, standby) { [false; 3] } else { [true, false, true] });
        if std::ptr::eq(active, standby) {
            // Alone it writes its own format of the journal; everything else is the same.
            assert_eq!(pair.rows(&ACCOUNTS), old.rows(&ACCOUNTS));
            assert_eq!(pair.rows(&RECEIPTS), old.rows(&RECEIPTS));
        } else {
            pair.same_rows_as(&old);
        }
    }
}

#[test]
fn a_crash_after_any_work_unit_changes_nothing_whatever_the_versions() {
    let (one, two) = versions();
    for (active, standby) in [(two, two), (one, two), (two, one)] {
        Pair::of_versions(active, standby)
            .given(givens())
            .crash_after_every_work_unit_of(transfer("alice", "bob", 250))
            .same_outcome_everywhere();
    }
}

#[test]
fn an_upgrade_enables_the_fee() {
    let (one, two) = versions();
    let mut pair = Pair::of(one).given(givens()).upgrade_to(two);
    assert!(!pair.run(transfer("alice", "bob", 200)).was_shipped());
    let fees = fees_account().as_str().to_owned();
    let expected = [("alice", 200 - FEE_CENTS), ("bob", 300), (&fees, FEE_CENTS)];
    assert_eq!(cents(&pair), expected.map(|(name, cents)| (name.to_owned(), cents)));
    // Rows of both formats are read.
    let mut paid: Vec<u64> = pair.rows(&JOURNAL).iter().map(|(_, row)| row.fee_cents).collect();
    paid.sort_unstable();
    assert_eq!(paid, [0, 0, 0, FEE_CENTS]);
    let statement: Statement = pair.run(call("statement", &Of { account: name("bob") })).reply();
    assert_eq!(statement.last.iter().map(|line: &Line| line.cents).collect::<Vec<_>>(), [100, 200]);
}

#[test]
fn with_the_fee_on_crashes_change_nothing_and_runs_repeat_themselves() {
    let (one, two) = versions();
    let pair = Pair::of(one).given(givens()).upgrade_to(two);
    let crashes = pair.crash_after_every_work_unit_of(transfer("alice", "bob", 200));
    // Five units now.
    assert_eq!(crashes.all().len(), 8);
    crashes.same_outcome_everywhere();
    pair.deterministic(transfer("alice", "bob", 200));
}

#[test]
fn before_the_fee_is_enabled_there_is_a_way_back() {
    let (one, two) = versions();
    let stayed =
        Pair::of(one).given(givens()).given([transfer("alice", "bob", 10), transfer("bob", "alice", 10)]);
    for step in [Pair::evaluate, Pair::install] {
        let pair = step(Pair::of(one).given(givens()), two).given([transfer("alice", "bob", 10)]);
        let mut pair = pair.back();
        assert!(!pair.run(transfer("bob", "alice", 10)).was_shipped());
        pair.same_rows_as(&stayed);
    }
}

#[test]
fn after_the_fee_is_enabled_there_is_none() {
    let (one, two) = versions();
    let panic = catch_unwind(|| Pair::of(one).upgrade_to(two).back()).expect_err("no way back");
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.contains("there is no way back to ledger 1.4.0"), "{message}");
}

#[test]
fn the_fee_may_be_too_much() {
    let (one, two) = versions();
    let mut pair = Pair::of(one).given(givens()).upgrade_to(two);
    let answer = pair.run(transfer("alice", "bob", 400));
    assert_eq!(answer.refusal(), Some(("too-little", "alice holds 400 cents")));
}

#[test]
fn a_table_that_only_version_2_has_is_kept_whoever_is_active_and_is_gone_on_the_way_back() {
    let (one, two) = versions();
    let numbers = |pair: &Pair| {
        let rows = pair.derived_rows(&BY_NUMBER);
        rows.into_iter().map(|(number, name)| (number, name.as_str().to_owned())).collect::<Vec<_>>()
    };
    let expected = [(0, "alice".to_owned()), (1, "bob".into()), (2, "carol".into())];
    // Version 2 is active, and its standby knows nothing of the table.
    let mixed = Pair::of_versions(two, one).given(givens()).given([open("carol", 5)]);
    assert_eq!(numbers(&mixed), expected);
    // It is built from the rows that are there when the version comes.
    let mut pair = Pair::of(one).given(givens()).install(two).given([open("carol", 5)]);
    assert_eq!(numbers(&pair), expected);
    let sender = |entry| call("sender", &Sent { entry });
    assert_eq!(pair.run(sender(1)).reply::<Sender>(), Sender { account: name("alice") });
    assert_eq!(pair.run(sender(2)).refusal().expect("one was sent").0, "no-transfer");
    assert_eq!(pair.run(sender(7 << 32 | 1)).refusal().expect("nobody has number 7").0, "no-transfer");
    pair.back().same_rows_as(&Pair::of(one).given(givens()).given([open("carol", 5)]));
}
