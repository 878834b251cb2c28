//! Strangers at the ports for events and for links: corrupt, oversized and endless frames.

use std::time::{Duration, Instant};

use rig::Failure;
use rig::stranger::Stranger;

use super::row::{Ending, Fault, Site};
use super::stage::Stage;

/// How many strangers at once.
const STRANGERS: usize = 20;
/// How long one who says nonsense may stay.
const STAYS_MAX: Duration = Duration::from_secs(5);
/// How long one who says nothing whole may stay: the processor waits ten seconds for a hello.
const SILENT_MAX: Duration = Duration::from_secs(20);
/// How long an endless frame goes on.
const DRIPS: Duration = Duration::from_secs(4);

/// Where.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    Events,
    Link,
}

/// What is said there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Corrupt,
    Oversized,
    Endless,
}

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    let mut all = Vec::new();
    for (port, name) in [(Port::Events, "event port"), (Port::Link, "link port")] {
        for (what, word) in
            [(What::Corrupt, "corrupt"), (What::Oversized, "oversized"), (What::Endless, "endless")]
        {
            let name = format!("{name}: {word} frames of 20 strangers");
            let expected = "their connections end, nobody else notices";
            all.push(Fault::new(name, expected, move |site| said(site, port, what)));
        }
    }
    all
}

fn said(site: &Site<'_>, port: Port, what: What) -> Result<Ending, Failure> {
    let mut stage = Stage::begin(site)?;
    let ready = stage.pair.node(stage.active()?).ready().clone();
    let address = if port == Port::Events { ready.events } else { ready.link };
    stage.begins()?;
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        let mut stranger = Stranger::connect(&address)?;
        // What is endless comes before a hello, so that nobody ever is greeted.
        if port == Port::Events && what != What::Endless {
            stranger.greet()?;
        }
        stranger.say(&match what {
            What::Corrupt => [&100_u32.to_le_bytes()[..], &[0xa5; 104]].concat(),
            What::Oversized => vec![0xff; 64],
            What::Endless => [2_000_u32.to_le_bytes(), [0; 4]].concat(),
        })?;
        strangers.push(stranger);
    }
    if what == What::Endless {
        let until = Instant::now() + DRIPS;
        while Instant::now() < until {
            // One that was shown the door takes nothing any more.
            strangers.iter_mut().for_each(|stranger| drop(stranger.say_what_fits(&[0x5a; 4])));
            stage.pass(Duration::from_millis(100))?;
        }
    }
    let patience = if what == What::Endless { SILENT_MAX } else { STAYS_MAX };
    let mut stayed = 0;
    for stranger in &mut strangers {
        stayed += usize::from(!stranger.is_ended_within(patience)?);
    }
    stage.expect(stayed == 0, &format!("{stayed} of {STRANGERS} strangers were still connected"));
    stage.finish()
}
