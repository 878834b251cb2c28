//! Derived tables (R17): what a version keeps beside the group's rows for itself, an index for example.
//!
//! A derived table holds what the version's `translate` makes of each row of one ordinary table, its source: at every
//! number exactly that, whatever led there: events, shipped updates, entries of a catch-up, a cut back, a copy. A change
//! of a row takes out what the row before gave and puts in what the new one gives, so nothing depends on the order in
//! which rows came. Derived rows belong to one version on one side: they are in no entry, copy, checkpoint or digest.
//!
//! A version that comes into service beside the running one builds its tables first, some rows at a time between
//! events: a fuzzy walk over all rows, while changes of rows that the walk has passed are followed. At its end they are
//! exact.
//!
//! Deliberately absent: formats (the application writes them), reads of what the running procedure has written so far.
//!
//! Most changes of a row leave what it gives as it is: an account's balance is not in an index by name. So a fingerprint of what
//! each row gives is kept, and the row before is translated only if the new one gives something else.
//!
//! Invariants: without a build under way, `rows` are what `translate` makes of the group's rows, unless they are broken. A row
//! that the build has passed has the fingerprint of what it gives; others have none.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::application::Application;
use crate::context::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::descriptor::{ApplicationDescriptor, TableIndex};
use crate::entry::{Op, Row};
use crate::hash_seed::HashSeed;
use crate::ids::TableId;
use crate::row_key::RowKey;
use crate::shared_bytes::SharedBytes;
use crate::state::Change;
use crate::tables::{TableCursor, Tables, Visit};

mod given;

use given::{Fingerprints, Given};

/// The most rows that one row may give in all derived tables.
pub const DERIVED_ROWS_MAX: usize = 256;

/// Rows of an ordered source that are taken out at a time.
const WALK_ROWS: usize = 256;
/// Beyond this many changed rows they are found through an index.
const LINEAR_MAX: usize = 16;

/// A walk over the rows of all sources that is under way.
#[derive(Clone, Debug, Default)]
struct Build {
    /// The source that is being walked; those before it are done.
    at: usize,
    cursor: TableCursor,
    /// Rows that the walk has passed and that are not translated yet.
    left: BTreeMap<RowKey, SharedBytes>,
}

/// The derived tables of one version over one database.
#[derive(Clone, Debug, Default)]
pub struct Derived {
    /// Each source with its place in the descriptor.
    sources: Vec<(TableId, TableIndex)>,
    rows: Tables,
    fingerprints: Fingerprints,
    /// What a row gives, kept so that it does not allocate.
    given: Given,
    build: Option<Build>,
    broken: Option<String>,
    /// Rows translated by the build.
    translated: u64,
}

impl Derived {
    /// The derived tables that `descriptor` declares, empty; to be built by [`build`](Self::build) over whatever rows
    /// there are. Keys are hashed with `seed`.
    #[must_use]
    pub fn of(descriptor: &ApplicationDescriptor, seed: HashSeed) -> Self {
        let (rows, fingerprints) = (Tables::new(seed), Fingerprints::new(seed));
        let mut derived = Derived { rows, fingerprints, ..Derived::default() };
        for (index, table) in descriptor.tables.iter().enumerate() {
            let is_source =
                descriptor.tables.iter().any(|each| each.derived_from.as_ref() == Some(&table.name));
            if is_source {
                derived.sources.push((TableId::of(&table.name), index));
            }
            if table.derived_from.is_some() {
                derived.rows.create(TableId::of(&table.name), table.kind);
            }
        }
        derived.build = (!derived.sources.is_empty()).then(Build::default);
        derived
    }

