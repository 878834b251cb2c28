//! The search itself, by `stateright`: the model with its properties, and what came of it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, Model, Property};

use crate::bounds::Bounds;
use crate::pair::{Action, Pair};

/// What is checked in every state that is visited.
pub const PROPERTIES: [&str; 9] = [
    "an answer rests on what every recorded member has durably, whichever active lets it go",
    "what was answered is in every recorded member's store",
    "a number is answered under one term, an event once",
    "only a recorded member is promoted",
    "a change of active raises the term, and one term has one active",
    "term and number name one entry",
    "one swap at a time, and a side takes over once for each record that promoted it",
    "the core's own invariants",
    "once nothing more goes wrong, the pair comes to rest in sync, in one version, with no campaign under way",
];

struct Searched {
    bounds: Bounds,
    settle_one_in: u64,
    reached: Mutex<BTreeMap<&'static str, u64>>,
    settled: Mutex<u64>,
}

/// What came of a search.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Different states that were visited.
    pub states: u64,
    /// Steps that were taken between states.
    pub steps: u64,
    /// The longest way.
    pub depth: u64,
    /// States from which the fair schedule was played to its end.
    pub settled: u64,
    /// By name: how many steps led to it.
    pub reached: BTreeMap<&'static str, u64>,
    /// How long it took.
    pub seconds: f64,
    /// Whether everything within the bounds was tried.
    pub whole: bool,
    /// What is wrong, if something is.
    pub failure: Option<Failure>,
}

/// A way to something that must not be.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What is wrong.
    pub what: String,
    /// The steps that lead there.
    pub steps: Vec<String>,
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Does `what`; if the core finds itself wrong meanwhile, that is what is wrong.
fn guarded(pair: &mut Pair, what: impl FnOnce(&mut Pair)) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| what(pair))) {
        pair.wrong = Some(said(panic.as_ref()).into());
    }
}

impl Model for Searched {
    type State = Pair;
    type Action = Action;

    fn init_states(&self) -> Vec<Pair> {
        let mut pair = Pair::new(self.bounds);
        if !self.bounds.from_nothing {
            guarded(&mut pair, |pair| {
                pair.start(0, false);
                (0..4).for_each(|_| pair.arbiter_and_outcome(0));
                if let Err(why) = pair.settle() {
                    pair.fails(&why);
                }
            });
        }
        pair.reached.clear();
        pair.identify();
        vec![pair]
    }

    fn actions(&self, pair: &Pair, actions: &mut Vec<Action>) {
        pair.actions(actions);
    }

    fn next_state(&self, pair: &Pair, action: Action) -> Option<Pair> {
        let mut next = pair.clone();
        next.reached.clear();
        guarded(&mut next, |next| next.act(action));
        if next.wrong.is_none() {
            next.identify();
        } else {
            guarded(&mut next, Pair::identify);
        }
        if !next.reached.is_empty() {
            let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
            next.reached.iter().for_each(|what| *reached.entry(what).or_default() += 1);
        }
        (next != *pair).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property {
                expectation: Expectation::Always,
                name: "sound",
                condition: |_, pair| pair.wrong.is_none(),
            },
            Property {
                expectation: Expectation::Always,
                name: "comes to rest",
                condition: |model, pair| model.comes_to_rest(pair).is_ok(),
            },
        ]
    }
}

impl Searched {
    fn comes_to_rest(&self, pair: &Pair) -> Result<(), String> {
        if pair.wrong.is_some() || !pair.identity().is_multiple_of(self.settle_one_in) {
            return Ok(());
        }
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let mut pair = pair.clone();
        match catch_unwind(AssertUnwindSafe(|| pair.settle())) {
            Ok(end) => end,
            Err(panic) => Err(said(panic.as_ref())),
        }
    }
}

/// Tries everything within `bounds`. From one state in `settle_one_in` it is also looked whether all comes to rest. A
/// search that is not done after `time_max` ends, and says so.
///
/// # Panics
/// When `settle_one_in` is 0.
#[must_use]
pub fn explore(bounds: Bounds, settle_one_in: u64, time_max: Duration) -> Explored {
    assert!(settle_one_in > 0, "one in none is nothing");
    let begun = Instant::now();
    let model = Searched { bounds, settle_one_in, reached: Mutex::default(), settled: Mutex::default() };
    let checker = model.checker().timeout(time_max).spawn_dfs().join();
    let failure = checker.discoveries().into_iter().next().map(|(name, path)| {
        let last = path.last_state().clone();
        let what = match (&last.wrong, checker.model().comes_to_rest(&last)) {
            (Some(wrong), _) => wrong.to_string(),
            (None, Err(why)) => why,
            (None, Ok(())) => name.to_owned(),
        };
        let steps = path
            .into_vec()
            .into_iter()
            .filter_map(|(pair, action)| Some(format!("{:?}, at: {}", action?, pair.describe())));
        Failure { what, steps: steps.collect() }
    });
    let model = checker.model();
    let reached = model.reached.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let settled = *model.settled.lock().unwrap_or_else(PoisonError::into_inner);
    Explored {
        states: checker.unique_state_count() as u64,
        steps: checker.state_count() as u64,
        depth: checker.max_depth() as u64,
        settled,
        reached,
        seconds: begun.elapsed().as_secs_f64(),
        whole: begun.elapsed() < time_max,
        failure,
    }
}
