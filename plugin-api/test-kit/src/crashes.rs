//! The death of the active at every point of a procedure.
//!
//! For each point there is a fresh pair with the same history. The active dies when so much of the procedure has
//! arrived at the standby; that one takes over, and the client asks there again under the same id. What a procedure
//! takes from `cx.time()` and `cx.random()` may differ when it runs again; it is told apart by a run without a crash on
//! another day.

use std::collections::BTreeSet;

use lockstep_core::command::HalfWayEnd;
use lockstep_core::event::Outcome;

use crate::answer::{Answer, said};
use crate::call::Call;
use crate::desk::{Desk, Settings};
use crate::pair::Pair;
use crate::rows::{AllRows, Rows, all_rows, show, show_row};
use crate::trace::Traced;

/// What a takeover does with a procedure that it finds half-way.
///
/// ```
/// # use lockstep_test_kit::{Pair, Takeover, call, example};
/// let crashes = Pair::of(example::application())
///     .crash_after_every_work_unit_of(call("add", &("eggs", 4u64)));
/// assert_eq!(crashes.all()[2].takeover(), Some(Takeover::Completed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// It runs the units that remain, as `recovery = complete` says.
    Completed,
    /// It drops the procedure, and the client's repeat runs it: `recovery = roll_back`, or the body is lost.
    RolledBack,
    /// It drops the procedure and runs it from the start: no unit had run here, the versions differ, or it had begun to
    /// act on the world, which is undone, and has `recovery = complete`.
    RunAgain,
}

/// One crash and what came of it.
///
/// ```
/// # use lockstep_test_kit::{Pair, call, example};
/// let crashes = Pair::of(example::application())
///     .crash_after_every_work_unit_of(call("add", &("eggs", 4u64)));
/// let [first, ..] = crashes.all() else { unreachable!() };
/// assert_eq!(first.point(), "before anything arrived");
/// ```
#[derive(Clone, Debug)]
pub struct Crash {
    point: String,
    takeover: Option<Takeover>,
    undone: Vec<String>,
    answer: Answer,
    rows: AllRows,
    world: String,
}

impl Crash {
    /// When the active died, in words.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// let crashes = Pair::of(example::application())
    ///     .crash_after_every_work_unit_of(call("add", &("eggs", 4u64)));
    /// let points: Vec<&str> = crashes.all().iter().map(|crash| crash.point()).collect();
    /// assert_eq!(points, [
    ///     "before anything arrived",
    ///     "before work unit `check` (1 of 2)",
    ///     "after work unit `check` (1 of 2)",
    ///     "after work unit `count_up` (2 of 2)",
    ///     "after the end of the procedure arrived",
    /// ]);
    /// ```
    #[must_use]
    pub fn point(&self) -> &str {
        &self.point
    }

    /// What the standby did with the procedure when it took over; none when it knew nothing of it, or its end.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, Takeover, call, example};
    /// let crashes = Pair::of(example::application())
    ///     .crash_after_every_work_unit_of(call("add", &("eggs", 4u64)));
    /// assert_eq!(crashes.all()[0].takeover(), None);
    /// assert_eq!(crashes.all()[1].takeover(), Some(Takeover::RunAgain));
    /// ```
    #[must_use]
    pub fn takeover(&self) -> Option<Takeover> {
        self.takeover
    }

    /// The undos that the takeover ran, in order: of work units that act on the world and may have begun.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example::post};
    /// let crashes = Pair::of(post::application())
    ///     .with_world(post::empty, post::look)
    ///     .crash_after_every_work_unit_of(call("letter", &("bob", "hello")));
    /// let undone: Vec<_> = crashes.all().iter().map(|crash| crash.undone().join(", ")).collect();
    /// assert_eq!(undone[5..8], ["unsend", "unsend", "unsend"]);
    /// crashes.same_outcome_everywhere();
    /// ```
    #[must_use]
    pub fn undone(&self) -> &[String] {
        &self.undone
    }

    /// What the client was told in the end.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// let crashes = Pair::of(example::application())
    ///     .crash_after_every_work_unit_of(call("add", &("eggs", 4u64)));
    /// assert!(crashes.all().iter().all(|crash| crash.answer().reply::<u64>() == 4));
    /// ```
    #[must_use]
    pub fn answer(&self) -> &Answer {
        &self.answer
    }
}

