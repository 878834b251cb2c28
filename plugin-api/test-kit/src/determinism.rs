//! Whether an event does the same on every run (R20).
//!
//! The same history and the same event, with the same time and seed, on fresh databases: on several threads, with other
//! addresses and hash seeds, and on each thread a second time, when the program has run these events before. Then the
//! event alone, on a pair that is started again from what the databases held: here, and in a fresh program, where statics
//! are as at its start, once and once more. All that the units did is compared, update by update.
//!
//! Deliberately absent: time. A clock that is read in whole seconds may not have moved on between the runs.

use std::thread;
use std::time::Duration;

use lockstep_core::entry::{Op, TableMeta};
use lockstep_core::ids::TableId;

use crate::answer::said;
use crate::call::Call;
use crate::desk::Settings;
use crate::fresh;
use crate::hints::{HINTS, ORDER};
use crate::linked::descriptor;
use crate::pair::{History, Pair};
use crate::rows::{show, show_row};
use crate::trace::Traced;

/// On how many threads the event runs, twice on each.
const THREADS: usize = 4;
/// What a fresh program has that a processor has.
const FRESH: &str = "whose statics are as after a processor's restart";
/// How long is waited between them, so that clocks move on.
const PAUSE: Duration = Duration::from_millis(3);

impl Pair {
    /// Runs what was done so far and then `call` several times over, each time on a fresh database, and compares what
    /// the work units did.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// Pair::of(example::application())
    ///     .given([call("add", &("eggs", 3u64))])
    ///     .deterministic(call("add", &("eggs", 4u64)));
    /// ```
    ///
    /// # Panics
    /// When two runs differ. The message names the first work unit that did something else, and says what to use
    /// instead of what it may have used.
    #[track_caller]
    pub fn deterministic(&self, call: Call) {
        let first = in_a_thread(&self.history, &call, 0);
        let [fresh, ..] = &first;
        let later = (1..THREADS).flat_map(|thread| in_a_thread(&self.history, &call, thread));
        let others: Vec<Vec<Traced>> = first.iter().skip(1).cloned().chain(later).collect();
        for other in &others {
            if let Some(difference) = self.first_difference(fresh, other) {
                panic!("{difference}\n{HINTS}");
            }
        }
        self.same_in_a_fresh_program(&call);
    }

    /// What is left in statics by events before shows here: a processor that was started again has none of it.
    #[track_caller]
    fn same_in_a_fresh_program(&self, call: &Call) {
        let application = self.application(self.desk.the_active());
        let snapshot = self.desk.snapshot();
        let [here, _] = fresh::run_twice(application, &snapshot, call);
        let runs = match fresh::in_a_fresh_program(application, &snapshot, call) {
            Some(Ok(runs)) => runs,
            Some(Err(panic)) => panic!("in a fresh program: {panic}"),
            None => return,
        };
        for other in &runs {
            if let Some(difference) = self.first_difference(&here, other) {
                panic!("{difference}; the other one was a run in a fresh program, {FRESH}\n{HINTS}");
            }
        }
    }

    fn first_difference(&self, one: &[Traced], other: &[Traced]) -> Option<String> {
        let mut running = String::new();
        let mut position = 0;
        for at in 0..one.len().max(other.len()) {
            let (left, right) = (one.get(at), other.get(at));
            if left == right {
                match left {
                    Some(Traced::Begin { procedure, .. }) => {
                        (running, position) = (procedure.clone(), 0);
                    }
                    Some(Traced::Unit { .. }) => position += 1,
                    Some(Traced::Intent | Traced::UnitBegins | Traced::End { .. } | Traced::Abort(_))
                    | None => {}
                }
                continue;
            }
            let version = self.application(self.desk.the_active());
            let what = self.between(left, right, position);
            return Some(format!("`{running}` of {version:?} is not deterministic: {what}"));
        }
        None
    }

