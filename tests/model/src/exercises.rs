//! The searches that are made, each with what it must reach: a search that no longer gets there proves nothing.

use crate::bounds::Bounds;

/// One search.
#[derive(Clone, Copy, Debug)]
pub struct Exercise {
    /// Its name.
    pub name: &'static str,
    /// How much may happen.
    pub bounds: Bounds,
    /// What must be reached.
    pub reaches: &'static [&'static str],
    /// Done in seconds without optimisation: the tests make it.
    pub small: bool,
}

const NOTHING: Bounds = Bounds {
    deaths: 0,
    cuts: 0,
    silences: 0,
    unknown_swaps: 0,
    events: 0,
    switchovers: 0,
    isolations: 0,
    campaigns: 0,
    aborts: 0,
    failed_loads: 0,
    damages: 0,
    late_reads: false,
    from_nothing: false,
    isolating_campaign: false,
    copies: false,
    quiet_deaths: false,
};

/// All of them, the small ones first.
pub const EXERCISES: [Exercise; 18] = [
    Exercise {
        name: "silence",
        bounds: Bounds { silences: 1, events: 1, ..NOTHING },
        reaches: &[
            "a promotion",
            "a shrink",
            "a grow",
            "an event is answered",
            "an active that is not recorded any more answers what is held",
            "a store is cut back",
        ],
        small: true,
    },
    Exercise {
        name: "switchover",
        bounds: Bounds { switchovers: 2, events: 1, ..NOTHING },
        reaches: &["a switchover", "an event is answered"],
        small: true,
    },
    Exercise {
        name: "switchover-cut",
        bounds: Bounds { switchovers: 1, cuts: 1, ..NOTHING },
        reaches: &["a switchover", "a shrink", "a grow"],
        small: true,
    },
    Exercise {
        name: "unknown-swap-silence",
        bounds: Bounds { unknown_swaps: 1, silences: 1, ..NOTHING },
        reaches: &["a swap of unknown outcome took", "a swap of unknown outcome did not take", "a promotion"],
        small: true,
    },
    Exercise {
        name: "unknown-swap-switchover",
        bounds: Bounds { unknown_swaps: 1, switchovers: 1, events: 1, ..NOTHING },
        reaches: &["a swap of unknown outcome took", "a switchover"],
        small: true,
    },
    Exercise {
        name: "isolation",
        bounds: Bounds { isolations: 2, events: 1, ..NOTHING },
        reaches: &["a shrink", "a grow", "an event is answered"],
        small: true,
    },
    Exercise {
        name: "campaign",
        bounds: Bounds { campaigns: 1, aborts: 1, failed_loads: 1, ..NOTHING },
        reaches: &[
            "a campaign evaluates",
            "a campaign changes the second side",
            "a campaign goes back over a switchover",
            "a campaign goes back",
            "a campaign ends in the new version",
            "a campaign ends in the old version",
        ],
        small: true,
    },
    Exercise {
        name: "isolating-campaign",
        bounds: Bounds { campaigns: 1, isolating_campaign: true, ..NOTHING },
        reaches: &["a shrink", "a campaign ends in the new version"],
        small: true,
    },
    Exercise {
        name: "death",
        bounds: Bounds { deaths: 1, events: 1, ..NOTHING },
        reaches: &["a promotion", "a shrink", "a grow", "a store is cut back", "an event is answered"],
        small: false,
    },
    Exercise {
        name: "death-late-reads",
        bounds: Bounds { deaths: 1, late_reads: true, ..NOTHING },
        reaches: &["a promotion", "a shrink"],
        small: false,
    },
    Exercise {
        name: "death-switchover",
        bounds: Bounds { deaths: 1, switchovers: 1, ..NOTHING },
        reaches: &["a switchover", "a restart alone", "a promotion", "a swap comes too late"],
        small: false,
    },
    Exercise {
        name: "death-unknown-swap",
        bounds: Bounds { deaths: 1, unknown_swaps: 1, ..NOTHING },
        reaches: &["a swap of unknown outcome took", "a promotion"],
        small: false,
    },
    Exercise {
        name: "cut",
        bounds: Bounds { cuts: 1, events: 1, ..NOTHING },
        reaches: &["a shrink", "a grow"],
        small: false,
    },
    Exercise {
        name: "cut-silence",
        bounds: Bounds { cuts: 1, silences: 1, ..NOTHING },
        reaches: &["a promotion", "a shrink"],
        small: false,
    },
    Exercise {
        name: "copy",
        bounds: Bounds { copies: true, deaths: 1, quiet_deaths: true, events: 2, ..NOTHING },
        reaches: &["a copy takes the place of a store"],
        small: false,
    },
    Exercise {
        name: "damaged-store",
        bounds: Bounds { deaths: 1, damages: 1, quiet_deaths: true, ..NOTHING },
        reaches: &["a store is found damaged", "a copy takes the place of a store"],
        small: true,
    },
    Exercise {
        name: "two-new-processors",
        bounds: Bounds { from_nothing: true, ..NOTHING },
        reaches: &["a first record", "a grow", "a swap comes too late"],
        small: false,
    },
    Exercise {
        name: "campaign-silence",
        bounds: Bounds { campaigns: 1, silences: 1, ..NOTHING },
        reaches: &["a campaign ends in the new version", "a campaign ends in the old version", "a promotion"],
        small: false,
    },
];

impl Exercise {
    /// The one called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        EXERCISES.into_iter().find(|exercise| exercise.name == name)
    }
}