/// What came of crashes at every point of a procedure.
///
/// ```
/// # use lockstep_test_kit::{Crashes, Pair, call, example};
/// let crashes: Crashes = Pair::of(example::application())
///     .crash_after_every_work_unit_of(call("add", &("eggs", 4u64)));
/// crashes.same_outcome_everywhere();
/// ```
#[must_use = "crashes alone compare nothing; call `same_outcome_everywhere()`"]
#[derive(Clone, Debug)]
pub struct Crashes {
    procedure: String,
    without: (Answer, AllRows),
    world: String,
    another_day: (Answer, AllRows),
    crashes: Vec<Crash>,
}

fn end(desk: &Desk, answer: Answer) -> (Answer, AllRows) {
    (answer, all_rows(desk.group(desk.the_active()).state()))
}

/// The points at which an active can die that sends the frames `sent` of a procedure with the units `units`: in words,
/// after how many frames, and whether only when it would send the next.
fn points(sent: &[Traced], units: &[String]) -> Vec<(String, usize, bool)> {
    let of = units.len();
    let unit = |at: usize| {
        let name = units.get(at).map_or("?", String::as_str);
        format!("work unit `{name}` ({} of {of})", at + 1)
    };
    let mut points = vec![("before anything arrived".to_string(), 0, false)];
    let mut done = 0;
    for (frames, frame) in (1..).zip(sent) {
        let point = match frame {
            Traced::Intent => "before the procedure, after what it will do to the world was told".into(),
            Traced::UnitBegins => {
                points.push((format!("before {} acts on the world", unit(done)), frames, false));
                points.push((
                    format!("after {} acted on the world, before it was told", unit(done)),
                    frames,
                    true,
                ));
                continue;
            }
            Traced::Begin { .. } => format!("before {}", unit(0)),
            Traced::Unit { .. } => {
                done += 1;
                format!("after {}", unit(done - 1))
            }
            Traced::End { .. } => "after the end of the procedure arrived".into(),
            Traced::Abort(_) => "after the refusal or fault arrived".into(),
        };
        points.push((point, frames, false));
    }
    points
}

impl Pair {
    /// Lets the active die after each work unit of `call`, and before the first, and after the last word of it: each
    /// time in a fresh pair that has done what this one has.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// Pair::of(example::application())
    ///     .given([call("add", &("eggs", 3u64))])
    ///     .crash_after_every_work_unit_of(call("add", &("eggs", 4u64)))
    ///     .same_outcome_everywhere();
    /// ```
    ///
    /// # Panics
    /// When a client that asks twice with the same id is told different things, or nobody takes over.
    #[track_caller]
    pub fn crash_after_every_work_unit_of(&self, call: Call) -> Crashes {
        let day = Settings::default();
        let (empty, look) = self.world.unwrap_or((|| (), String::new));
        empty();
        let mut desk = self.history.replay(day);
        let (active, begun) = (desk.the_active(), desk.trace().len());
        desk.units_run(active);
        let answer = desk.run(&call);
        // What it sends to its own application comes behind it.
        let sent = &desk.trace()[begun..];
        let ends = sent.iter().position(|frame| matches!(frame, Traced::End { .. } | Traced::Abort(_)));
        let points = points(&sent[..ends.map_or(sent.len(), |end| end + 1)], &desk.units_run(active));
        let without = end(&desk, answer);
        let world = look();
        let mut desk = self.history.replay(day.another_day());
        let answer = desk.run(&call);
        let another_day = end(&desk, answer);
        let mut crashes = Vec::new();
        for (point, frames, late) in points {
            empty();
            let mut desk = self.history.replay(day);
            let survivor = 1 - desk.the_active();
            let answer = desk.run_with_crash(&call, frames, late);
            let undone = desk.undos_run(survivor);
            let takeover = desk.half_way().map(|end| match end {
                HalfWayEnd::Completed => Takeover::Completed,
                HalfWayEnd::RolledBack => Takeover::RolledBack,
                HalfWayEnd::RunAgain => Takeover::RunAgain,
                HalfWayEnd::Faulted => unreachable!("no processor of the desk leaves a death note"),
            });
            let (answer, rows) = end(&desk, answer);
            crashes.push(Crash { point, takeover, undone, answer, rows, world: look() });
        }
        Crashes { procedure: call.procedure, without, world, another_day, crashes }
    }
}

impl Crashes {
    /// All of them, in the order of the points.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// let crashes = Pair::of(example::application())
    ///     .crash_after_every_work_unit_of(call("add", &("eggs", 4u64)));
    /// assert_eq!(crashes.all().len(), 5);
    /// ```
    #[must_use]
    pub fn all(&self) -> &[Crash] {
        &self.crashes
    }

