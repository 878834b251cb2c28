//! The context of a work unit: an overlay over the tables, deterministic time and random numbers, features, reply.
//!
//! What a unit writes goes to the overlay, never to the tables; the overlay is dropped on rollback, and its
//! operations are what is shipped, digested and logged. One overlay serves a whole run; it is kept and emptied
//! between runs so that it does not allocate.

mod posting;

use std::cell::RefCell;
use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::derived::Derived;
use crate::descriptor::{ApplicationDescriptor, FeatureIndex, TableIndex};
use crate::entry::Op;
use crate::event::EventId;
use crate::ids::{Micros, Number, TableId};
use crate::row_key::RowKey;
use crate::shared_bytes::SharedBytes;
use crate::tables::Tables;
use crate::witness::Witness;

/// The longest key of a row, in bytes.
pub const KEY_BYTES_MAX: usize = 1 << 10;
/// The longest row, in bytes.
pub const VALUE_BYTES_MAX: usize = 4 << 20;
/// The most operations of a procedure.
pub const OPS_MAX: usize = 65_536;
/// How much room for a unit's digest is kept, in bytes.
const DIGESTED_BYTES_KEPT: usize = 64 << 10;
/// Beyond this many operations the overlay finds its rows through an index.
const LINEAR_MAX: usize = 16;

/// The writes of a procedure's run.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    ops: Vec<Op>,
    index: BTreeMap<(TableId, RowKey), usize>,
    /// What a digest is of, kept so that it does not allocate.
    digested: RefCell<Vec<u8>>,
}

impl Overlay {
    /// One that begins with `ops`.
    #[must_use]
    pub fn of(ops: Vec<Op>) -> Self {
        let mut overlay = Overlay::default();
        ops.into_iter().for_each(|op| overlay.push(op));
        overlay
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.index.clear();
    }

    /// All operations so far, in order.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Adds an operation.
    pub fn push(&mut self, op: Op) {
        if self.ops.len() == LINEAR_MAX {
            for (at, op) in self.ops.iter().enumerate() {
                self.index.insert((op.table, op.key.clone()), at);
            }
        }
        if self.ops.len() >= LINEAR_MAX {
            self.index.insert((op.table, op.key.clone()), self.ops.len());
        }
        self.ops.push(op);
    }

    /// The last write to `key`, if any: `Some(None)` for a deletion.
    #[must_use]
    pub fn get(&self, table: TableId, key: &[u8]) -> Option<Option<&SharedBytes>> {
        let op = if self.ops.len() <= LINEAR_MAX {
            self.ops.iter().rev().find(|op| op.table == table && *op.key == *key)
        } else {
            self.index.get(&(table, key.into())).map(|at| &self.ops[*at])
        };
        op.map(|op| op.value.as_ref())
    }

    fn last_writes(
        &self,
        table: TableId,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> BTreeMap<&[u8], Option<&SharedBytes>> {
        let within = |key: &[u8]| key >= from && to.is_none_or(|to| key < to);
        self.ops
            .iter()
            .filter(|op| op.table == table && within(&op.key))
            .map(|op| (&*op.key, op.value.as_ref()))
            .collect()
    }

    /// The digest of the operations from `start` on: what one unit did (R15).
    #[must_use]
    pub fn digest_from(&self, start: usize) -> u64 {
        // In one piece: a digest in steps sets up half a kilobyte, more than most units write.
        let mut digested = self.digested.borrow_mut();
        digested.clear();
        for op in &self.ops[start..] {
            let mut head = [0u8; 13];
            head[..4].copy_from_slice(&op.table.0.to_le_bytes());
            head[4..8].copy_from_slice(&(op.key.len() as u32).to_le_bytes());
            head[8] = u8::from(op.value.is_some());
            head[9..]
                .copy_from_slice(&(op.value.as_ref().map_or(0, |value| value.len()) as u32).to_le_bytes());
            digested.extend_from_slice(&head);
            digested.extend_from_slice(&op.key);
            if let Some(value) = &op.value {
                digested.extend_from_slice(value);
            }
        }
        let digest = xxh3_64(&digested);
        digested.shrink_to(DIGESTED_BYTES_KEPT);
        digest
    }

    /// The reply that the units have made so far; empty when none did.
    #[must_use]
    pub fn reply(&self) -> SharedBytes {
        self.get(TableId::REPLY, &[]).flatten().cloned().unwrap_or_default()
    }

    /// Takes out what is to be committed: the operations on real tables. Leaves the overlay empty.
    pub fn take_committed(&mut self) -> Vec<Op> {
        self.index.clear();
        // The next run is likely to make as many.
        let next = Vec::with_capacity(self.ops.len().min(LINEAR_MAX));
        let mut ops = std::mem::replace(&mut self.ops, next);
        ops.retain(is_committed);
        ops
    }

    /// What [`Overlay::take_committed`] would take out.
    pub fn committed(&self) -> impl Iterator<Item = &Op> {
        self.ops.iter().filter(|op| is_committed(op))
    }
}

/// Whether an operation outlives its run: scratch and reply do not, as rows.
fn is_committed(op: &Op) -> bool {
    op.table != TableId::SCRATCH && op.table != TableId::REPLY
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
            Some(written) => written.map(|value| &**value),
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
        if self.overlay.ops.len() >= OPS_MAX {
            return self.breached(format!("a procedure makes at most {OPS_MAX} updates"));
        }
        self.overlay.push(Op { table, key: key.into(), value: value.map(Into::into) });
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
        self.overlay.get(TableId::SCRATCH, name).flatten().map(|value| &**value)
    }

    /// Leaves a value for later units of this run.
    pub fn set_scratch(&mut self, name: &[u8], value: &[u8]) {
        self.write(TableId::SCRATCH, name, Some(value));
    }
}
