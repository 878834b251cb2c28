//! Standing orders, version 2: `give_holiday` asks the ledger for a fee holiday, by a message.
//!
//! The ledger has `fee_holiday` from its version 2 on, so that one goes first: an upgrade to this version is refused beside
//! a ledger that would not know what to do with the message. The rest is the code of version 1, called from here.
#![forbid(unsafe_code)]

use lockstep_plugin_api::prelude::*;
use standing_orders::{ORDERS, cancel, due, left, order};

application! {
    name: "orders",
    version: "2.0.0",
    tables: [ORDERS],
    procedures: [order, cancel, due, left, give_holiday],
    sends: [Receiver::new("ledger", "transfer"), Receiver::new("ledger", "fee_holiday")],
}

/// Control parameters of `give_holiday`, and of the ledger's `fee_holiday`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holiday {
    /// How long from its arrival on transfers cost nothing.
    pub seconds: u32,
}

/// Asks the ledger for a holiday.
#[procedure(version = 1)]
pub fn give_holiday(cx: &mut Context, holiday: &Holiday) -> Reply<()> {
    cx.send(To::application("ledger"), "fee_holiday", holiday)?;
    Ok(())
}