    /// Every client got the answer, and every table has the rows, that there are without a crash; nothing is doubled. The
    /// world is as it is without a crash, if it is looked at ([`Pair::with_world`]).
    ///
    /// A value that a procedure takes from `cx.time()` or `cx.random()` may be another one when the procedure ran
    /// again.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// Pair::of(example::application())
    ///     .crash_after_every_work_unit_of(call("add", &("eggs", 4u64)))
    ///     .same_outcome_everywhere();
    /// ```
    ///
    /// # Panics
    /// When an outcome differs; the message names procedure, work unit and what differed.
    #[track_caller]
    pub fn same_outcome_everywhere(&self) {
        for crash in &self.crashes {
            if let Some(difference) = self.difference(crash) {
                panic!(
                    "`{}`: the active died {}, and the outcome is another than without a crash.\n{difference}",
                    self.procedure, crash.point
                );
            }
        }
    }

    fn difference(&self, crash: &Crash) -> Option<String> {
        let (without, another_day) = (&self.without.0.outcome, &self.another_day.0.outcome);
        let got = &crash.answer.outcome;
        if got != without && (without == another_day || !alike(got, without)) {
            return Some(format!("the client was told: {}\nwithout a crash: {}", said(got), said(without)));
        }
        if crash.world != self.world {
            return Some(format!("the world is: {}\nwithout a crash: {}", crash.world, self.world));
        }
        let none = Rows::new();
        let tables: BTreeSet<&String> = crash.rows.keys().chain(self.without.1.keys()).collect();
        tables.into_iter().find_map(|table| {
            let of = |all: &'_ AllRows| all.get(table).cloned().unwrap_or_else(|| none.clone());
            let rows = [&crash.rows, &self.without.1, &self.another_day.1].map(of);
            table_difference(&rows).map(|difference| format!("table `{table}`, {difference}"))
        })
    }
}

/// Whether two outcomes are of one kind.
pub(crate) fn alike(one: &Outcome, other: &Outcome) -> bool {
    match (one, other) {
        (Outcome::Committed { .. }, Outcome::Committed { .. }) => true,
        (Outcome::Refused(one), Outcome::Refused(other)) => one.code == other.code,
        (Outcome::Faulted(one), Outcome::Faulted(other)) => one.kind == other.kind && one.unit == other.unit,
        _ => false,
    }
}

/// Where a table differs from what it is without a crash, beyond what differs from day to day.
fn table_difference([crash, without, another_day]: &[Rows; 3]) -> Option<String> {
    if !without.keys().eq(another_day.keys()) {
        // Its very keys are drawn.
        let (found, expected) = (crash.len(), without.len());
        return (found != expected).then(|| format!("{found} rows; without a crash {expected}"));
    }
    let keys: BTreeSet<&Vec<u8>> = crash.keys().chain(without.keys()).collect();
    keys.into_iter().find_map(|key| {
        let [found, expected, other] = [crash, without, another_day].map(|rows| rows.get(key));
        let drawn = expected != other && found.is_some() == expected.is_some();
        let shown = |row: Option<&Vec<u8>>| show_row(row.map(Vec::as_slice));
        (found != expected && !drawn)
            .then(|| format!("key {}: {}; without a crash {}", show(key), shown(found), shown(expected)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(&str, &str)]) -> Rows {
        rows.iter().map(|(key, row)| (key.as_bytes().to_vec(), row.as_bytes().to_vec())).collect()
    }

    #[test]
    fn what_differs_from_day_to_day_may_differ_after_a_crash() {
        let without = rows(&[("a", "5"), ("at", "monday")]);
        let another_day = rows(&[("a", "5"), ("at", "friday")]);
        let difference = |crash: Rows| table_difference(&[crash, without.clone(), another_day.clone()]);
        assert_eq!(difference(without.clone()), None);
        assert_eq!(difference(rows(&[("a", "5"), ("at", "tuesday")])), None);
        let doubled = difference(rows(&[("a", "9"), ("at", "monday")]));
        assert_eq!(doubled.as_deref(), Some("key \"a\": \"9\"; without a crash \"5\""));
        assert!(difference(rows(&[("a", "5")])).is_some());
        assert!(difference(rows(&[("a", "5"), ("at", "monday"), ("b", "1")])).is_some());
    }

    #[test]
    fn of_rows_with_drawn_keys_the_number_counts() {
        let [without, another_day] = [rows(&[("7", "x")]), rows(&[("8", "x")])];
        let difference = |crash: Rows| table_difference(&[crash, without.clone(), another_day.clone()]);
        assert_eq!(difference(rows(&[("9", "x")])), None);
        assert!(difference(rows(&[("7", "x"), ("9", "x")])).is_some());
    }
}
