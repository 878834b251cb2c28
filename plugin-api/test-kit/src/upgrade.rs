//! Upgrades at the desk: the steps of a rolling upgrade, and the way back.
//!
//! Deliberately absent: campaigns with their gates and timers; those are the runtime's, not the application's.

use lockstep_plugin_api::Application;

use crate::linked::descriptor;
use crate::pair::{Done, Pair, check_pair};

impl Pair {
    fn number_of(&mut self, application: &'static Application) -> usize {
        let library = &mut self.history.library;
        if let Some(known) = library.iter().position(|known| std::ptr::eq(*known, application)) {
            return known;
        }
        library.push(application);
        self.desk.add_to_library(application);
        library.len() - 1
    }

    /// The first half of an upgrade: the standby changes to `application`, then becomes active. The other side stands
    /// by on the old version, so what has changed is shipped to it.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// # let (version_1, version_2) = (example::application(), example::next::application());
    /// let pair = Pair::of(version_1).given([call("add", &("eggs", 3u64))]).evaluate(version_2).back();
    /// assert_eq!(pair.rows(&example::COUNTS).len(), 1);
    /// ```
    ///
    /// # Panics
    /// When the versions are incompatible, or the sides differ.
    #[must_use]
    #[track_caller]
    pub fn evaluate(mut self, application: &'static Application) -> Self {
        let active = self.desk.the_active();
        assert!(
            self.desk.runs(0) == self.desk.runs(1),
            "{:?} and {:?} run: another upgrade begins when both sides run the same",
            self.application(active),
            self.application(1 - active)
        );
        assert!(
            !std::ptr::eq(self.application(active), application),
            "{application:?} runs already on both sides"
        );
        check_pair(self.application(active), application);
        self.before = Some(self.desk.runs(active));
        let index = self.number_of(application);
        self.change_standby(index);
        self.done(Done::SwitchedOver);
        self
    }

    /// Both sides change to `application`, one after the other; its features stay off.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, example};
    /// # let (version_1, version_2) = (example::application(), example::next::application());
    /// let pair = Pair::of(version_1).install(version_2);
    /// # drop(pair);
    /// ```
    ///
    /// # Panics
    /// As [`evaluate`](Self::evaluate).
    #[must_use]
    #[track_caller]
    pub fn install(mut self, application: &'static Application) -> Self {
        if !self.is_under_way(application) {
            self = self.evaluate(application);
        }
        let index = self.number_of(application);
        self.change_standby(index);
        self
    }

    /// A whole upgrade: the standby changes to `application`, becomes active, the other side changes, and then features
    /// and row formats are enabled. Also the rest of an upgrade that [`evaluate`](Self::evaluate) or
    /// [`install`](Self::install) began.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// # let (version_1, version_2) = (example::application(), example::next::application());
    /// let mut pair = Pair::of(version_1).given([call("add", &("eggs", 3u64))]).upgrade_to(version_2);
    /// assert_eq!(pair.run(call("add", &("eggs", 1u64))).reply::<u64>(), 4);
    /// ```
    ///
    /// # Panics
    /// As [`evaluate`](Self::evaluate).
    #[must_use]
    #[track_caller]
    pub fn upgrade_to(self, application: &'static Application) -> Self {
        let mut pair = self.install(application);
        pair.done(Done::Enabled);
        pair
    }

    /// The way back to what ran before the upgrade, on both sides.
    ///
    /// ```
    /// # use lockstep_test_kit::{Pair, call, example};
    /// # let (version_1, version_2) = (example::application(), example::next::application());
    /// let mut pair = Pair::of(version_1).install(version_2).back();
    /// assert_eq!(pair.run(call("add", &("eggs", 1u64))).reply::<u64>(), 1);
    /// ```
    ///
    /// # Panics
    /// When there was no upgrade, or features or formats are enabled that the old version can't read.
    #[must_use]
    #[track_caller]
    pub fn back(mut self) -> Self {
        let old = self.before.take().expect("there was no upgrade to go back from");
        let (floor, version) = (self.desk.floor(), descriptor(self.history.library[old]).version);
        assert!(
            version >= floor,
            "there is no way back to {:?}: features or formats of {floor} are enabled",
            self.history.library[old]
        );
        self.change_standby(old);
        if self.desk.runs(self.desk.the_active()) != old {
            self.done(Done::SwitchedOver);
            self.change_standby(old);
        }
        self
    }

    /// Whether an upgrade to `application` has come at least half the way.
    fn is_under_way(&self, application: &'static Application) -> bool {
        self.before.is_some() && std::ptr::eq(self.application(self.desk.the_active()), application)
    }

    #[track_caller]
    fn change_standby(&mut self, index: usize) {
        if self.desk.runs(1 - self.desk.the_active()) != index {
            self.done(Done::Loaded(index));
        }
    }
}
