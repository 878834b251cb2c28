//! The context of a work unit: an overlay over the tables, deterministic time and random numbers, features, reply.
//!
//! What a unit writes goes to the overlay, never to the tables; the overlay is dropped on rollback, and its
//! operations are what is shipped, digested and logged. One overlay serves a whole run; it is kept and emptied
//! between runs so that it does not allocate.

mod posting;

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::derived::Derived;
use crate::descriptor::{ApplicationDescriptor, FeatureIndex, TableIndex};
use crate::entry::{Op, OpRef};
use crate::event::EventId;
use crate::ids::{Micros, Number, TableId};
use crate::row_key::RowKey;
use crate::shared_bytes::SharedBytes;
use crate::tables::{self, Tables};
use crate::updates::{Place, Updates};
use crate::witness::Witness;

/// The longest key of a row, in bytes.
pub const KEY_BYTES_MAX: usize = 1 << 10;
/// The longest row, in bytes.
pub const VALUE_BYTES_MAX: usize = 4 << 20;
/// The most operations of a procedure.
pub const OPS_MAX: usize = 65_536;
/// The most bytes of all updates of a procedure, keys, values and what is beside them: its entry has to fit into a frame.
pub const UPDATES_BYTES_MAX: usize = 16 << 20;
/// How much room for the updates of the next run is kept, in bytes.
const UPDATES_BYTES_KEPT: usize = 64 << 10;
/// Beyond this many operations the overlay finds its rows through an index.
const LINEAR_MAX: usize = 16;

/// The writes of a procedure's run: its updates in one piece, and where each of them lies.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    updates: Updates,
    written: Vec<Written>,
    index: BTreeMap<(TableId, RowKey), usize>,
}

/// One of the overlay's updates.
#[derive(Clone, Copy, Debug)]
struct Written {
    table: TableId,
    removes: bool,
    place: Place,
    /// Where it goes, if that is known.
    row: Option<tables::Place>,
}

impl Written {
    /// Whether it outlives its run: scratch and reply do not, as rows.
    fn is_committed(&self) -> bool {
        self.table != TableId::SCRATCH && self.table != TableId::REPLY
    }
}

impl Overlay {
    /// One that begins with `ops`.
    #[must_use]
    pub fn of(ops: &[Op]) -> Self {
        let mut overlay = Overlay::default();
        ops.iter().for_each(|op| overlay.push(op.lent()));
        overlay
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.updates.clear(UPDATES_BYTES_KEPT);
        self.written.clear();
        self.index.clear();
    }

