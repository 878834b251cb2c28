//! Standing orders: a transfer of the ledger, again and again, at a distance in time. An application of its own that runs
//! beside the ledger and sends it messages.
//!
//! - `order` writes an order down and sets its timer.
//! - `due` is what the timer starts: it sends the ledger a `transfer` and sets the timer again, until none is left.
//! - `cancel` takes an order and its timer away; `left` reads.
//!
//! What an order has sent is sent: a message is taken by the ledger once (R34). Whether the ledger carries it out or
//! refuses it ("too little money") is not heard of here; an order that wants to know would have the ledger send it
//! a message back.
//!
//! *Refusals.* `exists`, `no-order`, `nothing`, `too-fast`.
#![forbid(unsafe_code)]

use std::time::Duration;

use lockstep_plugin_api::prelude::*;

/// Orders by number.
pub const ORDERS: Table<u64, Standing> = Table::new("orders");

/// The shortest distance between two transfers of an order, in milliseconds.
pub const EVERY_MS_MIN: u64 = 10;

application! {
    name: "orders",
    version: "1.0.0",
    tables: [ORDERS],
    procedures: [order, cancel, due, left],
    sends: [Receiver::new("ledger", "transfer")],
}

/// Control parameters of the ledger's `transfer`, as it declares them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Who pays.
    pub from: String,
    /// Who is paid.
    pub to: String,
    /// How much.
    pub cents: u64,
}

/// What `order` is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The order's number, of the client's choice.
    pub number: u64,
    /// The distance between two transfers; the first comes after it too.
    pub every_ms: u64,
    /// How many.
    pub times: u32,
    /// What is to be transferred each time.
    pub pay: Transfer,
}

/// Names an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// Its number.
    pub number: u64,
}

/// What `left` replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// How many transfers are still to be sent.
    pub times: u32,
}

/// An order's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The distance between two transfers, in milliseconds.
    pub every_ms: u64,
    /// How many are still to be sent.
    pub left: u32,
    /// Each of them.
    pub pay: Transfer,
}

fn timer(number: u64) -> String {
    format!("order {number}")
}

fn standing(cx: &Context, of: &Of) -> Result<Standing, Stop> {
    Ok(ORDERS.get(cx, &of.number)?.or_refuse("no-order", of.number)?)
}

/// Writes an order down.
#[procedure(version = 1)]
pub fn order(cx: &mut Context, order: &Order) -> Reply<()> {
    refuse_unless!(ORDERS.get(cx, &order.number)?.is_none(), "exists", "order {} is there", order.number);
    refuse_unless!(order.times > 0, "nothing", "an order is of one transfer at least");
    refuse_unless!(order.every_ms >= EVERY_MS_MIN, "too-fast", "at least {EVERY_MS_MIN} ms lie between two");
    let row = Standing { every_ms: order.every_ms, left: order.times, pay: order.pay.clone() };
    ORDERS.put(cx, &order.number, &row)?;
    let after = When::After(Duration::from_millis(order.every_ms));
    cx.set_timer(&timer(order.number), after, due, &Of { number: order.number })?;
    Ok(())
}

/// Sends the next transfer of an order.
#[procedure(version = 1)]
pub fn due(cx: &mut Context, of: &Of) -> Reply<()> {
    let mut row = standing(cx, of)?;
    cx.send(To::application("ledger"), "transfer", &row.pay)?;
    row.left -= 1;
    if row.left > 0 {
        cx.set_timer(&timer(of.number), When::After(Duration::from_millis(row.every_ms)), due, of)?;
    }
    ORDERS.put(cx, &of.number, &row)?;
    Ok(())
}

/// Takes an order away.
#[procedure(version = 1)]
pub fn cancel(cx: &mut Context, of: &Of) -> Reply<()> {
    standing(cx, of)?;
    cx.cancel_timer(&timer(of.number))?;
    ORDERS.delete(cx, &of.number)?;
    Ok(())
}

/// How many transfers of an order are still to be sent.
#[procedure(version = 1, reads_only)]
pub fn left(cx: &Context, of: &Of) -> Reply<Left> {
    Ok(Left { times: standing(cx, of)?.left })
}
