//! `lockstep bench`: a load of any procedure against a running pair, and what was measured.
//!
//! - [`template`], [`keys`], [`events`]: what is sent; [`target`]: whom to.
//! - [`mod@run`]: the loop that keeps the pace; [`binary`], [`http`]: connections, which keep an event until it is answered.
//! - [`figures`], [`cpu`], [`report`], [`live`]: what is told.
//!
//! Deliberately absent: a record of answers to be audited (`tests/rig` has that), and several threads: processors and load
//! share a small machine, and one thread is more than they answer.

pub mod args;
mod binary;
mod board;
mod cpu;
mod error;
mod events;
mod figures;
pub(crate) mod http;
mod interrupt;
mod keys;
mod live;
mod report;
mod run;
mod socket;
mod target;
pub(crate) mod template;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use rand::Rng as _;
use rustix::event::epoll;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::args::{Bench, Protocol};
use self::binary::Binary;
use self::board::{Board, Connection};
use self::error::Wrong;
use self::events::Events;
use self::figures::Figures;
use self::http::Http;
use self::live::Live;
use self::report::Report;
use self::run::{LINES, Pace, Phase, Run};
use self::socket::Clock;
use self::target::Target;
use crate::args::{Global, Output};
use crate::failure::{Exit, Failure};
use crate::session::{print, write_out};

/// Events under way on a connection while the load is prepared.
const PREPARE_IN_FLIGHT: usize = 16;

/// As many open files as the system allows: each connection is one. Where that is refused, connecting says what is missing.
fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Measures.
pub fn run(global: &Global, bench: &Bench) -> Result<Exit, Failure> {
    interrupt::listen()?;
    raise_open_files_limit();
    // What is typed wrongly is said before anybody is asked.
    Events::load(bench, 1)?;
    if let Some(procedure) = &bench.prepare {
        Events::prepare(bench, procedure, 1)?;
    }
    let target = Target::find(global, bench)?;
    let application: Rc<str> = bench.application.as_str().into();
    let connections = 0..u64::from(bench.connections);
    match bench.protocol {
        Protocol::Binary => {
            let lines = &target.addresses[..target.addresses.len().min(LINES as usize)];
            let connection = |at: u64| {
                let partition = (at % u64::from(target.partitions)) as u16;
                Binary::new(Rc::clone(&application), partition, lines, at * LINES)
            };
            measure(global, bench, &target, connections.map(connection).collect())
        }
        Protocol::Http => {
            let run: Rc<str> = format!("bench-{:016x}-", rand::rng().random::<u64>()).into();
            let addresses: Rc<[SocketAddr]> = target.addresses.as_slice().into();
            let connection = |at: u64| {
                Http::new(Rc::clone(&run), Rc::clone(&application), Rc::clone(&addresses), at * LINES)
            };
            measure(global, bench, &target, connections.map(connection).collect())
        }
    }
}

