//! The same damage for every candidate: the file that the latest records went to is cut, has a bit flipped, or ends in zeros.
//! Everything that was acknowledged must be there, or an error must be said.
//!
//! Zeros at the end are told apart: a sector that never reached the disk looks so. No log can tell them from a record that was
//! never written, unless a later one says that it was; that is what the partner is for.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::Args;
use crate::candidates::{self, Candidate, Failure};
use crate::child::{self, Job};
use crate::crash::{self, Look, Until};
use crate::transfers::mixed;

/// Places counted from the end of what was written, in bytes.
const FROM_END: [u64; 8] = [1, 9, 64, 300, 1_500, 5_000, 20_000, 100_000];

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It ends so many bytes before its end.
    Cut,
    /// A bit is flipped so many bytes before its end.
    Flip,
    /// So many of its last bytes are zeros.
    Zero,
}

impl Kind {
    /// All.
    pub const ALL: [Kind; 3] = [Kind::Cut, Kind::Flip, Kind::Zero];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cut => "cut",
            Kind::Flip => "flip",
            Kind::Zero => "zero",
        }
    }
}

/// How damages of one kind ended.
#[derive(Clone, Debug, Serialize)]
pub struct Damages {
    /// Which.
    pub kind: Kind,
    /// Everything acknowledged was there.
    pub whole: u64,
    /// An error was said.
    pub said: u64,
    /// The library panicked or took its process down.
    pub died: u64,
    /// Acknowledged records were missing, and nothing was said.
    pub missing: u64,
    /// Something else than was written was there, or a hole, and nothing was said.
    pub wrong: u64,
    /// What was seen of the last two, each a line.
    pub silent: Vec<String>,
}

impl Damages {
    /// Nothing went unsaid.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.missing + self.wrong == 0
    }

    /// In a few words.
    #[must_use]
    pub fn in_short(&self) -> String {
        let counts = [
            (self.whole, "whole"),
            (self.said, "said"),
            (self.died, "panicked"),
            (self.missing, "MISSING"),
            (self.wrong, "WRONG"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        counts.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }
}

/// How much is damaged.
#[derive(Clone, Copy)]
pub struct Extent {
    /// So many records are written before.
    pub records: u64,
    /// So many places near the end of what was written.
    pub places: usize,
    /// So many bits flipped anywhere, beside those near the end.
    pub flips: u64,
}

/// Damages copies of one log, each in another way.
///
/// # Errors
/// When the log can't be made or copied.
pub fn damage(
    candidate: Candidate,
    extent: Extent,
    seed: u64,
    args: &Args,
    directory: &Path,
) -> Result<Vec<Damages>, Failure> {
    let place = tempfile::Builder::new().prefix("damage-").tempdir_in(directory)?;
    let whole = place.path().join("whole");
    let life = crash::live(&crash::setting(candidate, &whole), Until::Commits(extent.records))?;
    let acknowledged = life.acknowledged.ok_or("nothing was acknowledged")?;
    let newest = candidates::newest_file(candidate, &whole)?;
    let file = newest.strip_prefix(&whole)?;
    let bytes = fs::read(&newest)?;
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let mut places: Vec<u64> = FROM_END.into_iter().take(extent.places).collect();
        if kind == Kind::Flip {
            places.extend((0..extent.flips).map(|flip| 1 + mixed(seed ^ (flip << 8)) % end));
        }
        let mut damages =
            Damages { kind, whole: 0, said: 0, died: 0, missing: 0, wrong: 0, silent: Vec::new() };
        for from_end in places.into_iter().filter(|from_end| *from_end < end) {
            args.progress(&format!(
                "{}: {} at {from_end} bytes before the end",
                candidate.name(),
                kind.name()
            ));
            let copy = place.path().join("copy");
            copy_sparse(&whole, &copy)?;
            let at = end - from_end;
            let damaged = fs::File::options().write(true).open(copy.join(file))?;
            match kind {
                Kind::Cut => damaged.set_len(at)?,
                Kind::Flip => {
                    let bit = 1 << (mixed(seed ^ at) % 8);
                    damaged.write_all_at(&[bytes[at as usize] ^ bit], at)?;
                }
                Kind::Zero => damaged.write_all_at(&vec![0; from_end as usize], at)?,
            }
            let looked = child::have_done::<Look>(&Job::Look(crash::setting(candidate, &copy)));
            damages.count(looked.ok(), acknowledged, from_end);
            fs::remove_dir_all(&copy)?;
        }
        all.push(damages);
    }
    Ok(all)
}

impl Damages {
    fn count(&mut self, look: Option<Look>, acknowledged: u64, from_end: u64) {
        let Some(look) = look else {
            self.died += 1;
            return;
        };
        if look.said.is_some() {
            self.said += 1;
        } else if let Some(wrong) = look.wrong {
            self.wrong += 1;
            self.silent.push(format!("{} at {from_end} before the end: {wrong}", self.kind.name()));
        } else if look.last < acknowledged {
            self.missing += 1;
            let last = look.last;
            self.silent.push(format!(
                "{} at {from_end} before the end: {acknowledged} was acknowledged, {last} is the last",
                self.kind.name()
            ));
        } else {
            self.whole += 1;
        }
    }
}

/// Copies a directory; journals have long holes, which stay holes.
fn copy_sparse(from: &Path, to: &Path) -> Result<(), Failure> {
    let mut command = Command::new("cp");
    let copied = command.args(["-a", "--sparse=always"]).args([from, to]).stdin(Stdio::null()).status()?;
    if copied.success() { Ok(()) } else { Err("the log can't be copied".into()) }
}
