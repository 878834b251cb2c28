//! Runs seeds of chaos: `cargo run --release -p lockstep-sim --example seeds -- FROM TO`, or one with its story:
//! `-- SEED`. Prints what was seen and the seeds that broke the promise; exit status 1 when there are any.
#![forbid(unsafe_code)]

use std::panic::AssertUnwindSafe;

use lockstep_sim::chaos;
use lockstep_sim::world::Seen;

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [seed] => {
            chaos::tell(seed);
        }
        [from, to] => {
            std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
            let (mut seen, mut failed) = (Seen::default(), Vec::new());
            for seed in from..to {
                match std::panic::catch_unwind(AssertUnwindSafe(|| chaos::seen(&chaos::run(seed, false)))) {
                    Ok(more) => {
                        more.counts
                            .into_iter()
                            .for_each(|(what, n)| *seen.counts.entry(what).or_default() += n);
                    }
                    Err(_) => {
                        eprintln!("  seed {seed}");
                        failed.push(seed);
                    }
                }
            }
            seen.counts.iter().for_each(|(what, count)| println!("{count:>10}  {what}"));
            println!("{} of {} seeds broke the promise: {failed:?}", failed.len(), to - from);
            std::process::exit(i32::from(!failed.is_empty()));
        }
        _ => eprintln!("usage: seeds FROM TO, or seeds SEED"),
    }
}
