//! Fee holidays: for a while, transfers cost nothing. The holiday is a timer, which is of plugin API 1.1: hosts of 1.0
//! refuse this version.
//!
//! Version 1 has neither of these procedures, so they are refused until the upgrade is through.

use std::time::Duration;

use lockstep_plugin_api::prelude::*;

/// The timer that is set while there is a holiday.
const HOLIDAY: &str = "fee-holiday";
/// The longest holiday.
pub const SECONDS_MAX: u32 = 7 * 24 * 3_600;

/// What `fee_holiday` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holiday {
    /// How long from now on transfers cost nothing.
    pub seconds: u32,
}

/// Begins a holiday, or gives the one under way another end.
#[procedure(version = 1, recovery = complete)]
pub fn fee_holiday(cx: &mut Context, holiday: &Holiday) -> Reply<()> {
    let seconds = holiday.seconds;
    refuse_unless!(
        (1..=SECONDS_MAX).contains(&seconds),
        "length",
        "a holiday lasts from 1 to {SECONDS_MAX} seconds, not {seconds}"
    );
    cx.set_timer(HOLIDAY, When::After(Duration::from_secs(seconds.into())), fee_holiday_over, holiday)?;
    Ok(())
}

/// What the timer starts. By then it is gone, and the holiday is over.
#[procedure(version = 1, recovery = complete)]
pub fn fee_holiday_over(cx: &mut Context, holiday: &Holiday) -> Reply<()> {
    cx.log(Level::Info, format_args!("a fee holiday of {} s is over", holiday.seconds));
    Ok(())
}

/// Whether there is one now.
pub(crate) fn is_on(cx: &Context) -> Result<bool, Error> {
    Ok(cx.timer(HOLIDAY)?.is_some())
}
