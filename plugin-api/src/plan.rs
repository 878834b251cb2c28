//! Work units, features, and the plan that a procedure makes of them from its control parameters.

use crate::context::Context;
use crate::outcome::Outcome;

/// A named behaviour of a version, off until every processor runs that version (R31).
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// const TRANSFER_FEE: Feature = Feature::new("transfer-fee", "one cent a transfer, paid by the sender");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
}

impl Feature {
    /// A feature with a line for operators. Its name is the same in all versions of the application.
    #[must_use]
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Feature { name, description }
    }
}

/// A work unit as its descriptor shows it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitDeclared {
    pub(crate) name: &'static str,
    pub(crate) reads_body: bool,
    pub(crate) undo: Option<&'static str>,
}

/// What takes back what a work unit did to the world (R19). `#[work_unit(undo = ..)]` and `#[procedure(undos = [..])]`
/// name the functions that these are made of.
///
/// An undo is called for a unit that has begun, however far it came, and perhaps more than once: it is idempotent, and
/// content to find nothing to undo. Its context shows the rows as they were before the procedure, and writes none. An
/// error or a panic of it is an alarm: people must look.
///
/// ```
/// use lockstep_plugin_api::prelude::*;
/// # #[derive(Serialize, Deserialize)]
/// # pub struct Letter { to: String }
/// # const SENT: Table<String, u64> = Table::new("sent");
///
/// #[procedure(version = 1)]
/// fn letter(_letter: &Letter) -> Plan<Letter> {
///     Plan::of([send])
/// }
///
/// #[work_unit(undo = unsend)]
/// fn send(_cx: &mut Context, _letter: &Letter) -> Outcome {
///     Ok(())
/// }
///
/// fn unsend(_cx: &Context, _letter: &Letter) -> Outcome {
///     Ok(())
/// }
/// # application! { name: "post", version: "1.0.0", tables: [SENT], procedures: [letter] }
/// # fn main() { assert_eq!(format!("{:?}", application()), "post 1.0.0"); }
/// ```
///
/// An undo writes no rows: with a `&mut Context` it does not compile.
///
/// ```compile_fail,E0308
/// # use lockstep_plugin_api::prelude::*;
/// # #[derive(Serialize, Deserialize)]
/// # pub struct Letter { to: String }
/// #[work_unit(undo = unsend)]
/// fn send(_cx: &mut Context, _letter: &Letter) -> Outcome {
///     Ok(())
/// }
///
/// fn unsend(_cx: &mut Context, _letter: &Letter) -> Outcome {
///     Ok(())
/// }
/// # fn main() {}
/// ```
///
/// Nor does one that takes other control parameters than the unit does.
///
/// ```compile_fail,E0308
/// # use lockstep_plugin_api::prelude::*;
/// # #[derive(Serialize, Deserialize)]
/// # pub struct Letter { to: String }
/// #[work_unit(undo = unsend)]
/// fn send(_cx: &mut Context, _letter: &Letter) -> Outcome {
///     Ok(())
/// }
///
/// fn unsend(_cx: &Context, _to: &String) -> Outcome {
///     Ok(())
/// }
/// # fn main() {}
/// ```
pub struct Undo<P: 'static> {
    name: &'static str,
    run: fn(&Context, &P) -> Outcome,
}

impl<P> Clone for Undo<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P> Copy for Undo<P> {}

impl<P> Undo<P> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(name: &'static str, run: fn(&Context, &P) -> Outcome) -> Self {
        Undo { name, run }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn run(&self, cx: &Context, parameters: &P) -> Outcome {
        (self.run)(cx, parameters)
    }
}

/// A work unit of procedures with control parameters `P`. Made by `#[work_unit]`; a plan that names the function
/// finds it.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// use lockstep_plugin_api::plan::WorkUnit;
///
/// #[work_unit]
/// fn check(_cx: &mut Context, _name: &String) -> Outcome {
///     Ok(())
/// }
///
/// /// Plans may be put together elsewhere; then the procedure lists their units.
/// fn all(last: WorkUnit<String>) -> Plan<String> {
///     Plan::of([last])
/// }
///
/// #[procedure(version = 1, units = [check])]
/// fn look(_name: &String) -> Plan<String> {
///     all(<check as lockstep_plugin_api::plan::IsWorkUnit>::UNIT)
/// }
/// # fn main() {}
/// ```
pub struct WorkUnit<P: 'static> {
    pub(crate) declared: UnitDeclared,
    pub(crate) run: fn(&mut Context, &P) -> Outcome,
    undo: Option<Undo<P>>,
}

impl<P> Clone for WorkUnit<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P> Copy for WorkUnit<P> {}

