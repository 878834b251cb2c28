//! Fee holidays: timers, by which this version needs plugin API 1.1.
#![forbid(unsafe_code)]

use std::time::Duration;

use ledger_v1::name::AccountName;
use ledger_v1::parameters::{OpenAccount, Transfer};
use ledger_v1::rows::ACCOUNTS;
use ledger_v2::holiday::{Holiday, SECONDS_MAX};
use ledger_v2::transfer::{FEE_CENTS, fees_account};
use lockstep_test_kit::{Call, Pair, call};

fn name(text: &str) -> AccountName {
    AccountName::new(text).expect("a name")
}

fn holiday(seconds: u32) -> Call {
    call("fee_holiday", &Holiday { seconds })
}

fn transfer() -> Call {
    call("transfer", &Transfer { from: name("alice"), to: name("bob"), cents: 10 })
}

fn with_fees() -> Pair {
    let open = |account: &str, cents| call("open_account", &OpenAccount { account: name(account), cents });
    Pair::of(ledger_v1::application())
        .given([open("alice", 500), open("bob", 0)])
        .upgrade_to(ledger_v2::application())
}

fn fees(pair: &Pair) -> u64 {
    let rows = pair.rows(&ACCOUNTS);
    rows.iter().find(|(name, _)| *name == fees_account()).map_or(0, |(_, row)| row.cents)
}

#[test]
fn transfers_cost_nothing_until_the_holidays_timer_fires() {
    let mut pair = with_fees().given([transfer()]);
    assert_eq!(fees(&pair), FEE_CENTS);
    pair = pair.given([holiday(60), transfer(), transfer()]);
    assert_eq!(fees(&pair), FEE_CENTS, "nothing was added");
    let fired = pair.advance(Duration::from_secs(61));
    assert_eq!(fired.len(), 1);
    pair = pair.given([transfer()]);
    assert_eq!(fees(&pair), 2 * FEE_CENTS);
    for seconds in [0, SECONDS_MAX + 1] {
        assert_eq!(pair.run(holiday(seconds)).refusal().map(|(code, _)| code), Some("length"));
    }
}

#[test]
fn crashes_in_a_holiday_change_nothing_and_runs_repeat_themselves() {
    let pair = with_fees().given([holiday(60)]);
    pair.crash_after_every_work_unit_of(transfer()).same_outcome_everywhere();
    pair.deterministic(transfer());
    with_fees().crash_after_every_work_unit_of(holiday(60)).same_outcome_everywhere();
}
