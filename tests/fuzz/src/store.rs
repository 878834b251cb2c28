//! The files of a store: each damaged in turn, or made anew behind right checksums, and opened as a processor and an operator
//! would. Backups are stores too.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lockstep_core::ids::{SessionId, StoreId};
use lockstep_runtime::offline::Offline;
use lockstep_store::decoders::{Forged, segment};
use lockstep_store::{RealDisk, Store, StoreError, export, inspect};

use crate::good_store::{GoodStore, SEGMENT_BYTES, STORE, checkpointed, logged, options};
use crate::{Target, rounds, samples, scratch};

pub const REDO_SEGMENT: Target = Target {
    name: "redo-segment",
    reads: "`redo-N.log`: the header of a segment, records and their headers, torn ends",
    run: redo_segment,
    seeds: || {
        let good = logged();
        vec![without_zeros(&good.files[good.file("redo-0000000001.log")])]
    },
};

pub const REDO_RECORDS: Target = Target {
    name: "redo-records",
    reads: "records of every kind behind right checksums; what is taken is restored like a backup",
    run: redo_records,
    seeds: records,
};

pub const CHECKPOINT: Target = Target {
    name: "checkpoint",
    reads: "`checkpoint.redb`, changed in places",
    run: checkpoint,
    seeds: || {
        let places: [&[Place]; 3] = [&[], &[(0, 0, 0)], &[(9, 1, 0), (70_000, 8, 0)]];
        places.map(rounds::encoded).into()
    },
};

pub const STORE_MARKS: Target = Target {
    name: "store-marks",
    reads: "`current`, `store`, `written`, `half-copy`, `untrusted`, and names of files beside them",
    run: store_marks,
    seeds: marks,
};

/// Opened in every way, a store is refused with a code, or holds what it held after some entry.
fn judge(good: &GoodStore, dir: &Path) -> bool {
    let known = |digest: u64| good.digests.contains(&digest);
    let code = |error: &StoreError| assert!(error.to_string().starts_with(error.code()), "{error}");
    let looked_at = inspect(&RealDisk, dir, false);
    let exported = export(&RealDisk, dir, false);
    match &exported {
        Ok(exported) => assert!(known(exported.state.digest()), "it holds what it never held"),
        Err(error) => code(error),
    }
    let verified = lockstep_store::verify(&RealDisk, dir, false);
    assert_eq!(verified.is_ok(), exported.is_ok());
    if let Ok(looked_at) = &looked_at {
        let current = looked_at.stores.iter().find(|store| store.current);
        assert!(exported.is_err() || current.is_some_and(|store| store.damage.is_none()));
    }
    match Store::open(Arc::new(RealDisk), dir, options(99)) {
        Ok((store, recovered)) => {
            recovered.warning.as_ref().inspect(|error| code(error));
            match (recovered.trusted, recovered.fresh) {
                (true, false) => assert!(known(recovered.state.digest()), "it holds what it never held"),
                (_, true) => assert_eq!(recovered.state.digest(), good.digests[0]),
                (false, false) => assert!(recovered.warning.is_some()),
            }
            if let Err(error) = store.close() {
                code(&error);
            }
        }
        Err(error) => code(&error),
    }
    exported.is_ok()
}

fn without_zeros(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes[..end].to_vec()
}

fn redo_segment(bytes: &[u8]) -> bool {
    let good = logged();
    let directory = good.copy();
    let mut content = bytes.to_vec();
    // Zeros behind it as in a real one; what is as long as its header says is read on.
    content.resize(content.len().max(SEGMENT_BYTES), 0);
    fs::write(directory.path().join(good.file("redo-0000000001.log")), content)
        .expect("a file can be written");
    judge(good, directory.path())
}

/// Kind, first and last number, held, payload.
type Record = (u8, u64, u64, u64, Vec<u8>);

fn records() -> Vec<Vec<u8>> {
    let all = samples::entries();
    let one_each: Vec<Record> = all
        .iter()
        .map(|entry| (0, entry.number.0, entry.number.0, 0, rounds::encoded(std::slice::from_ref(entry))))
        .collect();
    let last = all.len() as u64;
    let together: Vec<Record> = vec![(0, 1, last, last, rounds::encoded(&all))];
    let cut: Vec<Record> = vec![
        (0, 1, 3, 0, rounds::encoded(&all[..3])),
        (5, 2, 2, 0, Vec::new()),
        (0, 3, 4, 0, rounds::encoded(&all[2..4])),
    ];
    let mut end = samples::meta();
    end.intent = None;
    let copy: Vec<Record> = vec![
        (6, 0, 0, 0, rounds::encoded(&samples::meta())),
        (1, 0, 0, 0, rounds::encoded(&vec![samples::row("alice", "one"), samples::row("bob", "two")])),
        (0, 2, 3, 0, rounds::encoded(&all[1..3])),
        (3, 0, 0, 0, rounds::encoded(&vec![(SessionId(1), samples::session())])),
        (4, 0, 0, 0, rounds::encoded(&vec![("order-7", samples::keyed_reply())])),
        (2, 15, 15, 15, rounds::encoded(&end)),
    ];
    [one_each, together, cut, copy].iter().map(rounds::encoded).collect()
}

