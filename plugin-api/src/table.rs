//! Tables: typed rows by key, each row in a numbered format (R17).
//!
//! A row starts with the number of its format. It is written in the format that the runtime says, that of the lowest
//! version that may still have to read it, so a version that brings a new format also writes the one before.

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::panic::RefUnwindSafe;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::application::Application;
use crate::context::Context;
use crate::derived::AnyDerived;
use crate::key::{Key, decode_whole};
use crate::names::place_of;
use crate::outcome::Error;

/// How many older formats of a table a version can read and write.
///
/// ```
/// assert_eq!(lockstep_plugin_api::table::OLDER_FORMATS_MAX, 3);
/// ```
pub const OLDER_FORMATS_MAX: usize = 3;

/// One format of a table's rows.
struct Format<V> {
    number: u8,
    encode: fn(&V, &mut Vec<u8>) -> Result<(), Error>,
    decode: fn(&[u8]) -> Result<V, Error>,
    check: fn(&[u8]) -> Result<(), Error>,
}

impl<V> Clone for Format<V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Format<V> {}

/// A table of rows `V` by keys `K`.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// #[derive(Serialize, Deserialize)]
/// struct Account { cents: u64 }
/// const ACCOUNTS: Table<String, Account> = Table::new("accounts");
/// ```
///
/// A new format keeps the old one as a type of its own:
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// #[derive(Serialize, Deserialize)]
/// struct EntryFormat1 { cents: u64 }
/// #[derive(Serialize, Deserialize)]
/// struct Entry { cents: u64, fee_cents: u64 }
/// impl From<EntryFormat1> for Entry {
///     fn from(old: EntryFormat1) -> Self { Entry { cents: old.cents, fee_cents: 0 } }
/// }
/// impl From<&Entry> for EntryFormat1 {
///     fn from(new: &Entry) -> Self { EntryFormat1 { cents: new.cents } }
/// }
/// const JOURNAL: Table<u64, Entry> = Table::new("journal").ordered().format(2).older::<EntryFormat1>(1);
/// ```
pub struct Table<K, V> {
    name: &'static str,
    ordered: bool,
    newest: Format<V>,
    older: [Option<Format<V>>; OLDER_FORMATS_MAX],
    key: PhantomData<fn(K) -> K>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for Table<K, V> {}

fn encode<V: Serialize>(value: &V, out: &mut Vec<u8>) -> Result<(), Error> {
    postcard::serialize_with_flavor(value, Appending(out))
        .map_err(|error| Error::new(format_args!("a row can't be encoded: {error}")))
}

fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, Error> {
    let (value, rest) = postcard::take_from_bytes(bytes)
        .map_err(|error| Error::new(format_args!("a row can't be read: {error}")))?;
    if rest.is_empty() { Ok(value) } else { Err(Error::new("a row has bytes too many")) }
}

fn encode_older<V, O: Serialize + for<'a> From<&'a V>>(value: &V, out: &mut Vec<u8>) -> Result<(), Error> {
    encode(&O::from(value), out)
}

fn decode_older<V: From<O>, O: DeserializeOwned>(bytes: &[u8]) -> Result<V, Error> {
    decode::<O>(bytes).map(V::from)
}

fn check<V: DeserializeOwned>(bytes: &[u8]) -> Result<(), Error> {
    decode::<V>(bytes).map(drop)
}

/// A `postcard` flavour that appends to a vector it does not own.
pub(crate) struct Appending<'a>(pub(crate) &'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appending<'_> {
    type Output = ();
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        // Most numbers are one byte, for which a copy of any length costs more than the byte.
        match bytes {
            [byte] => self.0.push(*byte),
            bytes => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

impl<K: Key, V: Serialize + DeserializeOwned> Table<K, V> {
    /// A hash table with rows of format 1. The name is the same in all versions of the application.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Table {
            name,
            ordered: false,
            newest: Format { number: 1, encode: encode::<V>, decode: decode::<V>, check: check::<V> },
            older: [None; OLDER_FORMATS_MAX],
            key: PhantomData,
        }
    }

    /// Keeps the rows in the order of their keys, so that range scans are cheap.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// const BY_DAY: Table<(u32, u32), u64> = Table::new("by_day").ordered();
    /// ```
    #[must_use]
    pub const fn ordered(mut self) -> Self {
        self.ordered = true;
        self
    }