    /// The number of operations so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.written.len()
    }

    /// Whether nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// The operations from `start` on, in order.
    pub fn ops_from(&self, start: usize) -> impl Iterator<Item = OpRef<'_>> {
        self.written[start..].iter().map(|written| self.op(written))
    }

    /// All operations so far, in order.
    pub fn ops(&self) -> impl Iterator<Item = OpRef<'_>> {
        self.ops_from(0)
    }

    /// All operations so far, in order, each with the place that it goes to, if that is known.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (OpRef<'_>, Option<tables::Place>)> {
        self.written.iter().map(|written| (self.op(written), written.row))
    }

    /// Whether operations of `bytes`, keys and values together, are too many.
    pub(crate) fn lacks_room(&self, bytes: usize) -> bool {
        self.updates.as_bytes().len() + bytes > UPDATES_BYTES_MAX
    }

    #[inline]
    fn key(&self, written: &Written) -> &[u8] {
        let Place { key_end, key_len, .. } = written.place;
        &self.updates.as_bytes()[(key_end - key_len) as usize..key_end as usize]
    }

    #[inline]
    fn value(&self, written: &Written) -> Option<&[u8]> {
        let Place { end, value_len, .. } = written.place;
        (!written.removes).then(|| &self.updates.as_bytes()[(end - value_len) as usize..end as usize])
    }

    fn op(&self, written: &Written) -> OpRef<'_> {
        OpRef { table: written.table, key: self.key(written), value: self.value(written) }
    }

    /// Adds an operation on `tables`, whose row is there when the operation is carried out: it is asked for now.
    pub fn put(&mut self, op: OpRef<'_>, tables: &Tables) {
        let row = tables.fetch(op.table, op.key);
        self.push_at(op, row);
    }

    /// Adds an operation.
    pub fn push(&mut self, op: OpRef<'_>) {
        self.push_at(op, None);
    }

    fn push_at(&mut self, op: OpRef<'_>, row: Option<tables::Place>) {
        if self.written.len() == LINEAR_MAX {
            for (at, written) in self.written.iter().enumerate() {
                self.index.insert((written.table, self.key(written).into()), at);
            }
        }
        if self.written.len() >= LINEAR_MAX {
            self.index.insert((op.table, op.key.into()), self.written.len());
        }
        let place = self.updates.place(op);
        self.written.push(Written { table: op.table, removes: op.value.is_none(), place, row });
    }

    /// The last write to `key`, if any: `Some(None)` for a deletion.
    #[must_use]
    pub fn get(&self, table: TableId, key: &[u8]) -> Option<Option<&[u8]>> {
        let written = if self.written.len() <= LINEAR_MAX {
            self.written.iter().rev().find(|written| written.table == table && self.key(written) == key)
        } else {
            self.index.get(&(table, key.into())).map(|at| &self.written[*at])
        };
        written.map(|written| self.value(written))
    }

    fn last_writes(&self, table: TableId, from: &[u8], to: Option<&[u8]>) -> BTreeMap<&[u8], Option<&[u8]>> {
        let within = |key: &[u8]| key >= from && to.is_none_or(|to| key < to);
        let own = self.ops().filter(|op| op.table == table && within(op.key));
        own.map(|op| (op.key, op.value)).collect()
    }

    /// The digest of the operations from `start` on: what one unit did (R15).
    #[must_use]
    pub fn digest_from(&self, start: usize) -> u64 {
        xxh3_64(self.bytes_from(start))
    }

    /// The operations from `start` on, as they are encoded.
    fn bytes_from(&self, start: usize) -> &[u8] {
        let bytes = self.updates.as_bytes();
        let begin = self.written.get(start).map_or(bytes.len(), |first| first.place.begin as usize);
        &bytes[begin..]
    }

    /// The reply that the units have made so far; empty when none did.
    #[must_use]
    pub fn reply(&self) -> SharedBytes {
        self.get(TableId::REPLY, &[]).flatten().unwrap_or_default().into()
    }

    /// Drops what is not to be committed: what is left are the operations on real tables.
    pub fn keep_committed(&mut self) {
        let Some(at) = self.written.iter().position(|written| !written.is_committed()) else { return };
        self.index.clear();
        // Most runs write their rows, and then at most a reply.
        if !self.written[at..].iter().any(Written::is_committed) {
            self.updates.truncate(at, self.written[at].place.begin);
            return self.written.truncate(at);
        }
        let all = std::mem::take(self);
        all.committed().for_each(|op| self.push(op));
    }

    /// The operations from `start` on.
    #[must_use]
    pub fn updates_from(&self, start: usize) -> Updates {
        Updates::of_encoded(self.bytes_from(start), self.written[start..].len())
    }

    /// All operations as an entry has them.
    #[must_use]
    pub fn updates(&self) -> &Updates {
        &self.updates
    }

    /// How many of the first `end` operations are to be committed.
    #[must_use]
    pub fn committed_before(&self, end: usize) -> usize {
        self.written[..end].iter().filter(|written| written.is_committed()).count()
    }

    /// The operations that are to be committed.
    pub fn committed(&self) -> impl Iterator<Item = OpRef<'_>> {
        self.written.iter().filter(|written| written.is_committed()).map(|written| self.op(written))
    }
}

/// The part of a run's surroundings that both sides know from `Begin`.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// The number of the procedure; a read's is that of what it reads.
    pub number: Number,
    /// The time of the procedure (R33).
    pub time: Micros,
    /// The seed of its random numbers.
    pub seed: u64,
    /// Which of the descriptor's features are on.
    pub features: u64,
    /// Whether the procedure may write.
    pub reads_only: bool,
}

/// What is run, for logs.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The event.
    pub event: &'a EventId,
    /// Its procedure.
    pub procedure: &'a str,
    /// The work unit, or the undo.
    pub unit: &'a str,
}

/// A table of the descriptor's, as it stands in the group: what each call of a unit needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnTable {
    /// Its id.
    pub id: TableId,
    /// The format in which its rows are to be written: that of the group's floor (R17).
    pub format: u16,
    /// It is a derived one (R17).
    pub derived: bool,
}

