//! Files of a processor that is down, torn or with a flipped bit, and its start afterwards.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rig::Failure;

use super::row::{Ending, Fault, Site};
use super::stage::Stage;

/// For so long nobody may become active.
const WATCHED: Duration = Duration::from_secs(5);

/// In so many places a file rots.
const ROTTEN: u64 = 64;

/// What is done to a file.
#[derive(Clone, Copy)]
pub enum Damage {
    /// A bit in the middle of what was written is flipped.
    Flip,
    /// A bit in each of sixteen places is flipped: one alone may hit what the file does not use.
    Rot,
    /// The last bytes that were written are zeros.
    Tear,
    /// It ends in the middle of what was written.
    Cut,
    /// It is not there.
    Remove,
    /// It is there, and should not be.
    Make,
}

/// A damage of a file of a standby that is down.
struct Case {
    name: &'static str,
    /// In its data directory; `*` stands for the one name that fits.
    file: &'static str,
    damage: Damage,
    /// What its log says, when the store itself can't be relied on any more.
    noticed: Option<&'static str>,
}

const REDO: &str = "ledger/0/store-*/redo-*.log";
const CASES: [Case; 13] = [
    Case { name: "redo segment: bit flipped", file: REDO, damage: Damage::Flip, noticed: Some("LS0503") },
    Case { name: "redo segment: torn end", file: REDO, damage: Damage::Tear, noticed: None },
    Case { name: "redo segment: cut off", file: REDO, damage: Damage::Cut, noticed: None },
    Case { name: "redo segment: gone", file: REDO, damage: Damage::Remove, noticed: Some("LS0503") },
    Case { name: "current: bit flipped", file: "ledger/0/current", damage: Damage::Flip, noticed: None },
    Case { name: "current: cut off", file: "ledger/0/current", damage: Damage::Cut, noticed: None },
    Case { name: "current: gone", file: "ledger/0/current", damage: Damage::Remove, noticed: None },
    Case {
        name: "mark of the store: bit flipped",
        file: "ledger/0/store-*/store",
        damage: Damage::Flip,
        noticed: Some("LS0503"),
    },
    Case {
        name: "mark of the boot: bit flipped",
        file: "ledger/0/store-*/written",
        damage: Damage::Flip,
        noticed: None,
    },
    Case {
        name: "mark of distrust that nobody made",
        file: "ledger/0/store-*/untrusted",
        damage: Damage::Make,
        noticed: Some("LS0504"),
    },
    Case { name: "kept plugin file: bit flipped", file: "plugins/*.so", damage: Damage::Flip, noticed: None },
    Case { name: "kept plugin file: cut off", file: "plugins/*.so", damage: Damage::Cut, noticed: None },
    Case { name: "audit trail: cut off", file: "trail.jsonl", damage: Damage::Cut, noticed: None },
];

/// All of this kind.
pub fn faults() -> Vec<Fault> {
    let mut all: Vec<Fault> = CASES
        .iter()
        .map(|case| {
            let expected = match case.noticed {
                Some(_) => "noticed at its start; the processor comes back as a copy",
                None => "the processor comes back behind its partner",
            };
            Fault::new(format!("standby's {}", case.name), expected, move |site| standby(site, case))
        })
        .collect();
    let expected =
        "nobody serves: what was acknowledged can't be vouched for; with the file as it was it serves";
    all.push(Fault::new("redo segment of the only one in sync: bit flipped", expected, only_one));
    all
}

fn standby(site: &Site<'_>, case: &Case) -> Result<Ending, Failure> {
    let stage = Stage::begin(site)?;
    let at = 1 - stage.active()?;
    if case.file == "trail.jsonl" {
        // Something that stands in it.
        stage.pair.lockstep(&["switchover", "ledger"])?;
        stage.pair.wait_in_lock_step(Duration::from_secs(20))?;
        let back = 1 - stage.active()?;
        return standby_at(stage, back, case);
    }
    standby_at(stage, at, case)
}

fn standby_at(mut stage: Stage, at: usize, case: &Case) -> Result<Ending, Failure> {
    let data = stage.pair.node(at).data();
    stage.begins()?;
    stage.end(at)?;
    stage.wait_serves(1 - at)?;
    damage(&data, case.file, case.damage)?;
    stage.back(at)?;
    if let Some(code) = case.noticed {
        let noticed = stage.log_has(at, code);
        stage.expect(noticed, &format!("its log does not have {code}"));
    }
    stage.finish()
}

