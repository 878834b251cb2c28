//! A pair of engines, as a test sees it.
//!
//! Invariant: `done` is the pair's whole history, so that a fresh pair can be brought to where this one stands.

use std::time::Duration;

use lockstep_core::ids::{GroupName, Micros, TableId};
use lockstep_core::verdict::{Verdict, compare};
use lockstep_plugin_api::{Application, Derived, Key, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::{Answer, said};
use crate::call::Call;
use crate::desk::{Desk, Settings};
use crate::linked::descriptor;
use crate::rows::{all_rows, first_difference};

/// One thing that was done with a pair.
#[derive(Clone)]
pub(crate) enum Done {
    /// An event ran.
    Ran(Call),
    /// The standby changed to the library's application with this number.
    Loaded(usize),
    /// The sides switched over.
    SwitchedOver,
    /// Features and formats were enabled.
    Enabled,
    /// Time passed.
    Passed(Duration),
    /// A message of another group came.
    Received(GroupName, Call),
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Done::Ran(call) => f.write_str(&call.procedure),
            Done::Loaded(_) => f.write_str("(load)"),
            Done::SwitchedOver => f.write_str("(switch over)"),
            Done::Enabled => f.write_str("(enable)"),
            Done::Passed(length) => write!(f, "({length:?} pass)"),
            Done::Received(from, call) => write!(f, "{} of {from}", call.procedure),
        }
    }
}

/// How a pair came to be what it is: what a fresh one is made of.
#[derive(Clone)]
pub(crate) struct History {
    pub library: Vec<&'static Application>,
    pub first: [usize; 2],
    pub done: Vec<Done>,
}

impl History {
    /// A fresh pair, brought to the same point.
    #[track_caller]
    pub(crate) fn replay(&self, settings: Settings) -> Desk {
        let mut desk = Desk::new(settings, &self.library, self.first);
        for done in &self.done {
            carry_out(&mut desk, done);
        }
        desk
    }
}

#[track_caller]
fn carry_out(desk: &mut Desk, done: &Done) {
    match done {
        Done::Ran(call) => drop(desk.run(call)),
        Done::Loaded(index) => desk.load(*index),
        Done::SwitchedOver => desk.switch_over(),
        Done::Enabled => desk.enable(),
        Done::Passed(length) => desk.pass(Micros(u64::try_from(length.as_micros()).unwrap_or(u64::MAX))),
        Done::Received(from, call) => desk.receive(from, call),
    }
}

/// What stands in the world, in words.
type Look = fn() -> String;

/// Two engines that run an application: one active, one standby.
///
/// ```
/// use lockstep_test_kit::{Pair, call, example};
/// let mut pair = Pair::of(example::application()).given([call("add", &("eggs", 3u64))]);
/// assert_eq!(pair.run(call("add", &("eggs", 4u64))).reply::<u64>(), 7);
/// ```
pub struct Pair {
    pub(crate) history: History,
    pub(crate) desk: Desk,
    /// How the world is emptied, and how it is looked at.
    pub(crate) world: Option<(fn(), Look)>,
    /// What ran before an upgrade began, by its number in the library.
    pub(crate) before: Option<usize>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let active = self.desk.the_active();
        f.debug_struct("Pair")
            .field("active", &self.application(active))
            .field("standby", &self.application(1 - active))
            .field("done", &self.history.done)
            .finish()
    }
}

/// Panics unless the two versions can run as a pair.
#[track_caller]
pub(crate) fn check_pair(one: &'static Application, other: &'static Application) {
    let [one, other] = [one, other].map(descriptor);
    let (old, new) = if one.version <= other.version { (&one, &other) } else { (&other, &one) };
    let comparison = compare(old, new);
    assert!(
        old.name == new.name && comparison.verdict != Verdict::Incompatible,
        "{} {} and {} {} can't run as a pair: {}",
        old.name,
        old.version,
        new.name,
        new.version,
        comparison.reasons.join("; ")
    );
}