impl<P> WorkUnit<P> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(name: &'static str, reads_body: bool, run: fn(&mut Context, &P) -> Outcome) -> Self {
        WorkUnit { declared: UnitDeclared { name, reads_body, undo: None }, run, undo: None }
    }

    /// The same unit, which acts on the world and is undone by `undo`.
    #[doc(hidden)]
    #[must_use]
    pub const fn undone_by(mut self, undo: Undo<P>) -> Self {
        self.declared.undo = Some(undo.name);
        self.undo = Some(undo);
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn undo(&self) -> Option<Undo<P>> {
        self.undo
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn declared(&self) -> UnitDeclared {
        self.declared
    }
}

/// What `#[work_unit]` says of the function that it stands on. Written by the macro alone.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// use lockstep_plugin_api::plan::{IsWorkUnit, WorkUnit};
///
/// #[work_unit]
/// fn check(_cx: &mut Context, _name: &String) -> Outcome {
///     Ok(())
/// }
///
/// const CHECK: WorkUnit<<check as IsWorkUnit>::Parameters> = <check as IsWorkUnit>::UNIT;
/// # fn main() { let _ = CHECK; }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a work unit",
    label = "not a work unit",
    note = "put `#[work_unit]` on the function `{Self}`, and name functions, not closures, in a plan"
)]
pub trait IsWorkUnit {
    /// Its control parameters.
    type Parameters: 'static;
    /// The unit.
    const UNIT: WorkUnit<Self::Parameters>;
}

/// What the function of a work unit gives: an [`Outcome`]. The macro asks for it, so that another type is told at the
/// author's line.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a work unit returns `Outcome`, and this one returns `{Self}`",
    label = "write `Outcome`",
    note = "what later units need goes into a `Scratch` or a table, and the reply to `cx.reply(&value)`"
)]
pub trait IsOutcome {
    fn outcome(self) -> Outcome;
}

impl IsOutcome for Outcome {
    fn outcome(self) -> Outcome {
        self
    }
}

#[derive(Clone, Copy)]
enum Condition {
    Always,
    On(Feature),
    Off(Feature),
}

/// The most steps of a plan; an event whose plan has more faults.
///
/// ```
/// assert_eq!(lockstep_plugin_api::plan::STEPS_MAX, 256);
/// ```
pub const STEPS_MAX: usize = 256;

/// The work units of one run of a procedure, in order.
///
/// A plan depends on the control parameters and on which features are on, on nothing else: both sides make it.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// const THANKS: Feature = Feature::new("thanks", "letters are thanked for");
///
/// #[procedure(version = 1)]
/// fn letter(_to: &String) -> Plan<String> {
///     Plan::of([check, send]).when(THANKS, thank).unless(THANKS, close).then(close)
/// }
/// # #[work_unit] fn check(_cx: &mut Context, _to: &String) -> Outcome { Ok(()) }
/// # #[work_unit] fn send(_cx: &mut Context, _to: &String) -> Outcome { Ok(()) }
/// # #[work_unit] fn thank(_cx: &mut Context, _to: &String) -> Outcome { Ok(()) }
/// # #[work_unit] fn close(_cx: &mut Context, _to: &String) -> Outcome { Ok(()) }
/// # fn main() {}
/// ```
pub struct Plan<P: 'static> {
    steps: Vec<(Condition, WorkUnit<P>)>,
}

impl<P> Plan<P> {
    /// These units, in this order.
    #[must_use]
    pub fn of<const N: usize>(units: [WorkUnit<P>; N]) -> Self {
        let mut steps = Vec::with_capacity(N + 4);
        steps.extend(units.map(|unit| (Condition::Always, unit)));
        Plan { steps }
    }

    /// Then this unit.
    #[must_use]
    pub fn then(mut self, unit: WorkUnit<P>) -> Self {
        self.steps.push((Condition::Always, unit));
        self
    }

    /// Then this unit, if the feature is on.
    #[must_use]
    pub fn when(mut self, feature: Feature, unit: WorkUnit<P>) -> Self {
        self.steps.push((Condition::On(feature), unit));
        self
    }

    /// Then this unit, unless the feature is on.
    #[must_use]
    pub fn unless(mut self, feature: Feature, unit: WorkUnit<P>) -> Self {
        self.steps.push((Condition::Off(feature), unit));
        self
    }

    /// The units that are to run, given which features are on.
    pub(crate) fn resolve(
        self,
        is_on: impl Fn(Feature) -> Result<bool, String>,
    ) -> Result<Vec<WorkUnit<P>>, String> {
        let mut units = Vec::with_capacity(self.steps.len());
        for (condition, unit) in self.steps {
            let runs = match condition {
                Condition::Always => true,
                Condition::On(feature) => is_on(feature)?,
                Condition::Off(feature) => !is_on(feature)?,
            };
            if runs {
                units.push(unit);
            }
        }
        Ok(units)
    }
}