fn only_one(site: &Site<'_>) -> Result<Ending, Failure> {
    let mut stage = Stage::begin(site)?;
    let active = stage.end_one_after_the_other()?;
    let (data, aside) = (stage.pair.node(active).data(), site.directory.join("data.aside"));
    let copied = Command::new("cp").arg("-a").args([&data, &aside]).stdin(Stdio::null()).status()?;
    if !copied.success() {
        return Err(Failure::new("the data directory can't be copied"));
    }
    damage(&data, REDO, Damage::Flip)?;
    for at in [active, 1 - active] {
        stage.back(at)?;
    }
    stage.expect_nobody_serves(WATCHED)?;
    let noticed = stage.log_has(active, "LS0503");
    stage.expect(noticed, "its log does not have LS0503");
    stage.start_again_with(&aside, &data)?;
    stage.finish()
}

/// The file that `pattern` names in `data`: of several the first in the order of their names.
///
/// # Errors
/// When there is none.
pub fn find(data: &Path, pattern: &str) -> Result<PathBuf, Failure> {
    let mut at = data.to_owned();
    for part in pattern.split('/') {
        let Some((begin, end)) = part.split_once('*') else {
            at.push(part);
            continue;
        };
        let names = fs::read_dir(&at)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<String> = names.collect::<Result<_, std::io::Error>>()?;
        names.retain(|name| name.starts_with(begin) && name.ends_with(end));
        names.sort_by_key(|name| (name.len(), name.clone()));
        let name = names.first().ok_or_else(|| Failure::new(format!("there is no {pattern}")))?;
        at.push(name);
    }
    if at.exists() || pattern.ends_with("untrusted") {
        Ok(at)
    } else {
        Err(Failure::new(format!("there is no {pattern}")))
    }
}

/// Does it to the file that `pattern` names in `data`.
///
/// # Errors
/// When there is none, or it can't be changed.
pub fn damage(data: &Path, pattern: &str, damage: Damage) -> Result<(), Failure> {
    let path = find(data, pattern)?;
    let written = || -> Result<(Vec<u8>, u64), Failure> {
        let bytes = fs::read(&path)?;
        // Segments are zeroed ahead: what follows the last byte that is not zero was not written.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        if end == 0 {
            return Err(Failure::new(format!("nothing was written to {pattern}")));
        }
        Ok((bytes, end as u64))
    };
    // A kept plugin file can't be written to.
    let file = || {
        let mut permissions = fs::metadata(&path)?.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        fs::set_permissions(&path, permissions)?;
        fs::File::options().write(true).open(&path)
    };
    match damage {
        Damage::Flip => {
            let (bytes, end) = written()?;
            let middle = end / 2;
            file()?.write_all_at(&[bytes[middle as usize] ^ 0x04], middle)?;
        }
        Damage::Rot => {
            let (bytes, end) = written()?;
            let file = file()?;
            for place in 0..ROTTEN {
                let at = (end * (2 * place + 1) / (2 * ROTTEN)) as usize;
                file.write_all_at(&[bytes[at] ^ 0x04], at as u64)?;
            }
        }
        Damage::Tear => {
            let (_, end) = written()?;
            let torn = end.min(24);
            file()?.write_all_at(&vec![0; torn as usize], end - torn)?;
        }
        Damage::Cut => file()?.set_len(written()?.1 / 2)?,
        Damage::Remove => fs::remove_file(&path)?,
        Damage::Make => fs::write(&path, "nobody knows why\n")?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flip_changes_one_bit_of_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("ledger/0/store-7");
        fs::create_dir_all(&store).unwrap();
        let whole = [vec![0x11; 100], vec![0; 400]].concat();
        fs::write(store.join("redo-1.log"), &whole).unwrap();
        fs::write(store.join("redo-10.log"), vec![0; 500]).unwrap();
        damage(directory.path(), REDO, Damage::Flip).unwrap();
        let flipped = fs::read(store.join("redo-1.log")).unwrap();
        let differ: Vec<_> = (0..500).filter(|at| flipped[*at] != whole[*at]).collect();
        assert_eq!(differ, [50]);
        damage(directory.path(), REDO, Damage::Rot).unwrap();
        let rotten = fs::read(store.join("redo-1.log")).unwrap();
        assert_eq!((0..500).filter(|at| rotten[*at] != flipped[*at]).count(), ROTTEN as usize);
        fs::write(store.join("redo-1.log"), &flipped).unwrap();
        damage(directory.path(), REDO, Damage::Tear).unwrap();
        let torn = fs::read(store.join("redo-1.log")).unwrap();
        assert!(torn[..76] == flipped[..76] && torn[76..].iter().all(|byte| *byte == 0));
        damage(directory.path(), "ledger/0/store-*/untrusted", Damage::Make).unwrap();
        assert!(store.join("untrusted").exists());
        assert!(damage(directory.path(), "ledger/0/current", Damage::Flip).is_err());
    }
}