fn measure<C: Connection>(
    global: &Global,
    bench: &Bench,
    target: &Target,
    connections: Vec<C>,
) -> Result<Exit, Failure> {
    let mut load = Events::load(bench, target.partitions)?;
    let clock = Clock::start();
    let mut live = Live::new();
    let board = Board {
        clock,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(Wrong::from)?,
        what: Rc::clone(&load.what),
        figures: Figures::new(u64::MAX, u64::MAX, false),
        open: 0,
        last_answer_ns: 0,
        answered: 0,
        resent: 0,
        lost: 0,
        wrong: None,
        said: [None, None],
    };
    let mut run = Run {
        connections,
        board,
        in_flight: bench.in_flight as usize,
        silence_max_ns: bench.silence_max_ms * 1_000_000,
        live: &mut live,
    };
    if let Some(procedure) = &bench.prepare {
        let mut events = Events::prepare(bench, procedure, target.partitions)?;
        prepare(&mut run, &mut events)?;
        // Numbers go on: over HTTP they are the events' keys.
        load.follow(&events);
        run.board.what = Rc::clone(&load.what);
    }

    let ns = |seconds: f64| (seconds * 1e9) as u64;
    let begin_ns = clock.now_ns();
    let from_ns = begin_ns + ns(bench.warm_up_seconds);
    let until_ns = from_ns + ns(bench.seconds);
    run.board.figures = Figures::new(from_ns, until_ns, bench.timeline);
    let pace = match bench.rate {
        None => Pace::Closed,
        Some(rate) => Pace::Open { from_ns: begin_ns, interval_ns: 1e9 / rate },
    };
    let processes: Vec<u32> =
        target.processes.iter().map(|(_, pid)| *pid).chain([std::process::id()]).collect();
    let taken = || processes.iter().map(|pid| cpu::taken_s(*pid).ok()).collect::<Vec<_>>();
    if let Some(missing) = bench.pid.iter().find(|pid| cpu::taken_s(**pid).is_err()) {
        return Err(Wrong::NoProcess(*missing).into());
    }
    let [before, after] = [RefCell::new(Vec::new()), RefCell::new(Vec::new())];
    let phase = Phase {
        events: &mut load,
        pace,
        until_ns,
        moments: vec![
            (from_ns, Box::new(|| *before.borrow_mut() = taken()) as Box<dyn FnMut() + '_>),
            (until_ns, Box::new(|| *after.borrow_mut() = taken())),
        ],
        name: "load",
    };
    let ended = run.phase(phase);
    run.live.end();
    let (left, wrong) = match ended {
        Ok(left) => (left, None),
        Err(wrong) => {
            run.board.figures.end(clock.now_ns());
            (0, Some(wrong))
        }
    };
    if after.borrow().is_empty() {
        *after.borrow_mut() = taken();
    }
    let mut times: Vec<Option<f64>> = before
        .borrow()
        .iter()
        .zip(&*after.borrow())
        .map(|(before, after)| Some((*after)? - (*before)?))
        .collect();
    let own = times.pop().flatten().unwrap_or(0.0);
    let named = target.processes.iter().zip(times);
    let times = named.map(|((name, pid), time)| (name.clone(), *pid, time)).collect();
    let report = Report::of(bench, target.partitions, &run.board, left, times, own);
    tell(global, &report, wrong)
}

fn prepare<C: Connection>(run: &mut Run<'_, C>, events: &mut Events) -> Result<(), Failure> {
    let in_flight = std::mem::replace(&mut run.in_flight, PREPARE_IN_FLIGHT);
    run.board.what = Rc::clone(&events.what);
    let phase =
        Phase { events, pace: Pace::Closed, until_ns: u64::MAX, moments: Vec::new(), name: "preparing" };
    let ended = run.phase(phase);
    run.in_flight = in_flight;
    if let Err(wrong) = ended {
        run.live.end();
        return Err(wrong.into());
    }
    if interrupt::pressed() {
        run.live.end();
        return Err(Wrong::Nothing.into());
    }
    if let Some(fault) = std::mem::take(&mut run.board.said)[1].take() {
        run.live.end();
        return Err(Wrong::Prepare(fault).into());
    }
    Ok(())
}

/// Prints the report, and says what was wrong with the run.
fn tell(global: &Global, report: &Report, wrong: Option<Wrong>) -> Result<Exit, Failure> {
    let wrong = match wrong {
        None if report.events == 0 => Some(Wrong::Nothing),
        None if report.unanswered > 0 => Some(Wrong::Unanswered(report.unanswered)),
        wrong => wrong,
    };
    let Some(wrong) = wrong else {
        print(global.output, &report.text(), report)?;
        return Ok(Exit::Ok);
    };
    if report.events > 0 && global.output == Output::Text {
        write_out(report.text().as_bytes())?;
    }
    let beside = serde_json::to_value(report).unwrap_or_default();
    Err(Failure::from(wrong).beside(if report.events > 0 { beside } else { serde_json::Value::Null }))
}