fn redo_records(bytes: &[u8]) -> bool {
    let Some(records) = rounds::postcard::<Vec<Record>>(bytes) else { return false };
    let forged = records.into_iter().take(64).map(|(kind, first, last, held, payload)| Forged {
        kind,
        numbers: (first, last),
        held,
        payload,
    });
    let forged: Vec<_> = forged.collect();
    let good = logged();
    let directory = good.copy();
    let dir = directory.path();
    let whole = segment(STORE, 1, &forged, SEGMENT_BYTES);
    fs::write(dir.join(good.file("redo-0000000001.log")), whole).expect("a file can be written");
    let exported = match export(&RealDisk, dir, false) {
        Ok(exported) => exported,
        Err(error) => {
            let damaged = matches!(error, StoreError::Damaged { .. });
            assert!(damaged, "what can't be read is damage: {error}");
            return false;
        }
    };
    let digest = exported.state.digest();
    let (store, recovered) =
        Store::open(Arc::new(RealDisk), dir, options(99)).expect("what can be exported can be opened");
    assert!(recovered.trusted && recovered.state.digest() == digest);
    drop(store);
    // A backup takes as long as some dozen of the rest.
    if bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)).is_multiple_of(32) {
        let beside = scratch::directory();
        let backup = beside.path().join("backup/0");
        let restored = lockstep_store::restore(Arc::new(RealDisk), &backup, &exported, StoreId(5), "boot-1");
        restored.expect("what can be exported can be restored");
        let again = Offline::of_running(backup).export().expect("a backup can be read");
        assert_eq!(again.state.meta, exported.state.meta);
        assert_eq!(again.state.digest(), digest, "a backup holds the same");
        assert_eq!(again.state.sessions, exported.state.sessions);
    }
    true
}

/// Where: half of it the offset if it is odd, else which of the bytes that are not zero; how many from there on; what is added
/// to them.
type Place = (u32, u8, u8);

fn checkpoint(bytes: &[u8]) -> bool {
    let Some(places) = rounds::postcard::<Vec<Place>>(bytes) else { return false };
    let good = checkpointed();
    let directory = good.copy();
    let name = good.file("checkpoint.redb");
    let mut content = good.files[name].clone();
    let used: Vec<usize> = (0..content.len()).filter(|at| content[*at] != 0).collect();
    for (place, count, byte) in places.into_iter().take(16) {
        let half = place as usize / 2;
        let at = if place.is_multiple_of(2) { used[half % used.len()] } else { half % content.len() };
        if count == 255 {
            content.truncate(at);
            break;
        }
        let end = (at + usize::from(count)).min(content.len());
        content[at..end].iter_mut().for_each(|old| *old = old.wrapping_add(byte));
    }
    fs::write(directory.path().join(name), content).expect("a file can be written");
    judge(good, directory.path())
}

const MARKS: [&str; 5] = ["current", "store", "written", "half-copy", "untrusted"];

fn marks() -> Vec<Vec<u8>> {
    let good = logged();
    let content = |at: usize, text: &[u8]| [&[at as u8], text].concat();
    let of = |at: usize| {
        let end = if at == 0 { "current".to_owned() } else { format!("/{}", MARKS[at]) };
        content(at, &good.files[good.file(&end)])
    };
    vec![of(0), of(1), of(2), content(5, b"redo-spare.tmp"), content(6, b"store-7")]
}

/// The first byte says which mark it is, or that the rest is a name.
fn store_marks(bytes: &[u8]) -> bool {
    let Some((which, rest)) = bytes.split_first() else { return false };
    let good = logged();
    let directory = good.copy();
    let own = directory.path().join(format!("store-{STORE}"));
    match which {
        0 => fs::write(directory.path().join(MARKS[0]), rest).expect("a file can be written"),
        1..=4 => fs::write(own.join(MARKS[usize::from(*which)]), rest).expect("a file can be written"),
        _ => {
            let text = String::from_utf8_lossy(rest);
            let name: String = text.chars().filter(|c| !matches!(c, '/' | '\0')).take(60).collect();
            let dir = if which.is_multiple_of(2) { directory.path() } else { &own };
            // A name that the file system does not take, or has.
            if fs::File::create_new(dir.join(name)).is_err() {
                return false;
            }
        }
    }
    judge(good, directory.path())
}
