//! A few values by table, in the order of the tables' ids. An application has a handful of tables, and each read or write of
//! a row finds one: looking along a short list is several times faster than descending a tree.

use crate::ids::TableId;

/// Values by table.
#[derive(Clone, Debug)]
pub(super) struct ByTable<T>(Vec<(TableId, T)>);

impl<T> Default for ByTable<T> {
    fn default() -> Self {
        ByTable(Vec::new())
    }
}

impl<T> ByTable<T> {
    /// The value of `table`.
    pub fn get(&self, table: TableId) -> Option<&T> {
        self.0.iter().find(|(id, _)| *id == table).map(|(_, value)| value)
    }

    /// The value of `table`, made if there is none.
    pub fn get_or_insert_with(&mut self, table: TableId, make: impl FnOnce() -> T) -> &mut T {
        let at = self.0.iter().position(|(id, _)| *id >= table).unwrap_or(self.0.len());
        if self.0.get(at).is_none_or(|(id, _)| *id != table) {
            self.0.insert(at, (table, make()));
        }
        &mut self.0[at].1
    }

    /// The first table from `from` on, with its value.
    pub fn first_from(&self, from: TableId) -> Option<(TableId, &T)> {
        self.0.iter().find(|(id, _)| *id >= from).map(|(id, value)| (*id, value))
    }

    /// All tables, in order.
    pub fn ids(&self) -> impl Iterator<Item = TableId> + '_ {
        self.0.iter().map(|(id, _)| *id)
    }

    /// Leaves the tables of which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(TableId) -> bool) {
        self.0.retain(|(id, _)| keep(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_found_and_stand_in_order() {
        let mut all = ByTable::default();
        for id in [7, 3, 9, 3] {
            *all.get_or_insert_with(TableId(id), || 0) += id;
        }
        assert_eq!(all.ids().map(|id| id.0).collect::<Vec<_>>(), [3, 7, 9]);
        assert_eq!((all.get(TableId(3)), all.get(TableId(4))), (Some(&6), None));
        assert_eq!(all.first_from(TableId(4)), Some((TableId(7), &7)));
        assert_eq!(all.first_from(TableId(10)), None);
        all.retain(|id| id.0 != 7);
        assert_eq!(all.ids().count(), 2);
    }
}