/// What a work unit sees and does.
pub struct UnitContext<'a> {
    witness: Option<&'a dyn Witness>,
    descriptor: &'a ApplicationDescriptor,
    own_tables: &'a [OwnTable],
    tables: &'a Tables,
    derived: &'a Derived,
    overlay: &'a mut Overlay,
    surroundings: Surroundings,
    body: &'a [u8],
    random_state: u64,
    breach: Option<String>,
    piece: Option<Piece<'a>>,
}

impl<'a> UnitContext<'a> {
    /// The context of the unit at `position`. `own_tables` are the descriptor's tables, in its order.
    #[expect(
        clippy::too_many_arguments,
        reason = "a context is where everything meets; each part is borrowed"
    )]
    pub fn new(
        descriptor: &'a ApplicationDescriptor,
        own_tables: &'a [OwnTable],
        tables: &'a Tables,
        derived: &'a Derived,
        overlay: &'a mut Overlay,
        surroundings: Surroundings,
        body: &'a [u8],
        position: usize,
    ) -> Self {
        // Each unit has a series of its own, so that a unit that draws more does not move the next one's numbers.
        let random_state = surroundings.seed ^ (position as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        UnitContext {
            witness: None,
            descriptor,
            own_tables,
            tables,
            derived,
            overlay,
            surroundings,
            body,
            random_state,
            breach: None,
            piece: None,
        }
    }

    /// The same, which knows what is run.
    #[must_use]
    pub fn of(mut self, piece: Piece<'a>) -> Self {
        self.piece = Some(piece);
        self
    }

    /// The same, whose witness hears of each call of the unit's.
    #[must_use]
    pub fn seen_by(mut self, witness: &'a dyn Witness) -> Self {
        self.witness = Some(witness);
        self
    }

    /// Who is to hear of each call of the unit's, if anybody is.
    #[must_use]
    pub fn witness(&self) -> Option<&'a dyn Witness> {
        self.witness
    }

    /// What is run, if the context knows it.
    #[must_use]
    pub fn piece(&self) -> Option<Piece<'a>> {
        self.piece
    }

    /// The number of the procedure; a read's is that of what it reads.
    #[must_use]
    pub fn number(&self) -> Number {
        self.surroundings.number
    }

    /// The first breach of the contract, if the unit committed one; its procedure faults.
    #[must_use]
    pub fn breach(self) -> Option<String> {
        self.breach
    }

    /// What the application says of itself.
    #[must_use]
    pub fn descriptor(&self) -> &ApplicationDescriptor {
        self.descriptor
    }

    fn breached(&mut self, what: impl Into<String>) {
        self.breach.get_or_insert(what.into());
    }

    fn table(&mut self, table: TableIndex) -> Option<OwnTable> {
        let own = self.own_tables.get(table).copied();
        if own.is_none() {
            self.breached(format!("table {table} is not declared"));
        }
        own
    }

    /// The id of a table that units write; none, and a breach, when it is a derived one or not declared.
    fn written(&mut self, table: TableIndex) -> Option<TableId> {
        let own = self.table(table)?;
        if own.derived {
            self.breached("a procedure wrote to a derived table, which `translate` alone does");
            return None;
        }
        Some(own.id)
    }

    /// A read of a derived table that is broken is a breach.
    fn reads_derived(&mut self, table: TableIndex) {
        if let Some(why) = self.derived.why_broken() {
            let name = self.descriptor.tables.get(table).map_or("", |table| table.name.as_str());
            self.breached(format!("derived table `{name}` can't be read: {why}"));
        }
    }

    /// The row under `key`, as this procedure has left it so far; in a derived table, as it was before this procedure.
    pub fn get(&mut self, table: TableIndex, key: &[u8]) -> Option<&[u8]> {
        let OwnTable { id, derived, .. } = self.table(table)?;
        if derived {
            self.reads_derived(table);
            return self.derived.get(id, key);
        }
        self.own_row(id, key)
    }

    /// The row under `key` of a table that is not derived, as this procedure has left it so far.
    fn own_row(&self, table: TableId, key: &[u8]) -> Option<&[u8]> {
        match self.overlay.get(table, key) {
            Some(written) => written,
            None => self.tables.get(table, key),
        }
    }

    /// Writes a row.
    pub fn put(&mut self, table: TableIndex, key: &[u8], value: &[u8]) {
        if let Some(table) = self.written(table) {
            self.write(table, key, Some(value));
        }
    }

    /// Removes a row; nothing happens when it does not exist.
    pub fn delete(&mut self, table: TableIndex, key: &[u8]) {
        if let Some(table) = self.written(table) {
            self.write(table, key, None);
        }
    }

    fn write(&mut self, table: TableId, key: &[u8], value: Option<&[u8]>) {
        let own = table == TableId::SCRATCH || table == TableId::REPLY;
        if self.surroundings.reads_only && !own {
            return self.breached("a procedure that is declared `reads_only` wrote a row");
        }
        if key.len() > KEY_BYTES_MAX || value.is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            return self
                .breached(format!("keys have at most {KEY_BYTES_MAX} bytes and rows {VALUE_BYTES_MAX}"));
        }
        if self.overlay.len() >= OPS_MAX {
            return self.breached(format!("a procedure makes at most {OPS_MAX} updates"));
        }
        let op = OpRef { table, key, value };
        if self.overlay.lacks_room(op.bytes()) {
            return self.breached(format!("a procedure's updates have at most {UPDATES_BYTES_MAX} bytes"));
        }
        self.overlay.put(op, self.tables);
    }

    /// The rows with `from <= key < to`, in order of their keys, as long as `visit` returns true.
    pub fn scan(
        &mut self,
        table: TableIndex,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) {
        let Some(OwnTable { id: own, derived, .. }) = self.table(table) else { return };
        if derived {
            self.reads_derived(table);
            return self.derived.scan(own, from, to, visit);
        }
        let table = own;
        let written = self.overlay.last_writes(table, from, to);
        let mut written = written.into_iter().peekable();
        let mut go_on = true;
        self.tables.scan(table, from, to, &mut |key, value| {
            while let Some((new_key, new_value)) = written.next_if(|(new_key, _)| *new_key < key) {
                if let Some(new_value) = new_value {
                    go_on = visit(new_key, new_value);
                    if !go_on {
                        return false;
                    }
                }
            }
            go_on = match written.next_if(|(new_key, _)| *new_key == key) {
                Some((_, Some(new_value))) => visit(key, new_value),
                Some((_, None)) => true,
                None => visit(key, value),
            };
            go_on
        });
        while go_on && let Some((key, value)) = written.next() {
            if let Some(value) = value {
                go_on = visit(key, value);
            }
        }
    }

    /// The time of the procedure, in microseconds since the Unix epoch; the same in all its units and on both sides.
    #[must_use]
    pub fn time(&self) -> Micros {
        self.surroundings.time
    }

    /// The next random number of this unit; the same on both sides.
    pub fn random(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.random_state = self.random_state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random_state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The descriptor's features that are on, a bit each.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.surroundings.features
    }

    /// Whether a feature is on.
    #[must_use]
    pub fn feature(&self, feature: FeatureIndex) -> bool {
        feature < 64 && self.surroundings.features & (1 << feature) != 0
    }

    /// The format in which rows of `table` are to be written: that of the group's floor (R17).
    pub fn format(&mut self, table: TableIndex) -> u16 {
        self.table(table).map_or(1, |table| table.format)
    }

    /// The event's body; empty on a side that does not have it (R18).
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Sets the reply; the last one counts.
    pub fn reply(&mut self, reply: &[u8]) {
        self.write(TableId::REPLY, &[], Some(reply));
    }

    /// A value that a unit of this run left under `name` for later ones.
    #[must_use]
    pub fn scratch(&self, name: &[u8]) -> Option<&[u8]> {
        self.overlay.get(TableId::SCRATCH, name).flatten()
    }

    /// Leaves a value for later units of this run.
    pub fn set_scratch(&mut self, name: &[u8], value: &[u8]) {
        self.write(TableId::SCRATCH, name, Some(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::Version;
    use crate::ids::PluginHash;

    const TABLE: TableId = TableId(300);

    fn op(table: TableId, key: u8, value: Option<u8>) -> Op {
        Op { table, key: [key].into(), value: value.map(|value| [value].into()) }
    }

    /// With few operations, which are looked through, and with many, which have an index.
    #[test]
    fn what_is_written_last_counts_and_what_is_not_of_tables_is_not_committed() {
        for others in [0, 40] {
            let mut ops: Vec<_> = (0..others).map(|at| op(TABLE, 100 + at, Some(at))).collect();
            ops.extend([op(TableId::SCRATCH, 1, Some(5)), op(TABLE, 1, Some(6)), op(TABLE, 2, Some(7))]);
            ops.extend([op(TableId::REPLY, 1, Some(8)), op(TABLE, 1, None), op(TABLE, 3, Some(9))]);
            let mut overlay = Overlay::of(&ops);
            assert!(overlay.ops().map(Op::from).eq(ops.iter().cloned()));
            assert_eq!(overlay.get(TABLE, &[1]), Some(None));
            assert_eq!(overlay.get(TABLE, &[2]), Some(Some(&[7][..])));
            assert_eq!(overlay.get(TableId::SCRATCH, &[1]), Some(Some(&[5][..])));
            assert_eq!(overlay.get(TABLE, &[4]), None);
            ops.retain(|op| op.table == TABLE);
            assert_eq!(overlay.committed_before(overlay.len() - 1), ops.len() - 1);
            overlay.keep_committed();
            assert!(overlay.ops().map(Op::from).eq(ops.iter().cloned()));
            assert_eq!(*overlay.updates(), ops.iter().map(Op::lent).collect());
            assert_eq!(overlay.get(TABLE, &[3]), Some(Some(&[9][..])));
            assert_eq!(overlay.get(TableId::SCRATCH, &[1]), None);
        }
    }

    /// The usual run: rows, and a reply behind them.
    #[test]
    fn a_reply_behind_the_rows_is_cut_off() {
        let rows = [op(TABLE, 1, Some(1)), op(TABLE, 2, Some(2))];
        let mut overlay = Overlay::of(&rows);
        overlay.push(op(TableId::REPLY, 1, Some(3)).lent());
        overlay.keep_committed();
        assert_eq!(*overlay.updates(), rows.iter().map(Op::lent).collect());
        assert_eq!(overlay.len(), 2);
    }

    #[test]
    fn digests_tell_the_operations_of_a_unit_apart() {
        let digest = |ops: &[Op], start: usize| Overlay::of(ops).digest_from(start);
        let (one, other) = (op(TABLE, 1, Some(1)), op(TABLE, 1, None));
        assert_eq!(digest(&[one.clone(), other.clone()], 1), digest(std::slice::from_ref(&other), 0));
        assert_ne!(digest(std::slice::from_ref(&one), 0), digest(std::slice::from_ref(&other), 0));
        assert_eq!(digest(std::slice::from_ref(&one), 1), digest(&[], 0));
        // Key and value do not run into each other.
        let of = |key: &[u8], value: &[u8]| Op { table: TABLE, key: key.into(), value: Some(value.into()) };
        assert_ne!(digest(&[of(b"ab", b"c")], 0), digest(&[of(b"a", b"bc")], 0));
    }

    #[test]
    fn a_run_writes_so_much_and_no_more() {
        let descriptor = ApplicationDescriptor {
            name: "app".into(),
            version: Version::default(),
            hash: PluginHash([0; 32]),
            tables: Vec::new(),
            features: Vec::new(),
            procedures: Vec::new(),
            sends: None,
        };
        let (tables, derived) = (Tables::default(), Derived::default());
        let own = [OwnTable { id: TABLE, format: 1, derived: false }];
        let surroundings =
            Surroundings { number: Number(1), time: Micros(1), seed: 0, features: 0, reads_only: false };
        let breach = |bytes: usize, last: usize| {
            let mut overlay = Overlay::default();
            let overlay = &mut overlay;
            let mut context =
                UnitContext::new(&descriptor, &own, &tables, &derived, overlay, surroundings, &[], 0);
            let value = vec![0; bytes];
            (0..4).for_each(|key| context.put(0, &[key], &value));
            context.put(0, &[4], &value[..last]);
            context.breach()
        };
        let most = VALUE_BYTES_MAX - 10;
        assert_eq!(breach(most, 0), None);
        assert_eq!(breach(most + 11, 0), Some("keys have at most 1024 bytes and rows 4194304".into()));
        let what = format!("a procedure's updates have at most {UPDATES_BYTES_MAX} bytes");
        assert_eq!(breach(most, 100), Some(what));
    }
}