impl Pair {
    /// Both sides run `application`.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, example};
    /// let pair = Pair::of(example::application());
    /// # drop(pair);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn of(application: &'static Application) -> Self {
        Self::start(vec![application], [0, 0])
    }

    /// The active runs one version, the standby another. Procedures of equal versions run in lock step, whatever code
    /// they come from; the others are shipped.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// let mut pair = Pair::of_versions(example::application(), example::next::application());
    /// assert!(!pair.run(call("add", &("eggs", 3u64))).was_shipped());
    /// assert!(pair.run(call("add_all", &[("eggs", 3u64)][..])).was_shipped());
    /// ```
    ///
    /// # Panics
    /// When the versions are incompatible.
    #[must_use]
    #[track_caller]
    pub fn of_versions(active: &'static Application, standby: &'static Application) -> Self {
        if std::ptr::eq(active, standby) {
            return Self::of(active);
        }
        check_pair(active, standby);
        Self::start(vec![active, standby], [0, 1])
    }

    #[track_caller]
    fn start(library: Vec<&'static Application>, first: [usize; 2]) -> Self {
        let desk = Desk::new(Settings::default(), &library, first);
        Pair { history: History { library, first, done: Vec::new() }, desk, world: None, before: None }
    }

    /// Gives crash tests the world that work units with an undo act on: a stand-in of the test's. `empty` empties it
    /// before a fresh pair, and `look` tells what stands in it, which must be the same with and without a crash.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example::post};
    /// Pair::of(post::application())
    ///     .with_world(post::empty, post::look)
    ///     .crash_after_every_work_unit_of(call("letter", &("bob", "hello")))
    ///     .same_outcome_everywhere();
    /// ```
    #[must_use]
    pub fn with_world(mut self, empty: fn(), look: fn() -> String) -> Self {
        self.world = Some((empty, look));
        self
    }

    /// The application that a side runs.
    pub(crate) fn application(&self, node: usize) -> &'static Application {
        self.history.library[self.desk.runs(node)]
    }

    #[track_caller]
    pub(crate) fn done(&mut self, done: Done) {
        carry_out(&mut self.desk, &done);
        self.history.done.push(done);
    }

    /// Runs events before those that matter.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// let pair = Pair::of(example::application())
    ///     .given([call("add", &("eggs", 3u64)), call("add", &("milk", 1u64))]);
    /// assert_eq!(pair.rows(&example::COUNTS).len(), 2);
    /// ```
    ///
    /// # Panics
    /// When one of them is refused or faults, or the two sides differ.
    #[must_use]
    #[track_caller]
    pub fn given(mut self, calls: impl IntoIterator<Item = Call>) -> Self {
        for call in calls {
            let answer = self.run(call);
            assert!(
                answer.refusal().is_none() && answer.fault().is_none(),
                "given: `{}` was {}",
                answer.procedure,
                said(&answer.outcome)
            );
        }
        self
    }

    /// Runs an event to its answer.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// let mut pair = Pair::of(example::application());
    /// assert_eq!(pair.run(call("add", &("eggs", 3u64))).reply::<u64>(), 3);
    /// assert_eq!(pair.run(call("count", &"eggs")).reply::<u64>(), 3);
    /// assert!(pair.run(call("add", &("eggs", 0u64))).refusal().is_some());
    /// ```
    ///
    /// # Panics
    /// When it is turned away (there is no such procedure, the parameters can't be decoded), or the two sides differ.
    #[track_caller]
    pub fn run(&mut self, call: Call) -> Answer {
        let answer = self.desk.run(&call);
        self.history.done.push(Done::Ran(call));
        answer
    }

    /// The rows of a table, in the order of their keys. Both sides hold the same.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// let pair = Pair::of(example::application()).given([call("add", &("eggs", 3u64))]);
    /// assert_eq!(pair.rows(&example::COUNTS), [("eggs".to_string(), 3)]);
    /// ```
    ///
    /// # Panics
    /// When the application has no such table, or a row can't be decoded.
    #[must_use]
    #[track_caller]
    pub fn rows<K: Key, V: Serialize + DeserializeOwned>(&self, table: &Table<K, V>) -> Vec<(K, V)> {
        let state = self.desk.group(self.desk.the_active()).state();
        let id = TableId::of(table.name());
        assert!(state.meta.tables.contains_key(&id), "the application has no table `{}`", table.name());
        let mut rows = Vec::new();
        state.tables.scan(id, &[], None, &mut |key, row| {
            let decoded = table.decode_key(key).and_then(|key| Ok((key, table.decode_row(row)?)));
            rows.push(decoded);
            true
        });
        let mut typed = Vec::new();
        for row in rows {
            typed.push(match row {
                Ok(row) => row,
                Err(why) => panic!("{why}"),
            });
        }
        typed
    }

    /// The rows of a derived table, in the order of their keys. After each event both sides are compared with what a
    /// build over the rows would make.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example::next};
    /// let pair = Pair::of(next::application())
    ///     .given([call("add", &("eggs", 3u64)), call("add", &("milk", 1u64))]);
    /// let by_count = [((1, "milk".to_string()), ()), ((3, "eggs".to_string()), ())];
    /// assert_eq!(pair.derived_rows(&next::BY_COUNT), by_count);
    /// ```
    ///
    /// # Panics
    /// When the application has no such table, or a row can't be decoded.
    #[must_use]
    #[track_caller]
    pub fn derived_rows<K: Key, V: Serialize + DeserializeOwned>(
        &self,
        table: &Derived<K, V>,
    ) -> Vec<(K, V)> {
        let table = table.table();
        let group = self.desk.group(self.desk.the_active());
        let declared = &group.descriptor().tables;
        let is_derived = declared.iter().any(|t| t.name == table.name() && t.derived_from.is_some());
        assert!(is_derived, "the application has no derived table `{}`", table.name());
        let mut rows = Vec::new();
        group.derived().scan(TableId::of(table.name()), &[], None, &mut |key, row| {
            rows.push(table.decode_key(key).and_then(|key| Ok((key, table.decode_row(row)?))));
            true
        });
        rows.into_iter().map(|row| row.unwrap_or_else(|why| panic!("{why}"))).collect()
    }

    /// Panics unless the tables of this pair hold the same bytes as those of `other`: what two versions leave behind as
    /// long as no feature is enabled.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// # let (version_1, version_2) = (example::application(), example::next::application());
    /// let all = || [call("add_all", &[("eggs", 3u64), ("milk", 1u64)][..])];
    /// let old = Pair::of(version_1).given(all());
    /// Pair::of_versions(version_2, version_1).given(all()).same_rows_as(&old);
    /// ```
    ///
    /// # Panics
    /// When a row differs; the message names the first.
    #[track_caller]
    pub fn same_rows_as(&self, other: &Pair) {
        let rows = |pair: &Pair| all_rows(pair.desk.group(pair.desk.the_active()).state());
        if let Some(difference) = first_difference(("here", &rows(self)), ("there", &rows(other))) {
            panic!("{self:?}\nand\n{other:?}\nleft different rows: {difference}");
        }
    }
}
