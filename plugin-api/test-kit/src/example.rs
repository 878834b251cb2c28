//! The application that the examples of this crate's documentation run: counters by name. Its items are what examples
//! are made of, so they have none of their own.
//!
//! ```
//! use lockstep_test_kit::{Pair, call, example};
//! let mut pair = Pair::of(example::application()).given([call("add", &("eggs", 3u64))]);
//! assert_eq!(pair.run(call("count", &"eggs")).reply::<u64>(), 3);
//! ```

use std::time::Duration;

use lockstep_plugin_api::prelude::*;

application! {
    name: "counter",
    version: "1.0.0",
    tables: [COUNTS],
    procedures: [add, add_all, count, announce],
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

/// Tells the application `news` what a counter has come to, now and then again every so many seconds.
#[procedure(version = 1)]
pub fn announce(cx: &mut Context, every: &(String, u64)) -> Reply<()> {
    let (name, seconds) = every;
    let count = COUNTS.get(cx, name)?.unwrap_or(0);
    cx.send(To::application("news"), "count_is", &(name, count))?;
    cx.set_timer(name, When::After(Duration::from_secs(*seconds)), announce, every)?;
    Ok(())
}

pub mod next {
    //! Its next version, in which `add_all` has changed, and which finds counters by what they have come to.

    use lockstep_plugin_api::prelude::*;

    use super::{Add, COUNTS, add, announce, count};

    application! {
        name: "counter",
        version: "1.1.0",
        tables: [COUNTS, BY_COUNT],
        procedures: [add, add_all, count, announce],
    }

    /// Counters by what they have come to.
    pub const BY_COUNT: Derived<(u64, String), ()> =
        Table::new("by_count").ordered().derived(&Translate { from: COUNTS, by: by_count });

    #[allow(clippy::ptr_arg)] // the table has a `String` as its key
    fn by_count(name: &String, count: &u64, rows: &mut Translated<'_, (u64, String), ()>) {
        rows.put(&(*count, name.clone()), &());
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

pub mod post {
    //! One that acts on the world: it puts letters into a letter box, which is a static of this program.

    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use lockstep_plugin_api::prelude::*;

    application! {
        name: "post",
        version: "1.0.0",
        tables: [SENT],
        procedures: [letter],
    }

    /// How many letters somebody was sent.
    pub const SENT: Table<String, u64> = Table::new("sent");

    static BOX: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());

    /// Empties the letter box.
    pub fn empty() {
        BOX.lock().expect("nothing panics with it").clear();
    }

    /// What is in the letter box.
    pub fn look() -> String {
        format!("{:?}", BOX.lock().expect("nothing panics with it"))
    }

    /// To whom, and what.
    pub type Letter = (String, String);

    /// Writes a letter down and sends it.
    #[procedure(version = 1, recovery = complete)]
    pub fn letter(_letter: &Letter) -> Plan<Letter> {
        Plan::of([note, send, confirm])
    }

    /// Counts it.
    #[work_unit]
    pub fn note(cx: &mut Context, letter: &Letter) -> Outcome {
        let sent = SENT.get(cx, &letter.0)?.unwrap_or(0) + 1;
        SENT.put(cx, &letter.0, &sent)?;
        Ok(())
    }

    /// Puts it into the box.
    #[work_unit(undo = unsend)]
    pub fn send(_cx: &mut Context, letter: &Letter) -> Outcome {
        let mut all = BOX.lock().expect("nothing panics with it");
        all.entry(letter.0.clone()).or_default().push(letter.1.clone());
        Ok(())
    }

    /// Takes it out again, if it is there.
    pub fn unsend(_cx: &Context, letter: &Letter) -> Outcome {
        let mut all = BOX.lock().expect("nothing panics with it");
        all.remove(&letter.0);
        Ok(())
    }

    /// Has the last word.
    #[work_unit]
    pub fn confirm(cx: &mut Context, letter: &Letter) -> Outcome {
        refuse_unless!(!letter.1.is_empty(), "empty", "{} would get nothing to read", letter.0);
        cx.reply(&true)?;
        Ok(())
    }
}
