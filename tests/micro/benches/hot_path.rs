//! The hot path's parts by the clock: `cargo bench -p micro`.
#![forbid(unsafe_code)]

use divan::Bencher;
use divan::counter::ItemsCount;
use micro::{BATCH, Part};

#[global_allocator]
static ALLOCATOR: lockstep_os::heap::Heap = lockstep_os::heap::Heap;

fn main() {
    divan::main();
}

#[divan::bench(args = Part::ALL)]
fn a_batch(bencher: Bencher<'_, '_>, part: Part) {
    let mut work = part.prepare();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| work.round());
}