    /// Whether the version has none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.sources.is_empty()
    }

    /// Whether they are what the group's rows make them, or broken for good.
    #[must_use]
    pub fn is_built(&self) -> bool {
        self.build.is_none()
    }

    /// Why they can't be read: the application's `translate` failed or broke its contract.
    #[must_use]
    pub fn why_broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// How many rows the build has translated.
    #[must_use]
    pub fn translated(&self) -> u64 {
        self.translated
    }

    /// An estimate of the memory that the rows take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.fingerprints.bytes()
    }

    /// The row under `key`.
    #[must_use]
    pub fn get(&self, table: TableId, key: &[u8]) -> Option<&[u8]> {
        self.rows.get(table, key)
    }

    /// The rows with `from <= key < to`, in order of their keys, as long as `visit` returns true.
    pub fn scan(&self, table: TableId, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) {
        self.rows.scan(table, from, to, visit);
    }

    /// Goes on with the build by at most `rows_max` rows; true when it is at its end, or was.
    pub fn build(&mut self, application: &dyn Application, tables: &Tables, rows_max: usize) -> bool {
        let Some(mut build) = self.build.take() else { return true };
        let mut todo = rows_max.max(1);
        while todo > 0 {
            if self.broken.is_some() || build.at == self.sources.len() {
                return true;
            }
            let (table, source) = self.sources[build.at];
            if build.left.is_empty() {
                build.left.extend(tables.walk_table(table, &mut build.cursor, WALK_ROWS));
                if build.cursor.is_done() {
                    build = Build { at: build.at + 1, ..Build::default() };
                    continue;
                }
            }
            let (key, row) = build.left.pop_first().expect("the walk gave rows");
            self.translated += 1;
            todo -= 1;
            let given = self.translate(application, source, &key, &row);
            self.fingerprints.put(table, &key, Some(self.fingerprints.of(&key, &given)));
            self.put_all(given.rows());
            self.given = given;
        }
        self.build = Some(build);
        false
    }

    /// Whether rows of `table` give derived ones.
    #[must_use]
    pub fn derives_from(&self, table: TableId) -> bool {
        self.source(table).is_some()
    }

    fn source(&self, table: TableId) -> Option<TableIndex> {
        self.sources.iter().find(|(id, _)| *id == table).map(|(_, index)| *index)
    }

    /// Follows what an entry has changed, or what taking it back has: `changes` in the order in which they were made.
    /// To be told of every change, also while a build is under way; `tables` have them already.
    pub fn follow(
        &mut self,
        application: &dyn Application,
        tables: &Tables,
        changes: impl Iterator<Item = Change>,
    ) {
        if self.sources.is_empty() || self.broken.is_some() {
            return;
        }
        let changes = changes.filter_map(|change| Some((self.source(change.table)?, change)));
        let rows = first_and_last(changes);
        let mut build = self.build.take();
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for (source, Change { table, key, before, after }) in rows {
            let mut before = before;
            if let Some(build) = &mut build {
                let walked = self.sources.iter().position(|(id, _)| *id == table).expect("it is a source");
                match walked.cmp(&build.at) {
                    Ordering::Greater => continue,
                    Ordering::Equal if !tables.has_passed(table, &build.cursor, &key) => continue,
                    Ordering::Equal if build.left.remove(&key).is_some() => before = None,
                    Ordering::Equal | Ordering::Less => {}
                }
            }
            let new = after.map(|row| self.translate(application, source, &key, &row));
            let fingerprint = new.as_ref().map(|given| self.fingerprints.of(&key, given));
            let known = self.fingerprints.put(table, &key, fingerprint);
            let gives_the_same = known.is_some() && known == fingerprint;
            if let Some(new) = new {
                if !gives_the_same {
                    come.extend(new.rows());
                }
                self.given = new;
            }
            if !gives_the_same && let Some(before) = before {
                let old = self.translate(application, source, &key, &before);
                gone.extend(old.rows());
                self.given = old;
            }
        }
        self.build = build;
        self.take_all(gone);
        self.put_all(come);
    }

    /// What `translate` makes of a row.
    fn translate(
        &mut self,
        application: &dyn Application,
        source: TableIndex,
        key: &RowKey,
        row: &SharedBytes,
    ) -> Given {
        let mut given = std::mem::take(&mut self.given);
        given.clear();
        let mut breach = None;
        let tables = &application.descriptor().tables;
        let name = &tables[source].name;
        let result = application.translate(source, key, row, &mut |table, key, row| {
            let declared = tables.get(table).filter(|declared| declared.derived_from.as_ref() == Some(name));
            match declared {
                None => breach = Some(format!("`translate` of `{name}` wrote to table {table}")),
                Some(_) if given.len() >= DERIVED_ROWS_MAX => {
                    breach =
                        Some(format!("a row of `{name}` gives more than {DERIVED_ROWS_MAX} derived rows"));
                }
                Some(_) if key.len() > KEY_BYTES_MAX || row.len() > VALUE_BYTES_MAX => {
                    breach = Some(format!(
                        "keys have at most {KEY_BYTES_MAX} bytes and rows {VALUE_BYTES_MAX}, derived ones too"
                    ));
                }
                Some(declared) => given.push(TableId::of(&declared.name), key, row),
            }
        });
        if let Some(why) = breach.or(result.err()) {
            self.give_up(why);
        }
        given
    }

    fn put_all(&mut self, given: impl IntoIterator<Item = Row>) {
        for Row { table, key, value: row } in given {
            if self.rows.apply(&Op { table, key, value: Some(row) }).is_some() {
                self.give_up(
                    "two rows give derived rows with one key; put what tells them apart into it".into(),
                );
            }
        }
    }

    fn take_all(&mut self, given: impl IntoIterator<Item = Row>) {
        for Row { table, key, value: row } in given {
            if self.rows.apply(&Op { table, key, value: None }) != Some(row) {
                self.give_up("`translate` made something else of a row than before".into());
            }
        }
    }

    /// Nothing is known of what they hold from here on; they are built anew with the next start, copy or version.
    fn give_up(&mut self, why: String) {
        self.broken.get_or_insert(why);
    }

    /// Compares with what a build over `tables` makes, for tests.
    ///
    /// # Errors
    /// A sentence when they differ.
    pub fn verify(&self, application: &dyn Application, tables: &Tables) -> Result<(), String> {
        if let Some(why) = &self.broken {
            return Err(format!("broken: {why}"));
        }
        if !self.is_built() {
            return Err("a build is under way".into());
        }
        let mut fresh = Derived::of(application.descriptor(), tables.hash_seed());
        while !fresh.build(application, tables, usize::MAX) {}
        let rows = |derived: &Derived| {
            let mut rows = BTreeMap::new();
            for table in derived.rows.ids() {
                derived.scan(table, &[], None, &mut |key, row| {
                    rows.insert((table, key.to_vec()), row.to_vec());
                    true
                });
            }
            rows
        };
        let (kept, built) = (rows(self), rows(&fresh));
        if kept == built {
            return Ok(());
        }
        let differs = kept.iter().find(|(key, row)| built.get(*key) != Some(*row));
        Err(match differs {
            Some((key, row)) => format!("{key:?} holds {row:?}, and a build gives {:?}", built.get(key)),
            None => format!("{} rows are kept, and a build gives {}", kept.len(), built.len()),
        })
    }
}

