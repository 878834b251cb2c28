//! Version 1 in the test kit: crashes change nothing, runs repeat themselves, refusals are recorded.
#![forbid(unsafe_code)]

use ledger_v1::name::AccountName;
use ledger_v1::parameters::{Balance, Of, OpenAccount, OpenAccounts, Opened, Transfer, Transferred};
use ledger_v1::rows::{ACCOUNTS, JOURNAL, RECEIPTS};
use lockstep_test_kit::{Call, Pair, Takeover, call};

fn name(text: &str) -> AccountName {
    AccountName::new(text).expect("a name")
}

fn open(account: &str, cents: u64) -> Call {
    call("open_account", &OpenAccount { account: name(account), cents })
}

fn transfer(from: &str, to: &str, cents: u64) -> Call {
    call("transfer", &Transfer { from: name(from), to: name(to), cents })
}

fn pair() -> Pair {
    Pair::of(ledger_v1::application()).given([open("alice", 500), open("bob", 0)])
}

#[test]
fn a_crash_after_any_work_unit_changes_nothing() {
    let crashes = pair().crash_after_every_work_unit_of(transfer("alice", "bob", 250));
    // Before anything, before `check`, after each of four units, after the end.
    let [run_again, completed] = [Some(Takeover::RunAgain), Some(Takeover::Completed)];
    let takeovers: Vec<_> = crashes.all().iter().map(|crash| crash.takeover()).collect();
    assert_eq!(takeovers, [None, run_again, completed, completed, completed, completed, None]);
    crashes.same_outcome_everywhere();
}

#[test]
fn a_crash_around_any_other_procedure_changes_nothing() {
    let batch = OpenAccounts { first: 0, count: 100, cents: 5 };
    for call in [open("carol", 7), call("open_accounts", &batch), transfer("bob", "alice", 1)] {
        pair().crash_after_every_work_unit_of(call).same_outcome_everywhere();
    }
}

#[test]
fn every_procedure_does_the_same_on_every_run() {
    let batch = OpenAccounts { first: 0, count: 100, cents: 5 };
    let of = Of { account: name("alice") };
    for call in [
        open("carol", 7),
        call("open_accounts", &batch),
        transfer("alice", "bob", 250),
        transfer("bob", "alice", 1),
        call("balance", &of),
        call("statement", &of),
    ] {
        pair().given([transfer("alice", "bob", 1)]).deterministic(call);
    }
}

#[test]
fn a_transfer_moves_money_and_leaves_its_receipt() {
    let mut pair = pair();
    let Transferred { entry } = pair.run(transfer("alice", "bob", 250)).reply();
    let accounts = pair.rows(&ACCOUNTS);
    let cents: Vec<(&str, u64)> = accounts.iter().map(|(name, row)| (name.as_str(), row.cents)).collect();
    assert_eq!(cents, [("alice", 250), ("bob", 250)]);
    assert_eq!(pair.rows(&RECEIPTS)[0].1.entry, entry);
    assert_eq!(pair.rows(&JOURNAL).len(), 2);
    let balance: Balance = pair.run(call("balance", &Of { account: name("bob") })).reply();
    assert_eq!(balance.cents, 250);
}

#[test]
fn a_refusal_is_recorded_and_writes_nothing() {
    let mut pair = pair();
    let before = pair.rows(&ACCOUNTS);
    for (call, code) in [
        (transfer("alice", "bob", 501), "too-little"),
        (transfer("alice", "alice", 1), "same-account"),
        (transfer("alice", "bob", 0), "nothing"),
        (transfer("alice", "nobody", 1), "no-account"),
        (open("alice", 1), "exists"),
    ] {
        let answer = pair.run(call.clone());
        assert_eq!(answer.refusal().map(|(code, _)| code), Some(code));
        assert_eq!(answer.fault(), None);
        // A client that did not get it and asks again gets the very same, whoever is active by then.
        let crashes = pair.crash_after_every_work_unit_of(call);
        crashes.same_outcome_everywhere();
        assert!(crashes.all().iter().all(|crash| crash.answer().refusal() == answer.refusal()));
    }
    assert_eq!(pair.rows(&ACCOUNTS), before);
    let Opened { accounts } = pair.run(open("carol", 1)).reply();
    assert_eq!(accounts, 3);
}
