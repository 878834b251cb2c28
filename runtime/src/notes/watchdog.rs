//! The watchdog (R23): a thread beside the engines that looks whether a work unit returns.
//!
//! A unit that does not is given up: its note goes to the partner, and whoever had it watched is told, once. The watchdog
//! counts its own looks and not a clock, so that a process that was stopped or swapped out finds no unit hung.
//! With each look it also tells whoever waits for a sign of life of the process.
//! Deliberately absent: what becomes of the engine that hangs.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use lockstep_os::unit_page::signals::Guard;
use lockstep_os::unit_page::{Left, decode};

/// How often is looked.
const LOOK: Duration = Duration::from_millis(10);

/// A work unit that does not return, and was given up.
#[derive(Debug)]
pub struct HungUnit {
    /// Its note, as it was sent.
    pub note: Vec<u8>,
    /// What that says; none when its names were too long for the page, and were cut inside of a letter.
    pub left: Option<Left>,
    /// For so long it had not returned, in milliseconds.
    pub ms: u64,
    /// There was a connection to the partner that took the note.
    pub told: bool,
}

type OnHung = Box<dyn FnOnce(HungUnit) + Send>;

/// One engine that is watched.
struct Watched {
    guard: Weak<Guard>,
    /// The piece that ran at the last look, and how many looks have found it.
    seen: (u64, u64),
    on_hung: OnHung,
}

/// Watches the engines of a processor until it is dropped.
pub struct Watchdog {
    watched: Arc<Mutex<Vec<Watched>>>,
}

impl Watchdog {
    /// Begins to watch; nobody yet. `looked` is called with every look, and must not keep it.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn launch(looked: impl Fn() + Send + 'static) -> io::Result<Self> {
        let watched = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::downgrade(&watched);
        let watch = move || {
            while let Some(watched) = all.upgrade() {
                look_at_all(&watched);
                drop(watched);
                looked();
                std::thread::sleep(LOOK);
            }
        };
        std::thread::Builder::new().name("watchdog".into()).spawn(watch)?;
        Ok(Watchdog { watched })
    }

    /// Watches the engine behind `guard` as long as that lives; `on_hung` is called on the watchdog's thread, and must
    /// not keep it.
    pub fn watch(&self, guard: &Arc<Guard>, on_hung: impl FnOnce(HungUnit) + Send + 'static) {
        let watched = Watched { guard: Arc::downgrade(guard), seen: (0, 0), on_hung: Box::new(on_hung) };
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }
}

fn look_at_all(watched: &Mutex<Vec<Watched>>) {
    let mut hung: Vec<(OnHung, HungUnit)> = Vec::new();
    let mut all = watched.lock().unwrap_or_else(PoisonError::into_inner);
    let mut at = 0;
    while at < all.len() {
        match all[at].guard.upgrade() {
            Some(guard) => match look(&mut all[at].seen, &guard) {
                Some(unit) => hung.push((all.swap_remove(at).on_hung, unit)),
                None => at += 1,
            },
            None => drop(all.swap_remove(at)),
        }
    }
    drop(all);
    hung.into_iter().for_each(|(on_hung, unit)| on_hung(unit));
}

/// Gives up what runs under `guard`, if it hangs.
fn look(seen: &mut (u64, u64), guard: &Guard) -> Option<HungUnit> {
    let Some((piece, hang_ms)) = guard.page().running() else {
        *seen = (0, 0);
        return None;
    };
    *seen = if seen.0 == piece { (piece, seen.1 + 1) } else { (piece, 0) };
    let ms = seen.1 * LOOK.as_millis() as u64;
    if ms < hang_ms {
        return None;
    }
    let note = guard.page().give_up(piece, ms)?;
    let told = guard.send(&note);
    Some(HungUnit { left: decode(&note), note, ms, told })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use lockstep_os::unit_page::{Piece, UnitPage};

    use super::*;

    #[test]
    fn a_unit_that_does_not_return_is_told_of_once_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let guard = |name| {
            let (page, _) = UnitPage::open(&directory.path().join(name)).unwrap();
            Arc::new(Guard::new(Arc::new(page)).unwrap())
        };
        let piece = |unit, hang_ms| Piece {
            kind: 0,
            session: 1,
            number: 2,
            key: b"",
            plugin: &[3; 32],
            procedure: b"transfer",
            unit,
            hang_ms,
        };
        let (hangs, idles, goes_on) = (guard("hangs"), guard("idles"), guard("goes-on"));
        let watchdog = Watchdog::launch(|| {}).unwrap();
        let (told, hung) = mpsc::channel();
        for guard in [&hangs, &idles, &goes_on] {
            let told = told.clone();
            watchdog.watch(guard, move |unit| told.send(unit.left.unwrap().unit).unwrap());
        }
        hangs.page().begin(&piece(b"debit", 50));
        goes_on.page().begin(&piece(b"credit", 60_000));
        let patience = Duration::from_secs(20);
        assert_eq!(hung.recv_timeout(patience).unwrap(), "debit");
        assert!(hangs.page().is_given_up() && !goes_on.page().is_given_up());
        // The next one to hang is told of, and the first not again.
        idles.page().begin(&piece(b"fee", 50));
        assert_eq!(hung.recv_timeout(patience).unwrap(), "fee");
        assert!(goes_on.page().end() && hung.try_recv().is_err());
    }
}
