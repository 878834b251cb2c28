//! Rows that take all the memory that they may (`rows_mb`): what adds to them is turned away, the rest goes on.

use serde_json::{Value, json};

use crate::bad_events::http;
use crate::orders::pair_with_orders_and;

/// Connections that fill it.
const WRITERS: u64 = 8;

/// Status and answer of a call of the orders' application, under an event id of its own.
fn ask(address: &str, procedure: &str, parameters: &Value) -> (u16, String) {
    http(address, &format!("/orders/{procedure}"), parameters.to_string().as_bytes())
}

fn order(number: u64) -> Value {
    let pay = json!({ "from": "alice", "to": "bob", "cents": 1 });
    // An hour: none falls due here.
    json!({ "number": number, "every_ms": 3_600_000, "times": 1, "pay": pay })
}

/// Writes orders down until one is turned away; that one's number and what was said.
fn fill(address: &str, first: u64) -> (u64, String) {
    for number in (first..).step_by(WRITERS as usize) {
        match ask(address, "order", &order(number)) {
            (200, _) => {}
            (507, answer) => return (number, answer),
            (_, answer) => panic!("{answer}"),
        }
    }
    unreachable!("there are enough numbers")
}

#[test]
fn what_frees_rows_is_served_when_what_adds_to_them_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let pair = pair_with_orders_and(directory.path(), "    rows_mb: 1,\n");
    let addresses = [0, 1].map(|at| pair.node(at).ready().http.clone());
    let full = std::thread::scope(|scope| {
        let addresses = &addresses;
        let writer = |first| scope.spawn(move || fill(&addresses[(first % 2) as usize], first));
        let writers: Vec<_> = (0..WRITERS).map(writer).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    for (_, answer) in &full {
        assert!(answer.contains("LS0214") && answer.contains("\"retry\":\"same-id\""), "{answer}");
    }
    let number = full[0].0;
    for address in &addresses {
        let (status, answer) = ask(address, "left", &json!({ "number": 0 }));
        assert_eq!(status, 200, "reads go on: {answer}");
        assert_eq!(ask(address, "order", &order(number)).0, 507);
    }
    // By whichever is the orders' active.
    let logs = [0, 1].map(|at| std::fs::read_to_string(pair.node(at).log()).unwrap());
    assert_eq!(logs.concat().matches("LS0617").count(), 1, "told once: {logs:?}");
    // One goes, and one fits again.
    let (status, answer) = ask(&addresses[0], "cancel", &json!({ "number": 0 }));
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = ask(&addresses[1], "order", &order(number));
    assert_eq!(status, 200, "{answer}");
}
