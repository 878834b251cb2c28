//! The link between the two: cut, cut one way, slow, with flipped bits, with frames that no processor sends.

use std::time::{Duration, Instant};

use rig::Failure;
use rig::proxy::LinkProxy;

use super::row::{Ending, Fault, Site};
use super::stage::{Plan, Stage};

/// How long a link is bad: longer than any time-out that says so.
const BAD: Duration = Duration::from_secs(5);
/// Of so many bytes one has a flipped bit.
const MANGLED_EVERY: u64 = 40_000;
/// The header of a frame of so many bytes, with a checksum of nothing.
fn header(bytes: u32) -> Vec<u8> {
    [bytes.to_le_bytes(), 0_u32.to_le_bytes()].concat()
}

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    let alone = "the active goes on alone; the standby is caught up when the link is back";
    let silent = "the standby hears nothing and takes over; the other one is caught up when the link is back";
    let anew = "the link is made anew; nobody is lost for good";
    vec![
        Fault::new("link cut 5 s", alone, |site| bad(site, |link, _| link.cut())),
        Fault::new("link cut 5 s: what the active sends", silent, |site| {
            bad(site, |link, active| link.cut_from(active))
        }),
        Fault::new("link cut 5 s: what the standby sends", alone, |site| {
            bad(site, |link, active| link.cut_from(1 - active))
        }),
        Fault::new("link slow: 20 ms", "serves, slower or alone", |site| {
            bad(site, |link, _| link.slow_down(Duration::from_millis(20)))
        }),
        Fault::new("link flips bits: 1 byte of 40,000, 5 s", anew, mangled),
        Fault::new("link: corrupt frame from the active", anew, |site| injected(site, true, vec![0xa5; 64])),
        Fault::new("link: corrupt frame from the standby", anew, |site| {
            injected(site, false, vec![0xa5; 64])
        }),
        Fault::new("link: oversized frame from the active", anew, |site| {
            injected(site, true, header(u32::MAX))
        }),
        Fault::new("link: oversized frame from the standby", anew, |site| {
            injected(site, false, header(u32::MAX))
        }),
        Fault::new("link: endless frame from the active", anew, |site| {
            injected(site, true, header(32 << 20))
        }),
        Fault::new("link: endless frame from the standby", anew, |site| {
            injected(site, false, header(32 << 20))
        }),
    ]
}

fn proxied(site: &Site<'_>) -> Result<Stage, Failure> {
    Stage::with(site, Plan { proxied: true, ..Plan::of(site) })
}

/// The link is bad for a while, and good again; what makes it bad is told who is active.
fn bad(site: &Site<'_>, make_bad: impl Fn(&LinkProxy, usize)) -> Result<Ending, Failure> {
    let mut stage = proxied(site)?;
    stage.begins()?;
    make_bad(stage.link()?, stage.active()?);
    stage.pass(BAD)?;
    let before = stage.answered();
    stage.wait_answers(before + 50)?;
    stage.link()?.calm();
    stage.link()?.heal();
    stage.finish()
}

fn mangled(site: &Site<'_>) -> Result<Ending, Failure> {
    let mut stage = proxied(site)?;
    stage.begins()?;
    stage.link()?.mangle(MANGLED_EVERY);
    stage.pass(BAD)?;
    stage.link()?.calm();
    let flipped = stage.link()?.mangled();
    stage.expect(flipped > 0, "no bit was flipped");
    stage.finish()
}

/// Something comes between two frames of a processor, once; nobody mends the link but the two themselves.
fn injected(site: &Site<'_>, by_active: bool, bytes: Vec<u8>) -> Result<Ending, Failure> {
    let mut stage = proxied(site)?;
    let active = stage.active()?;
    let from = if by_active { active } else { 1 - active };
    stage.begins()?;
    let begun = Instant::now();
    stage.link()?.inject(from, bytes);
    // Longer than any silence that one of them acts on.
    stage.pass(Duration::from_secs(4))?;
    stage.pair.wait_in_lock_step(Duration::from_secs(60))?;
    let whole = begun.elapsed();
    stage
        .expect(whole < Duration::from_secs(30), "it took more than 30 s until they were in lock step again");
    stage.finish()
}
