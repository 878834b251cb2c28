//! Every target over its seeds, its kept inputs and inputs by seed, within a budget.
//!
//! `LOCKSTEP_FUZZ_SECONDS=N` takes N seconds for each target instead, `LOCKSTEP_FUZZ_SEED=N` begins at another seed,
//! `LOCKSTEP_FUZZ_ONLY=NAME` runs one target, `LOCKSTEP_FUZZ_KEEP=1` writes the seeds into the corpus. An input that fails is
//! kept there, and the message says where.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fuzz_targets::{TARGETS, Target, chances, corpus, memory};

/// So many inputs by seed, for each target,
const INPUTS: u64 = 4_000;
/// and no more after so long: those that read whole directories are slower.
const TIME_MAX: Duration = Duration::from_millis(700);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// What is wrong with what `target` makes of an input; else whether it was taken.
fn tried(target: &Target, bytes: &[u8]) -> Result<bool, String> {
    let peak = memory::peak();
    let taken = target.outcome(bytes)?;
    let grown = memory::peak().saturating_sub(peak);
    if grown > memory::GROWTH_MAX {
        Err(format!("the process grew by {} MB", grown >> 20))
    } else {
        Ok(taken)
    }
}

/// How often something was tried, and how often it was taken.
fn all_of(target: &Target) -> Result<(u64, u64), String> {
    let seeds = (target.seeds)();
    for (at, seed) in seeds.iter().enumerate() {
        match tried(target, seed) {
            Ok(true) => {}
            Ok(false) => {
                return Err(format!("{}: seed {at} is a real encoding, and is not taken", target.name));
            }
            Err(why) => return Err(format!("{}: seed {at}: {why}", target.name)),
        }
        if number("LOCKSTEP_FUZZ_KEEP").is_some() {
            let _ = corpus::keep(target, "seed", seed);
        }
    }
    let kept = corpus::kept(target);
    for (name, bytes) in &kept {
        tried(target, bytes).map_err(|why| format!("{}: the kept input {name}: {why}", target.name))?;
    }
    let inputs: Vec<_> = seeds.into_iter().chain(kept.into_iter().map(|(_, bytes)| bytes)).collect();
    let first = number("LOCKSTEP_FUZZ_SEED").unwrap_or(0);
    let (most, longest) = match number("LOCKSTEP_FUZZ_SECONDS") {
        Some(seconds) => (u64::MAX, Duration::from_secs(seconds)),
        None => (INPUTS, TIME_MAX),
    };
    let begun = Instant::now();
    let (mut count, mut taken) = (0, 0);
    while count < most && begun.elapsed() < longest {
        let seed = first.wrapping_add(count);
        let bytes = chances::input(&inputs, seed);
        match tried(target, &bytes) {
            Ok(was_taken) => taken += u64::from(was_taken),
            Err(why) => {
                let path = corpus::keep(target, "found", &bytes);
                let (name, path) = (target.name, path.display());
                return Err(format!("{name}: seed {seed}: {why}\n  the input is kept in {path}"));
            }
        }
        count += 1;
    }
    Ok((count, taken))
}

#[test]
fn nothing_that_is_read_breaks_a_decoder() {
    let only = std::env::var("LOCKSTEP_FUZZ_ONLY").ok();
    let wanted: Vec<_> =
        TARGETS.iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name)).collect();
    assert!(!wanted.is_empty(), "there is no such target");
    let (next, told) = (AtomicUsize::new(0), Mutex::new((String::new(), Vec::new())));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(target) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let outcome = all_of(target);
                    let mut told = told.lock().expect("nobody panics with it");
                    match outcome {
                        Ok((count, taken)) => {
                            let ms = begun.elapsed().as_millis();
                            let name = target.name;
                            let _ =
                                writeln!(told.0, "{name:20} {count:>8} inputs, {taken:>8} taken, {ms:>6} ms");
                        }
                        Err(why) => told.1.push(why),
                    }
                }
            });
        }
    });
    let (table, failures) = told.into_inner().expect("nobody panics with it");
    drop(std::panic::take_hook());
    println!("{table}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
