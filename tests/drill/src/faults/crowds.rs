//! Crowds: ten thousand clients that say nothing, and a hundred that ask and do not listen.

use std::time::{Duration, Instant};

use rig::Failure;
use rig::clients::ClientThread;
use rig::ledger;
use rig::stranger::{Stranger, reads};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::row::{Ending, Fault, Site};
use super::stage::Stage;

/// Clients that say nothing.
const IDLE: usize = 10_000;
/// Clients that do not listen.
const SLOW: usize = 100;
/// Descriptors beside the crowd's.
const BESIDE: u64 = 500;
/// How long the crowd stays: longer than a processor's patience with who takes nothing.
const STAYS: Duration = Duration::from_secs(13);
/// Accounts that the audited load does not know of; they hold nothing.
const OTHERS: u32 = 900_000;

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    vec![
        Fault::new("10,000 idle clients", "serves on, and takes a further client", idle),
        Fault::new("100 slow clients", "serves on; those who take no answers are dropped", slow),
    ]
}

/// Lets this process have so many descriptors; the reason, where the machine does not.
fn descriptors(wanted: u64) -> Result<Result<(), String>, Failure> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(Ok(()));
    }
    if maximum.is_some_and(|maximum| maximum < wanted) {
        let maximum = maximum.unwrap_or_default();
        return Ok(Err(format!("{wanted} descriptors are needed, and a process may have {maximum}")));
    }
    let limit = Rlimit { current: Some(wanted), maximum };
    setrlimit(Resource::Nofile, limit).map_err(std::io::Error::from)?;
    Ok(Ok(()))
}

fn idle(site: &Site<'_>) -> Result<Ending, Failure> {
    if let Err(reason) = descriptors(IDLE as u64 + BESIDE)? {
        return Ok(Ending::Skipped(reason));
    }
    let mut stage = Stage::begin(site)?;
    let address = stage.pair.node(stage.active()?).ready().events.clone();
    stage.begins()?;
    let mut crowd = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut stranger = Stranger::connect(&address)?;
        stranger.greet()?;
        crowd.push(stranger);
    }
    let thread = ClientThread::new()?;
    let client = thread.connect(lockstep_client::connect(vec![address]).deadline(Duration::from_secs(20)))?;
    let opened = thread.call(&client, ledger::open_accounts(OTHERS, 1, 0)).wait()?;
    stage.expect(opened.is_ok(), &format!("a further client was not served: {opened:?}"));
    stage.pass(Duration::from_secs(2))?;
    let mut gone = 0;
    for stranger in crowd.iter_mut().step_by(100) {
        gone += usize::from(stranger.is_ended_within(Duration::from_millis(1))?);
    }
    stage.expect(
        gone == 0,
        &format!("{gone} of {} idle clients that were looked at were dropped", IDLE / 100),
    );
    drop((crowd, client, thread));
    stage.finish()
}

fn slow(site: &Site<'_>) -> Result<Ending, Failure> {
    let mut stage = Stage::begin(site)?;
    let address = stage.pair.node(stage.active()?).ready().events.clone();
    stage.begins()?;
    let mut crowd = Vec::with_capacity(SLOW);
    for _ in 0..SLOW {
        let mut stranger = Stranger::connect(&address)?;
        stranger.greet()?;
        let session = stranger.open_session()?;
        let questions = reads(session, 1, 4_000, "nobody");
        crowd.push((stranger, questions, 0));
    }
    let until = Instant::now() + STAYS;
    while Instant::now() < until {
        for (stranger, questions, said) in &mut crowd {
            // One that was dropped takes nothing more.
            let next = &questions[*said..(*said + (64 << 10)).min(questions.len())];
            *said += stranger.say_what_fits(next).unwrap_or(0);
            if *said == questions.len() {
                *said = 0;
            }
        }
        stage.pass(Duration::from_millis(20))?;
    }
    drop(crowd);
    stage.finish()
}
