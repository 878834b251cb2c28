//! Random events on version 1, on version 2, and on both beside each other: all answer and write the same while no
//! feature is on.
#![forbid(unsafe_code)]

use ledger_v1::name::AccountName;
use ledger_v1::parameters::{Of, OpenAccount, Transfer};
use lockstep_test_kit::{Call, Versions, call};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fn name(number: usize) -> AccountName {
    AccountName::new(["alice", "bob", "carol", "dave"][number]).expect("a name")
}

fn open(account: usize, cents: u64) -> Call {
    call("open_account", &OpenAccount { account: name(account), cents })
}

/// One event; some are refused: of accounts that do not exist, of more than there is, of nothing.
fn event() -> impl Strategy<Value = Call> {
    prop_oneof![
        6 => (0..4usize, 0..4usize, 0..300u64).prop_map(|(from, to, cents)| {
            call("transfer", &Transfer { from: name(from), to: name(to), cents })
        }),
        1 => (0..4usize, 0..50u64).prop_map(|(account, cents)| open(account, cents)),
        1 => (0..4usize).prop_map(|account| call("statement", &Of { account: name(account) })),
    ]
}

/// Runs `check` with many series of events, always the same ones.
fn with_many(check: impl Fn(&Versions, &[Call])) {
    let versions = Versions::of(ledger_v1::application(), ledger_v2::application()).given([
        open(0, 500),
        open(1, 0),
        open(2, 40),
    ]);
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let result =
        TestRunner::new_with_rng(config, random).run(&prop::collection::vec(event(), 1..24), |events| {
            check(&versions, &events);
            Ok(())
        });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn mixed_both_ways_with_a_switchover_after_every_event() {
    with_many(Versions::mixed_both_ways);
}

#[test]
fn round_from_version_1_to_version_2_and_back() {
    with_many(Versions::round);
}
