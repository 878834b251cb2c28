//! Messages between groups as rows (R34). Each pair of sender and receiver is a channel with numbers of its own, from 1
//! without holes: the sender has the last number and every message that is not known to be taken, the receiver the
//! last number taken.
//!
//! Deliberately absent: when messages leave and are taken (`group`), and how they get from one group to the other (the
//! shell).

use serde::{Deserialize, Serialize};

use crate::entry::Op;
use crate::ids::{GroupName, TableId};
use crate::posted::{Posted, number_in, number_row};
use crate::row_key::RowKey;
use crate::tables::Tables;

/// The longest name of a receiving application, in bytes.
pub const APPLICATION_BYTES_MAX: usize = 64;
/// The most receivers of a group's messages.
pub const RECEIVERS_MAX: usize = 256;
/// The most senders whose messages a group takes.
pub const SENDERS_MAX: usize = 4_096;
/// The most messages of a channel that are not taken.
pub const OUTBOX_MAX: u64 = 4_096;
/// The most messages of a channel that are under way (R35).
pub const CREDITS: u64 = 64;

/// What one group tells another. The shell may lose it, repeat it and deliver it late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupMessage {
    /// A message.
    Message {
        /// Its place in the channel.
        number: u64,
        /// The procedure that is to take it.
        procedure: String,
        /// The procedure's control parameters, in `postcard`.
        #[serde(with = "crate::bytes")]
        parameters: Vec<u8>,
    },
    /// The receiver has taken everything up to here, and holds it.
    Taken {
        /// The last number.
        through: u64,
    },
}

/// The key of the rows that are kept once for each channel: whoever is at its other end.
#[must_use]
pub fn channel_key(other: &GroupName) -> RowKey {
    // A NUL ends the name, so that no name's rows stand among another's; names have none.
    [other.application.as_bytes(), &[0], &other.partition.to_be_bytes()].concat().into()
}

pub(crate) fn of_channel_key(key: &[u8]) -> Option<GroupName> {
    let (name, partition) = key.split_last_chunk::<2>()?;
    let (&0, name) = name.split_last()? else { return None };
    let application = std::str::from_utf8(name).ok().filter(|name| is_name(name))?.into();
    Some(GroupName { application, partition: u16::from_be_bytes(*partition) })
}

/// The key of message `number` to `receiver`.
#[must_use]
pub fn outbox_key(receiver: &GroupName, number: u64) -> RowKey {
    [&*channel_key(receiver), &number.to_be_bytes()].concat().into()
}

pub(crate) fn of_outbox_key(key: &[u8]) -> Option<(GroupName, u64)> {
    let (channel, number) = key.split_last_chunk::<8>()?;
    Some((of_channel_key(channel)?, u64::from_be_bytes(*number)))
}

/// Whether a receiver can be called so.
#[must_use]
pub fn is_name(application: &str) -> bool {
    (1..=APPLICATION_BYTES_MAX).contains(&application.len()) && !application.contains('\0')
}

/// All channels from here, with the last number of each.
#[must_use]
pub fn sent(tables: &Tables) -> Vec<(GroupName, u64)> {
    let mut found = Vec::new();
    tables.scan(TableId::SENT, &[], None, &mut |key, row| {
        found.extend(of_channel_key(key).zip(number_in(row)));
        true
    });
    found
}

/// The lowest number of a message to `receiver` that is not known to be taken.
#[must_use]
pub fn first_kept(tables: &Tables, receiver: &GroupName) -> Option<u64> {
    let mut first = None;
    let (from, to) = (outbox_key(receiver, 0), outbox_key(receiver, u64::MAX));
    tables.scan(TableId::OUTBOX, &from, Some(&to), &mut |key, _| {
        // A key of another length is none of this channel's.
        first = of_outbox_key(key).filter(|(to, _)| to == receiver).map(|(_, number)| number);
        first.is_none()
    });
    first
}

/// Message `number` to `receiver`, if it is kept.
#[must_use]
pub fn kept(tables: &Tables, receiver: &GroupName, number: u64) -> Option<Posted> {
    Posted::of_row(tables.get(TableId::OUTBOX, &outbox_key(receiver, number))?)
}

/// The last number taken from `sender`; 0 when nothing was.
#[must_use]
pub fn taken(tables: &Tables, sender: &GroupName) -> u64 {
    tables.get(TableId::TAKEN, &channel_key(sender)).and_then(number_in).unwrap_or(0)
}

/// The update that notes that message `number` of `sender` is taken.
#[must_use]
pub fn taken_op(sender: &GroupName, number: u64) -> Op {
    Op { table: TableId::TAKEN, key: channel_key(sender), value: Some(number_row(number).into()) }
}

/// The updates that take away what is kept for `receiver` up to `through`.
#[must_use]
pub fn delivered(tables: &Tables, receiver: &GroupName, through: u64) -> Vec<Op> {
    let mut ops = Vec::new();
    let (from, to) = (outbox_key(receiver, 0), outbox_key(receiver, through.saturating_add(1)));
    tables.scan(TableId::OUTBOX, &from, Some(&to), &mut |key, _| {
        ops.push(Op { table: TableId::OUTBOX, key: key.into(), value: None });
        true
    });
    ops
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(application: &str, partition: u16) -> GroupName {
        GroupName { application: application.into(), partition }
    }

    #[test]
    fn rows_of_one_channel_are_not_among_those_of_another() {
        let mut tables = Tables::default();
        let names = [name("a", 0), name("a", 1), name("ab", 0), name("a\u{1}", 0)];
        for receiver in &names {
            for number in 1..=3 {
                let posted = Posted { stamp: 1, procedure: "p".into(), parameters: vec![] };
                let value = Some(posted.to_row().into());
                tables.apply(&Op { table: TableId::OUTBOX, key: outbox_key(receiver, number), value });
            }
        }
        for receiver in &names {
            assert_eq!(first_kept(&tables, receiver), Some(1), "{receiver}");
            let ops = delivered(&tables, receiver, 2);
            assert_eq!(ops.len(), 2, "{receiver}");
            ops.iter().for_each(|op| drop(tables.apply(op)));
            assert_eq!(first_kept(&tables, receiver), Some(3), "{receiver}");
            assert_eq!(of_channel_key(&channel_key(receiver)), Some(receiver.clone()));
        }
    }
}