/// By row what was there first and what is there last: a derived row may go from one row to another within an entry, so
/// all that goes is taken out before anything is put in.
fn first_and_last(changes: impl Iterator<Item = (TableIndex, Change)>) -> Vec<(TableIndex, Change)> {
    let mut rows: Vec<(TableIndex, Change)> = Vec::new();
    let mut index = BTreeMap::new();
    for (source, change) in changes {
        let at = if rows.len() <= LINEAR_MAX {
            rows.iter().position(|(_, row)| row.table == change.table && row.key == change.key)
        } else {
            if index.is_empty() {
                index
                    .extend(rows.iter().enumerate().map(|(at, (_, row))| ((row.table, row.key.clone()), at)));
            }
            index.get(&(change.table, change.key.clone())).copied()
        };
        match at {
            Some(at) => rows[at].1.after = change.after,
            None => {
                if !index.is_empty() {
                    index.insert((change.table, change.key.clone()), rows.len());
                }
                rows.push((source, change));
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::{PutDerived, Run};
    use crate::context::{Overlay, Surroundings, UnitContext};
    use crate::descriptor::{ProcedureIndex, TableDescriptor, TableKind, Version};
    use crate::event::Encoding;
    use crate::ids::{Micros, Number, PluginHash};
    use crate::state::Meta;

    /// A row's first byte is its key in the derived table of its source, the rest its value; a row of one byte gives
    /// none. Sources are tables 0 (hash) and 1 (ordered), derived are 2 (ordered) and 3 (hash).
    struct Turned(ApplicationDescriptor);

    impl Turned {
        fn new() -> Self {
            let table = |name: &str, kind, from: Option<&str>| TableDescriptor {
                name: name.into(),
                kind,
                format: 1,
                reads_from: 1,
                derived_from: from.map(Into::into),
            };
            let tables = vec![
                table("a", TableKind::Hash, None),
                table("b", TableKind::Ordered, None),
                table("of_a", TableKind::Ordered, Some("a")),
                table("of_b", TableKind::Hash, Some("b")),
            ];
            let (name, version, hash) = ("turned".into(), Version::default(), PluginHash::default());
            let descriptor = ApplicationDescriptor {
                name,
                version,
                hash,
                tables,
                features: vec![],
                procedures: vec![],
                sends: None,
            };
            descriptor.check().unwrap();
            Turned(descriptor)
        }
    }

    impl Application for Turned {
        fn descriptor(&self) -> &ApplicationDescriptor {
            &self.0
        }

        fn begin(&self, _: ProcedureIndex, _: Encoding, _: &[u8], _: u64) -> Result<Box<dyn Run>, String> {
            Err("it has no procedure".into())
        }

        fn undo(
            &self,
            _: ProcedureIndex,
            _: &str,
            _: Encoding,
            _: &[u8],
            _: &mut UnitContext<'_>,
        ) -> Result<(), String> {
            Err("it has no undo".into())
        }

        fn check_row(&self, _: TableIndex, _: &[u8], _: &[u8]) -> Result<(), String> {
            Ok(())
        }

        fn translate(
            &self,
            table: TableIndex,
            _: &[u8],
            value: &[u8],
            put: PutDerived<'_>,
        ) -> Result<(), String> {
            match value {
                [b'!', ..] => return Err("it makes no sense".into()),
                [b'>', rest @ ..] => put(usize::from(rest[0]), b"k", rest),
                [_] => {}
                value => put(table + 2, &value[..1], &value[1..]),
            }
            Ok(())
        }
    }

    fn id(table: usize) -> TableId {
        TableId::of(["a", "b", "of_a", "of_b"][table])
    }

    /// Rows and what is derived of them.
    struct Both {
        application: Turned,
        tables: Tables,
        derived: Derived,
    }

    impl Both {
        fn new() -> Self {
            let application = Turned::new();
            let mut tables = Tables::default();
            tables.create(id(0), TableKind::Hash);
            tables.create(id(1), TableKind::Ordered);
            let derived = Derived::of(&application.0, HashSeed::default());
            Both { application, tables, derived }
        }

        fn build(&mut self, rows_max: usize) -> bool {
            self.derived.build(&self.application, &self.tables, rows_max)
        }

        /// An entry with these writes: table, key, row or none.
        fn entry(&mut self, writes: &[(usize, &str, &str)]) {
            let mut changes = Vec::new();
            for (table, key, row) in writes {
                let after: Option<SharedBytes> = (!row.is_empty()).then(|| row.as_bytes().into());
                let op = Op { table: id(*table), key: key.as_bytes().into(), value: after.clone() };
                let before = self.tables.apply(&op);
                changes.push(Change { table: op.table, key: op.key, before, after });
            }
            self.derived.follow(&self.application, &self.tables, changes.into_iter());
        }
    }

    #[test]
    fn whatever_happens_while_they_are_built_they_end_exact() {
        let mut random = 7u64;
        let mut draw = move |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for round in 0..60 {
            let mut both = Both::new();
            // Each row has a place in its derived table of its own, so that no two ever meet there.
            let write = |draw: &mut dyn FnMut(u64) -> u64| {
                let key = draw(60) as u8;
                let row = match draw(4) {
                    0 => String::new(),
                    1 => "x".into(),
                    _ => format!("{}{}", char::from(b'@' + key), draw(100)),
                };
                (draw(2) as usize, format!("key {key}"), row)
            };
            for _ in 0..round * 4 {
                let (table, key, row) = write(&mut draw);
                both.entry(&[(table, &key, &row)]);
            }
            while !both.build(1 + draw(5) as usize) {
                let writes: Vec<_> = (0..draw(40)).map(|_| write(&mut draw)).collect();
                let writes: Vec<_> = writes.iter().map(|(t, key, row)| (*t, &**key, &**row)).collect();
                both.entry(&writes);
            }
            let (table, key, row) = write(&mut draw);
            both.entry(&[(table, &key, &row)]);
            both.derived.verify(&both.application, &both.tables).unwrap();
        }
    }

    #[test]
    fn a_place_may_go_from_one_row_to_another_within_an_entry() {
        let mut both = Both::new();
        assert!(both.build(1));
        both.entry(&[(0, "one", "k1")]);
        // The new owner is written first.
        both.entry(&[(0, "two", "k2"), (0, "one", "x")]);
        assert_eq!(both.derived.why_broken(), None);
        assert_eq!(both.derived.get(id(2), b"k"), Some(&b"2"[..]));
        both.derived.verify(&both.application, &both.tables).unwrap();
    }

    #[test]
    fn what_breaks_the_contract_breaks_the_tables_and_nothing_else() {
        for (writes, says) in [
            (vec![(0, "one", "k1"), (0, "two", "k1")], "two rows give"),
            (vec![(0, "one", "!")], "makes no sense"),
            (vec![(0, "one", ">\x01")], "wrote to table 1"),
            (vec![(0, "one", ">\x03")], "wrote to table 3"),
            (vec![(0, "one", ">\x09")], "wrote to table 9"),
        ] {
            let mut both = Both::new();
            assert!(both.build(1));
            both.entry(&writes);
            let why = both.derived.why_broken().expect("it is noticed").to_owned();
            assert!(why.contains(says), "{why}");
            // A build finds the same.
            both.derived = Derived::of(&both.application.0, HashSeed::default());
            while !both.build(1) {}
            assert!(both.derived.why_broken().is_some_and(|why| why.contains(says)), "{why}");
            // And so does a procedure that reads them.
            assert!(read(&both).expect("a breach").contains(says));
        }
    }

    fn with_context(both: &Both, call: impl FnOnce(&mut UnitContext<'_>)) -> Option<String> {
        let (own, mut overlay) = (Meta::default().own_tables(&both.application.0), Overlay::default());
        let surroundings =
            Surroundings { number: Number(0), time: Micros(0), seed: 0, features: 0, reads_only: false };
        let mut context = UnitContext::new(
            &both.application.0,
            &own,
            &both.tables,
            &both.derived,
            &mut overlay,
            surroundings,
            &[],
            0,
        );
        call(&mut context);
        context.breach()
    }

    fn read(both: &Both) -> Option<String> {
        with_context(both, |context| {
            context.get(2, b"k");
        })
    }

    #[test]
    fn procedures_read_them_and_do_not_write_them() {
        let mut both = Both::new();
        assert!(both.build(1));
        both.entry(&[(0, "one", "k1"), (0, "two", "l2")]);
        assert_eq!(read(&both), None);
        let breach = with_context(&both, |context| {
            assert_eq!(context.get(2, b"k"), Some(&b"1"[..]));
            let mut seen = 0;
            context.scan(2, b"", None, &mut |_, _| {
                seen += 1;
                true
            });
            assert_eq!(seen, 2);
        });
        assert_eq!(breach, None);
        for write in [(|context| context.put(2, b"k", b"1")) as fn(&mut UnitContext<'_>), |context| {
            context.delete(2, b"k")
        }] {
            assert!(with_context(&both, write).expect("a breach").contains("derived table"));
        }
    }
}
