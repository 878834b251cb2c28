//! How much of each thing may happen in one run.

/// What is left to happen; the search tries every order of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Deaths of a process, each with and without loss of what was not synced, and with and without loss of what it had
    /// sent. Starts are free.
    pub deaths: u8,
    /// Cuts of the link, with and without loss of what is in flight. Links come up for free.
    pub cuts: u8,
    /// Silences: a side thinks that the other has been silent for too long.
    pub silences: u8,
    /// Swaps of unknown outcome, each with and without effect.
    pub unknown_swaps: u8,
    /// Events of clients: openings of sessions.
    pub events: u8,
    /// Planned switchovers.
    pub switchovers: u8,
    /// Isolations, and as many integrations.
    pub isolations: u8,
    /// Campaigns.
    pub campaigns: u8,
    /// Aborts of a campaign.
    pub aborts: u8,
    /// Loads of a plugin that fail.
    pub failed_loads: u8,
    /// Stores found damaged by a start, while the other side is active.
    pub damages: u8,
    /// What the arbiter tells comes late. Otherwise a read is answered at once, and swaps alone take their time.
    pub late_reads: bool,
    /// Begin with two processors that have never run, not with a pair in sync.
    pub from_nothing: bool,
    /// The campaign takes the standby out of service while that changes its version.
    pub isolating_campaign: bool,
    /// A returning standby gets a whole copy, however little it lacks.
    pub copies: bool,
    /// Deaths lose nothing but the process.
    pub quiet_deaths: bool,
}
