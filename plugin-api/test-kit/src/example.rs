//! The application that the examples of this crate's documentation run: counters by name.

use lockstep_plugin_api::prelude::*;

application! {
    name: "counter",
    version: "1.0.0",
    tables: [COUNTS],
    procedures: [add, add_all, count],
}

/// Counters by name.
pub const COUNTS: Table<String, u64> = Table::new("counts");

/// A name and by how much its counter grows.
pub type Add = (String, u64);

/// Makes a counter grow, by at least one, and replies what it has come to.
#[procedure(version = 1, recovery = complete)]
pub fn add(_add: &Add) -> Plan<Add> {
    Plan::of([check, count_up])
}

/// There is something to add.
#[work_unit]
pub fn check(_cx: &mut Context, add: &Add) -> Outcome {
    refuse_unless!(add.1 > 0, "nothing", "{} is to grow by at least one", add.0);
    Ok(())
}

/// Adds it.
#[work_unit]
pub fn count_up(cx: &mut Context, add: &Add) -> Outcome {
    let count = COUNTS.get(cx, &add.0)?.unwrap_or(0) + add.1;
    COUNTS.put(cx, &add.0, &count)?;
    cx.reply(&count)?;
    Ok(())
}

/// Makes several counters grow.
#[procedure(version = 1)]
pub fn add_all(cx: &mut Context, all: &Vec<Add>) -> Reply<()> {
    for (name, by) in all {
        let count = COUNTS.get(cx, name)?.unwrap_or(0) + by;
        COUNTS.put(cx, name, &count)?;
    }
    Ok(())
}

/// What a counter has come to.
#[procedure(version = 1, reads_only)]
pub fn count(cx: &Context, name: &String) -> Reply<u64> {
    Ok(COUNTS.get(cx, name)?.unwrap_or(0))
}

pub mod next {
    //! Its next version, in which `add_all` has changed.

    use lockstep_plugin_api::prelude::*;

    use super::{Add, COUNTS, add, count};

    application! {
        name: "counter",
        version: "1.1.0",
        tables: [COUNTS],
        procedures: [add, add_all, count],
    }

    /// Makes several counters grow, each by at least one.
    #[procedure(version = 2)]
    pub fn add_all(cx: &mut Context, all: &Vec<Add>) -> Reply<()> {
        for (name, by) in all {
            refuse_unless!(*by > 0, "nothing", "{name} is to grow by at least one");
            let count = COUNTS.get(cx, name)?.unwrap_or(0) + by;
            COUNTS.put(cx, name, &count)?;
        }
        Ok(())
    }
}