    /// How two frames at one place differ.
    fn between(&self, left: Option<&Traced>, right: Option<&Traced>, position: usize) -> String {
        let number = position + 1;
        match (left, right) {
            (
                Some(Traced::Unit { name: Some(name), updates, .. }),
                Some(Traced::Unit { name: Some(other), updates: others, .. }),
            ) if name == other => {
                let order = in_another_order(updates, others);
                let order = if order { format!("\n{ORDER}") } else { String::new() };
                let what = self.first_update(updates, others);
                format!("work unit `{name}` (number {number}) did {what}{order}")
            }
            (left, right) => {
                let [left, right] = [left, right].map(course);
                format!("step {number}: on one run {left}, on another {right}")
            }
        }
    }

    fn first_update(&self, one: &[Op], other: &[Op]) -> String {
        let shown = |op: Option<&Op>| op.map_or_else(|| "nothing more".into(), |op| self.update(op));
        let at = (0..one.len().max(other.len())).find(|at| one.get(*at) != other.get(*at));
        let at = at.unwrap_or(0);
        format!("on one run {}, on another {}", shown(one.get(at)), shown(other.get(at)))
    }

    fn update(&self, op: &Op) -> String {
        let value = show_row(op.value.as_deref());
        match op.table {
            TableId::REPLY => format!("reply {value}"),
            TableId::SCRATCH => format!("scratch {} = {value}", show(&op.key)),
            table => {
                let tables = self.history.library.iter().flat_map(|known| descriptor(known).tables);
                let name = tables.map(|known| known.name).find(|name| TableId::of(name) == table);
                let own = TableMeta::own().into_iter().find(|own| own.id == table).map(|own| own.name);
                let name = name.or(own);
                let name = name.unwrap_or_else(|| "(unknown)".into());
                format!("{name}[{}] = {value}", show(&op.key))
            }
        }
    }
}

/// The traces of a fresh run on a new thread and of a second one there.
fn in_a_thread(history: &History, call: &Call, thread: usize) -> [Vec<Traced>; 2] {
    let run = || {
        let mut desk = history.replay(Settings { observed: true, ..Settings::default() });
        desk.run(call);
        desk.trace().to_vec()
    };
    thread::scope(|scope| {
        let runs = scope.spawn(|| {
            if thread > 0 {
                thread::sleep(PAUSE);
            }
            // Whatever comes next lies elsewhere.
            let ballast: Vec<Vec<u8>> = (0..thread * 64).map(|size| vec![0; 24 + size]).collect();
            let traces = [run(), run()];
            drop(ballast);
            traces
        });
        runs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What a frame says, for people.
fn course(traced: Option<&Traced>) -> String {
    match traced {
        None => "nothing".into(),
        Some(Traced::Begin { procedure, .. }) => format!("`{procedure}` began"),
        Some(Traced::Unit { name, .. }) => {
            format!("work unit `{}` ended well", name.as_deref().unwrap_or("?"))
        }
        Some(Traced::Intent) => "a procedure was about to act on the world".into(),
        Some(Traced::UnitBegins) => "a work unit was about to act on the world".into(),
        Some(Traced::End { .. }) => "the procedure ended well".into(),
        Some(Traced::Abort(outcome)) => format!("it was {}", said(outcome)),
    }
}

/// Whether the updates are the same but for their order, or the bytes of a row are.
fn in_another_order(one: &[Op], other: &[Op]) -> bool {
    let sorted = |ops: &[Op]| {
        let mut ops: Vec<_> = ops.iter().map(|op| (op.table.0, op.key.clone(), op.value.clone())).collect();
        ops.sort();
        ops
    };
    let bytes = |op: &Op| {
        let mut bytes = op.value.as_deref().unwrap_or_default().to_vec();
        bytes.sort_unstable();
        bytes
    };
    let differing = one.iter().zip(other).find(|(one, other)| one != other);
    sorted(one) == sorted(other)
        || differing.is_some_and(|(one, other)| one.key == other.key && bytes(one) == bytes(other))
}
