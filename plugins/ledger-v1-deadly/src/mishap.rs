//! What a work unit can do to its host, on demand.
//!
//! Invariant: it writes nothing before it does it; what hangs and goes on writes afterwards, when nobody takes it any more.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use ledger_v1::name::AccountName;
use ledger_v1::rows::{ACCOUNTS, Account};
use lockstep_plugin_api::prelude::*;
use serde::{Deserialize, Serialize};

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Nothing happens.
    Well,
    /// A null pointer is followed.
    Segfault,
    /// The process is aborted.
    Abort,
    /// The stack runs over.
    Overflow,
    /// It never returns.
    Hang,
    /// It never returns on a host that has the variable [`HANGS`].
    HangThere,
    /// It sleeps until it has been given up, then writes a row and returns.
    Sleep,
    /// It asks its host again and again for a row that nobody writes.
    Ask,
    /// It returns after its deadline.
    Late,
    /// It panics.
    Panic,
}

/// What `mishap` is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mishap {
    /// What is to happen.
    pub how: How,
}

/// The deadline of a unit of `mishap`.
const DEADLINE: Duration = Duration::from_millis(200);
/// A host with this variable is one that hangs in what another survives.
pub const HANGS: &str = "LEDGER_HANGS";
/// How long a unit sleeps to be given up: well beyond its `hang_ms`.
const SLEEP: Duration = Duration::from_millis(2_500);
/// The account that a unit opens once it was given up. No reply says so, and no database has it.
pub const LATE_ACCOUNT: &str = "late";

/// Lets something happen to the host.
#[procedure(version = 1, recovery = complete, deadline_ms = 200, hang_ms = 800)]
pub fn mishap(_mishap: &Mishap) -> Plan<Mishap> {
    Plan::of([prepare, strike])
}

/// Does nothing, and is done.
#[work_unit]
pub fn prepare(_cx: &mut Context, _mishap: &Mishap) -> Outcome {
    Ok(())
}

/// It happens here.
#[work_unit]
pub fn strike(cx: &mut Context, mishap: &Mishap) -> Outcome {
    if mishap.how == How::Panic {
        let span = tracing::info_span!("mishap", how = ?mishap.how);
        span.in_scope(|| tracing::info!("something is about to happen"));
    }
    match mishap.how {
        How::Well => {}
        How::Segfault => follow_null()?,
        How::Abort => std::process::abort(),
        How::Overflow => drop(black_box(overflow(black_box(0)))),
        How::HangThere if std::env::var_os(HANGS).is_none() => {}
        How::Hang | How::HangThere => loop {
            std::thread::park();
        },
        How::Sleep => {
            std::thread::sleep(SLEEP);
            ACCOUNTS.put(cx, &late_account(), &Account::new(u32::MAX, 7))?;
        }
        How::Ask => {
            while !ACCOUNTS.contains(cx, &late_account())? {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        How::Late => std::thread::sleep(DEADLINE + DEADLINE / 2),
        How::Panic => panic!("the mishap panics"),
    }
    Ok(())
}

fn late_account() -> AccountName {
    AccountName::new(LATE_ACCOUNT).expect("a short name is one")
}

/// Follows a pointer that leads nowhere. Safe code has none, so the operating system is asked to make it one.
fn follow_null() -> Outcome {
    let target = 7_u64;
    let reference = &target;
    let place = &raw const reference as u64;
    let memory = OpenOptions::new().write(true).open("/proc/self/mem").map_err(Error::new)?;
    memory.write_all_at(&16_u64.to_ne_bytes(), place).map_err(Error::new)?;
    black_box(**black_box(&reference));
    Ok(())
}

#[expect(unconditional_recursion, reason = "it is to run over its stack")]
fn overflow(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    overflow(depth + 1).wrapping_add(room[3])
}
