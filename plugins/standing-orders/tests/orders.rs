//! Standing orders in the test kit: time passes, timers fire, messages leave.
#![forbid(unsafe_code)]

use std::time::Duration;

use lockstep_test_kit::{Call, Pair, call};
use standing_orders::{Left, Of, Order, Transfer};

fn order(number: u64, times: u32) -> Call {
    let pay = Transfer { from: "alice".into(), to: "bob".into(), cents: 5 };
    call("order", &Order { number, every_ms: 1_000, times, pay })
}

fn left(pair: &mut Pair, number: u64) -> u32 {
    pair.run(call("left", &Of { number })).reply::<Left>().times
}

#[test]
fn an_order_sends_so_many_transfers_at_its_distance() {
    let mut pair = Pair::of(standing_orders::application());
    pair.run(order(1, 3));
    for sent in 1..=3 {
        pair.advance(Duration::from_millis(1_100));
        assert_eq!(pair.messages().len(), 1, "at its time");
        assert_eq!(left(&mut pair, 1), 3 - sent);
    }
    pair.advance(Duration::from_secs(60));
    assert!(pair.messages().is_empty() && pair.timers().is_empty(), "none is left");
}

#[test]
fn a_cancelled_order_sends_nothing_more() {
    let mut pair = Pair::of(standing_orders::application());
    pair.run(order(1, 3));
    pair.run(order(2, 3));
    pair.run(call("cancel", &Of { number: 1 }));
    pair.advance(Duration::from_millis(1_100));
    assert_eq!(pair.messages().len(), 1, "the other one's");
    assert_eq!(pair.timers().len(), 1);
}

#[test]
fn a_crash_anywhere_changes_nothing() {
    for call in [order(2, 3), call("due", &Of { number: 1 }), call("cancel", &Of { number: 1 })] {
        let pair = Pair::of(standing_orders::application()).given([order(1, 3)]);
        pair.crash_after_every_work_unit_of(call).same_outcome_everywhere();
    }
}