    /// `V` is the row's format number `number`, not 1.
    ///
    /// # Panics
    /// In a `const`, when it is compiled: when `number` is 0.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # #[derive(Serialize, Deserialize)] struct Old(u64);
    /// # impl From<Old> for (u64, u64) { fn from(old: Old) -> Self { (old.0, 0) } }
    /// # impl From<&(u64, u64)> for Old { fn from(new: &(u64, u64)) -> Self { Old(new.0) } }
    /// const COUNTS: Table<String, (u64, u64)> = Table::new("counts").format(2).older::<Old>(1);
    /// ```
    #[must_use]
    pub const fn format(mut self, number: u8) -> Self {
        assert!(number > 0, "formats are numbered from 1");
        self.newest.number = number;
        self
    }

    /// Reads and writes an older format as well: `O` is the row as it was.
    ///
    /// # Panics
    /// In a `const`, when it is compiled: when `number` is 0 or not below that of [`format`](Self::format), or there are more
    /// than [`OLDER_FORMATS_MAX`].
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// #[derive(Serialize, Deserialize)]
    /// struct Person { name: String, born: u16 }
    ///
    /// /// As it was, without the year.
    /// #[derive(Serialize, Deserialize)]
    /// struct PersonFormat1 { name: String }
    ///
    /// impl From<PersonFormat1> for Person {
    ///     fn from(old: PersonFormat1) -> Self { Person { name: old.name, born: 0 } }
    /// }
    /// impl From<&Person> for PersonFormat1 {
    ///     fn from(new: &Person) -> Self { PersonFormat1 { name: new.name.clone() } }
    /// }
    ///
    /// const PEOPLE: Table<u32, Person> = Table::new("people").format(2).older::<PersonFormat1>(1);
    /// let mut row = Vec::new();
    /// PEOPLE.encode_row(&Person { name: "Ada".into(), born: 1815 }, 1, &mut row)?;
    /// assert_eq!(PEOPLE.decode_row(&row)?.born, 0);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn older<O>(mut self, number: u8) -> Self
    where
        O: Serialize + DeserializeOwned + for<'a> From<&'a V>,
        V: From<O>,
    {
        assert!(number > 0 && number < self.newest.number, "call `.format(..)` first, with a higher number");
        let mut at = 0;
        while self.older[at].is_some() {
            at += 1;
            assert!(at < OLDER_FORMATS_MAX, "a table keeps at most three older formats");
        }
        self.older[at] = Some(Format {
            number,
            encode: encode_older::<V, O>,
            decode: decode_older::<V, O>,
            check: check::<O>,
        });
        self
    }
}

impl<K: Key, V> Table<K, V> {
    /// The table's name.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// const COUNTS: Table<String, u64> = Table::new("counts");
    /// assert_eq!(COUNTS.name(), "counts");
    /// ```
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn declared(&'static self) -> TableDeclared
    where
        K: 'static,
        V: 'static,
    {
        let mut formats = [None; OLDER_FORMATS_MAX + 1];
        formats[0] = Some((self.newest.number, self.newest.check));
        let mut reads_from = self.newest.number;
        let mut at = 0;
        while at < OLDER_FORMATS_MAX {
            if let Some(older) = &self.older[at] {
                formats[at + 1] = Some((older.number, older.check));
                if older.number < reads_from {
                    reads_from = older.number;
                }
            }
            at += 1;
        }
        TableDeclared {
            name: self.name,
            ordered: self.ordered,
            format: self.newest.number,
            reads_from,
            check_key: |bytes| decode_whole::<K>(bytes).map(drop),
            formats,
            rows: self,
            derived: None,
        }
    }

    pub(crate) const fn newest_format(&self) -> u16 {
        self.newest.number as u16
    }

    fn with_number(&self, number: u16) -> Option<&Format<V>> {
        if u16::from(self.newest.number) == number {
            return Some(&self.newest);
        }
        self.older.iter().flatten().find(|older| u16::from(older.number) == number)
    }

    /// Decodes a row, whatever its format; for audits of exported rows too.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// const COUNTS: Table<String, u64> = Table::new("counts");
    /// let mut row = Vec::new();
    /// COUNTS.encode_row(&3, 1, &mut row)?;
    /// assert_eq!(COUNTS.decode_row(&row)?, 3);
    /// assert!(COUNTS.decode_row(&[9]).is_err(), "there is no format 9");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When its format is unknown, or the bytes are not such a row.
    pub fn decode_row(&self, row: &[u8]) -> Result<V, Error> {
        let (number, bytes) = row.split_first().ok_or_else(|| self.error("a row is empty"))?;
        let format = self.with_number(u16::from(*number)).ok_or_else(|| {
            self.error(format_args!("a row has format {number}, which this version can't read"))
        })?;
        (format.decode)(bytes).map_err(|error| self.error(error))
    }

    /// Appends a row to `out`, encoded in a format.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// const COUNTS: Table<String, u64> = Table::new("counts");
    /// let mut row = Vec::new();
    /// COUNTS.encode_row(&3, 1, &mut row)?;
    /// assert_eq!(row, [1, 3], "a row begins with the number of its format");
    /// assert!(COUNTS.encode_row(&3, 2, &mut row).is_err(), "there is no format 2");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When this version can't write that format.
    pub fn encode_row(&self, value: &V, format: u16, out: &mut Vec<u8>) -> Result<(), Error> {
        let format = self.with_number(format).ok_or_else(|| {
            self.error(format_args!("rows are to be written in format {format}, which this version can't"))
        })?;
        out.push(format.number);
        (format.encode)(value, out).map_err(|error| self.error(error))
    }

    /// Decodes a key; for audits of exported rows.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// const JOURNAL: Table<(u16, u8), u64> = Table::new("journal").ordered();
    /// assert_eq!(JOURNAL.decode_key(&[1, 0, 7])?, (256, 7));
    /// assert!(JOURNAL.decode_key(&[1, 0]).is_err());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When the bytes are not such a key.
    pub fn decode_key(&self, key: &[u8]) -> Result<K, Error> {
        decode_whole(key).map_err(|error| self.error(error))
    }

    fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::new(format_args!("table `{}`: {what}", self.name))
    }

    fn index(&self, cx: &Context) -> Result<u32, Error> {
        table_index(cx.application(), self.name)
            .ok_or_else(|| self.error("it is not in the list of `application!`"))
    }

    /// The row under `key`, as this procedure has left it so far.
    ///
    /// # Errors
    /// When the row can't be decoded.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # const COUNTS: Table<String, u64> = Table::new("counts").ordered();
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// let count: u64 = COUNTS.get(cx, name)?.unwrap_or(0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, cx: &Context, key: &K) -> Result<Option<V>, Error> {
        let table = self.index(cx)?;
        cx.with_key(key, |key| cx.get(table, key, |row| self.decode_row(row)))?.transpose()
    }

    /// Whether there is a row under `key`.
    ///
    /// # Errors
    /// When the host fails.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # const COUNTS: Table<String, u64> = Table::new("counts").ordered();
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// refuse_unless!(COUNTS.contains(cx, name)?, "unknown", "nothing is called {name}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn contains(&self, cx: &Context, key: &K) -> Result<bool, Error> {
        let table = self.index(cx)?;
        Ok(cx.with_key(key, |key| cx.get(table, key, |_| ()))?.is_some())
    }

    /// Writes a row, in the format that the runtime says.
    ///
    /// # Errors
    /// When this version can't write that format, or the procedure is read-only.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # const COUNTS: Table<String, u64> = Table::new("counts").ordered();
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// COUNTS.put(cx, name, &7)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn put(&self, cx: &mut Context, key: &K, value: &V) -> Result<(), Error> {
        let table = self.index(cx)?;
        let format = cx.format(table);
        cx.with_key(key, |key| {
            cx.with_row(|row| {
                self.encode_row(value, format, row)?;
                cx.put(table, key, row)
            })
        })
    }

    /// Removes a row; nothing happens when it does not exist.
    ///
    /// # Errors
    /// When the procedure is read-only.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # const COUNTS: Table<String, u64> = Table::new("counts").ordered();
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// COUNTS.delete(cx, name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete(&self, cx: &mut Context, key: &K) -> Result<(), Error> {
        let table = self.index(cx)?;
        cx.with_key(key, |key| cx.delete(table, key))
    }

    /// Visits the rows of a range in the order of their keys, as long as `visit` returns true.
    /// The context can't be used inside `visit`.
    ///
    /// # Errors
    /// When a row can't be decoded.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # const COUNTS: Table<String, u64> = Table::new("counts").ordered();
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// let mut sum = 0;
    /// COUNTS.scan(cx, name.clone().., |_, count| {
    ///     sum += count;
    ///     sum < 1_000
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(
        &self,
        cx: &Context,
        range: impl RangeBounds<K>,
        mut visit: impl FnMut(K, V) -> bool,
    ) -> Result<(), Error> {
        let table = self.index(cx)?;
        let after = |key: &K, out: &mut Vec<u8>| {
            key.encode(out);
            // No key is another's prefix, so this is the place right behind it.
            out.push(0);
        };
        let (mut from, mut to) = (Vec::new(), Vec::new());
        match range.start_bound() {
            Bound::Included(key) => key.encode(&mut from),
            Bound::Excluded(key) => after(key, &mut from),
            Bound::Unbounded => {}
        }
        let to = match range.end_bound() {
            Bound::Included(key) => {
                after(key, &mut to);
                Some(&*to)
            }
            Bound::Excluded(key) => {
                key.encode(&mut to);
                Some(&*to)
            }
            Bound::Unbounded => None,
        };
        let mut failed = None;
        cx.scan(table, &from, to, &mut |key, row| match self
            .decode_key(key)
            .and_then(|key| Ok((key, self.decode_row(row)?)))
        {
            Ok((key, value)) => visit(key, value),
            Err(error) => {
                failed = Some(error);
                false
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// The rows of a range, in the order of their keys.
    ///
    /// # Errors
    /// When a row can't be decoded.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # const COUNTS: Table<String, u64> = Table::new("counts").ordered();
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// let all: Vec<(String, u64)> = COUNTS.range(cx, ..)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(&self, cx: &Context, range: impl RangeBounds<K>) -> Result<Vec<(K, V)>, Error> {
        let mut rows = Vec::new();
        self.scan(cx, range, |key, value| {
            rows.push((key, value));
            true
        })?;
        Ok(rows)
    }
}

pub(crate) fn table_index(application: &Application, name: &str) -> Option<u32> {
    place_of(application.tables.iter().map(|table| table.name), name).map(|index| index as u32)
}

/// A table as `application!` lists it.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct TableDeclared {
    pub(crate) name: &'static str,
    pub(crate) ordered: bool,
    pub(crate) format: u8,
    pub(crate) reads_from: u8,
    check_key: fn(&[u8]) -> Result<(), Error>,
    formats: [Option<CheckedFormat>; OLDER_FORMATS_MAX + 1],
    rows: &'static dyn AnyRows,
    pub(crate) derived: Option<&'static dyn AnyDerived>,
}

/// A table whose types are forgotten.
trait AnyRows: Sync + RefUnwindSafe {
    fn rewrite(&self, row: &[u8], format: u16) -> Result<Vec<u8>, Error>;
}

impl<K: Key, V> AnyRows for Table<K, V> {
    fn rewrite(&self, row: &[u8], format: u16) -> Result<Vec<u8>, Error> {
        let mut new = Vec::new();
        self.encode_row(&self.decode_row(row)?, format, &mut new)?;
        Ok(new)
    }
}

type CheckedFormat = (u8, fn(&[u8]) -> Result<(), Error>);

impl TableDeclared {
    pub(crate) const fn derived_by(mut self, derived: &'static dyn AnyDerived) -> Self {
        self.derived = Some(derived);
        self
    }

    /// The row in `format`: read in its own, written in that one (R31).
    pub(crate) fn rewrite_row(&self, key: &[u8], row: &[u8], format: u16) -> Result<Vec<u8>, Error> {
        self.check_row(key, row)?;
        self.rows.rewrite(row, format)
    }

    pub(crate) fn check_row(&self, key: &[u8], row: &[u8]) -> Result<(), Error> {
        let error = |what: &dyn std::fmt::Display| Error::new(format_args!("table `{}`: {what}", self.name));
        (self.check_key)(key).map_err(|reason| error(&reason))?;
        let (number, bytes) = row.split_first().ok_or_else(|| error(&"a row is empty"))?;
        let (_, check) =
            self.formats.iter().flatten().find(|(known, _)| known == number).ok_or_else(|| {
                error(&format_args!("a row has format {number}, which this version can't read"))
            })?;
        check(bytes).map_err(|reason| error(&reason))
    }
}

/// A value that a work unit leaves for later units of the same run. Its name and bytes are part of what the two
/// sides compare, so equal versions of a procedure use equal names.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// const FOUND: Scratch<u32> = Scratch::new("found");
///
/// #[work_unit]
/// fn look(cx: &mut Context, _name: &String) -> Outcome {
///     FOUND.set(cx, &3)?;
///     Ok(())
/// }
///
/// #[work_unit]
/// fn tell(cx: &mut Context, _name: &String) -> Outcome {
///     let found = FOUND.get(cx)?.unwrap_or(0);
///     cx.reply(&found)?;
///     Ok(())
/// }
/// # fn main() {}
/// ```
pub struct Scratch<T> {
    name: &'static str,
    value: PhantomData<fn(T) -> T>,
}

impl<T: Serialize + DeserializeOwned> Scratch<T> {
    /// A value called `name`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Scratch { name, value: PhantomData }
    }

    /// The value, if a unit of this run has left one.
    ///
    /// # Errors
    /// When it can't be decoded.
    pub fn get(&self, cx: &Context) -> Result<Option<T>, Error> {
        cx.scratch(self.name.as_bytes(), |bytes| decode(bytes))?.transpose()
    }

    /// Leaves the value.
    ///
    /// # Errors
    /// When it can't be encoded.
    pub fn set(&self, cx: &mut Context, value: &T) -> Result<(), Error> {
        cx.with_row(|row| {
            encode(value, row)?;
            cx.set_scratch(self.name.as_bytes(), row)
        })
    }
}
