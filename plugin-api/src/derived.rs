//! Derived tables (R17): what a version keeps for itself beside the rows that all versions share, an index for example.
//!
//! A derived table holds, at every moment, what a function of the author's makes of each row of one other table. The
//! runtime calls the function for rows before and after a change, takes out what the one gave and puts in what the
//! other gives. So the function depends on key and row alone.
//!
//! Deliberately absent: writes by procedures, which don't compile; sums over several rows, which would depend on the order
//! in which they came.

use std::ops::RangeBounds;
use std::panic::RefUnwindSafe;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::key::{Key, decode_whole};
use crate::outcome::Error;
use crate::table::{Table, TableDeclared};

/// Where a derived row's bytes go: key and row.
pub(crate) type Put<'a> = &'a mut dyn FnMut(&[u8], &[u8]);

/// What makes derived rows of the rows of another table. It is called for each row before and after a change; see
/// [`Derived`].
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// const WORDS: Table<u32, String> = Table::new("words");
/// const BY_LENGTH: Derived<(u64, u32), ()> =
///     Table::new("by_length").ordered().derived(&Translate { from: WORDS, by: by_length });
///
/// fn by_length(number: &u32, word: &String, rows: &mut Translated<'_, (u64, u32), ()>) {
///     rows.put(&(word.len() as u64, *number), &());
/// }
/// # assert_eq!(BY_LENGTH.table().name(), "by_length");
/// ```
pub struct Translate<SK, SV, K, V> {
    /// The table whose rows are translated.
    pub from: Table<SK, SV>,
    /// Gives the derived rows of one row. A pure function, which no other row gives a derived row with the same key.
    pub by: fn(&SK, &SV, &mut Translated<'_, K, V>),
}

/// Takes the derived rows of one row.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// /// A row for each word of a text, so that texts are found by their words.
/// fn by_word(number: &u32, text: &String, rows: &mut Translated<'_, (String, u32), ()>) {
///     let words: std::collections::BTreeSet<&str> = text.split_whitespace().collect();
///     for word in words {
///         rows.put(&(word.to_owned(), *number), &());
///     }
/// }
///
/// const TEXTS: Table<u32, String> = Table::new("texts");
/// const BY_WORD: Derived<(String, u32), ()> =
///     Table::new("by_word").ordered().derived(&Translate { from: TEXTS, by: by_word });
/// # let _ = BY_WORD;
/// ```
pub struct Translated<'a, K, V> {
    table: &'a Table<K, V>,
    put: Put<'a>,
    failed: Option<Error>,
    buffers: (Vec<u8>, Vec<u8>),
}

impl<K: Key, V: Serialize + DeserializeOwned> Translated<'_, K, V> {
    /// Gives a derived row. A key that another row gives too, or more than 256 rows of one, is a mistake that the runtime
    /// reports (`LS0608`).
    pub fn put(&mut self, key: &K, value: &V) {
        let (key_bytes, row) = &mut self.buffers;
        key_bytes.clear();
        row.clear();
        key.encode(key_bytes);
        match self.table.encode_row(value, self.table.newest_format(), row) {
            Ok(()) => (self.put)(key_bytes, row),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }
}

/// A [`Translate`] whose source's types are forgotten.
#[doc(hidden)]
pub trait TranslateRows<K, V>: Sync + RefUnwindSafe {
    fn source(&self) -> &'static str;
    fn translate(&self, table: &Table<K, V>, key: &[u8], row: &[u8], put: Put<'_>) -> Result<(), Error>;
}

impl<SK: Key, SV, K: Key, V> TranslateRows<K, V> for Translate<SK, SV, K, V> {
    fn source(&self) -> &'static str {
        self.from.name()
    }

    fn translate(&self, table: &Table<K, V>, key: &[u8], row: &[u8], put: Put<'_>) -> Result<(), Error> {
        let (key, value) = (decode_whole(key)?, self.from.decode_row(row)?);
        let mut translated = Translated { table, put, failed: None, buffers: Default::default() };
        (self.by)(&key, &value, &mut translated);
        translated.failed.map_or(Ok(()), Err)
    }
}

/// A derived table with all its types forgotten.
pub(crate) trait AnyDerived: Sync + RefUnwindSafe {
    fn source(&self) -> &'static str;
    fn translate(&self, key: &[u8], row: &[u8], put: Put<'_>) -> Result<(), Error>;
}

/// A table that the runtime keeps: procedures read it as it was before their own event, and can't write it.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// #[derive(Serialize, Deserialize)]
/// struct Account { owner: String, cents: u64 }
/// const ACCOUNTS: Table<u32, Account> = Table::new("accounts");
///
/// /// Accounts by their owner.
/// const BY_OWNER: Derived<(String, u32), ()> =
///     Table::new("by_owner").ordered().derived(&Translate { from: ACCOUNTS, by: by_owner });
///
/// fn by_owner(number: &u32, account: &Account, rows: &mut Translated<'_, (String, u32), ()>) {
///     rows.put(&(account.owner.clone(), *number), &());
/// }
///
/// /// The numbers of somebody's accounts.
/// #[procedure(version = 1, reads_only)]
/// fn accounts_of(cx: &Context, owner: &String) -> Reply<Vec<u32>> {
///     let all = BY_OWNER.range(cx, (owner.clone(), 0)..=(owner.clone(), u32::MAX))?;
///     Ok(all.into_iter().map(|((_, number), ())| number).collect())
/// }
///
/// /// Somebody's first account that holds anything.
/// #[procedure(version = 1, reads_only)]
/// fn first_full(cx: &Context, owner: &String) -> Reply<Option<u32>> {
///     let mut numbers = Vec::new();
///     BY_OWNER.scan(cx, (owner.clone(), 0).., |(of, number), ()| {
///         numbers.push(number);
///         of == *owner
///     })?;
///     for number in numbers {
///         if ACCOUNTS.get(cx, &number)?.is_some_and(|account| account.owner == *owner && account.cents > 0) {
///             return Ok(Some(number));
///         }
///     }
///     Ok(None)
/// }
///
/// application! {
///     name: "bank",
///     version: "1.0.0",
///     tables: [ACCOUNTS, BY_OWNER],
///     procedures: [accounts_of, first_full],
/// }
/// # fn main() { assert_eq!(format!("{:?}", application()), "bank 1.0.0"); }
/// ```
pub struct Derived<K: 'static, V: 'static> {
    table: Table<K, V>,
    translate: &'static dyn TranslateRows<K, V>,
}

impl<K, V> Clone for Derived<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for Derived<K, V> {}

impl<K: Key, V: Serialize + DeserializeOwned> Table<K, V> {
    /// Makes it a derived table: its rows are what `translate` makes of another table's.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # const COUNTS: Table<String, u64> = Table::new("counts");
    /// const BY_COUNT: Derived<(u64, String), ()> =
    ///     Table::new("by_count").ordered().derived(&Translate { from: COUNTS, by: by_count });
    ///
    /// fn by_count(name: &String, count: &u64, rows: &mut Translated<'_, (u64, String), ()>) {
    ///     rows.put(&(*count, name.clone()), &());
    /// }
    /// # let _ = BY_COUNT;
    /// ```
    #[must_use]
    pub const fn derived(self, translate: &'static dyn TranslateRows<K, V>) -> Derived<K, V> {
        Derived { table: self, translate }
    }
}

impl<K: Key, V> AnyDerived for Derived<K, V> {
    fn source(&self) -> &'static str {
        self.translate.source()
    }

    fn translate(&self, key: &[u8], row: &[u8], put: Put<'_>) -> Result<(), Error> {
        self.translate.translate(&self.table, key, row, put)
    }
}

impl<K: Key, V> Derived<K, V> {
    /// The table as such, to decode its rows in tests.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # const COUNTS: Table<String, u64> = Table::new("counts");
    /// # const BY_COUNT: Derived<(u64, String), ()> =
    /// #     Table::new("by_count").ordered().derived(&Translate { from: COUNTS, by: by_count });
    /// # fn by_count(name: &String, count: &u64, rows: &mut Translated<'_, (u64, String), ()>) {
    /// #     rows.put(&(*count, name.clone()), &());
    /// # }
    /// let mut key = Vec::new();
    /// (3u64, "eggs".to_owned()).encode(&mut key);
    /// assert_eq!(BY_COUNT.table().decode_key(&key)?, (3, "eggs".to_owned()));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn table(&self) -> &Table<K, V> {
        &self.table
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn declared(&'static self) -> TableDeclared {
        self.table.declared().derived_by(self)
    }

    /// The row under `key`, as it was before this event.
    ///
    /// # Errors
    /// When the row can't be decoded.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # const WORDS: Table<u32, String> = Table::new("words");
    /// # fn by_word(number: &u32, word: &String, rows: &mut Translated<'_, String, u32>) {
    /// #     rows.put(word, number);
    /// # }
    /// const NUMBER_OF: Derived<String, u32> =
    ///     Table::new("number_of").derived(&Translate { from: WORDS, by: by_word });
    /// # fn unit(cx: &mut Context, word: &String) -> Outcome {
    /// let number: Option<u32> = NUMBER_OF.get(cx, word)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, cx: &Context, key: &K) -> Result<Option<V>, Error> {
        self.table.get(cx, key)
    }

    /// Whether there is a row under `key`, before this event.
    ///
    /// # Errors
    /// When the host fails.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// # const COUNTS: Table<String, u64> = Table::new("counts");
    /// # const BY_COUNT: Derived<(u64, String), ()> =
    /// #     Table::new("by_count").ordered().derived(&Translate { from: COUNTS, by: by_count });
    /// # fn by_count(name: &String, count: &u64, rows: &mut Translated<'_, (u64, String), ()>) {
    /// #     rows.put(&(*count, name.clone()), &());
    /// # }
    /// # fn unit(cx: &mut Context, name: &String) -> Outcome {
    /// let is_at_seven: bool = BY_COUNT.contains(cx, &(7, name.clone()))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn contains(&self, cx: &Context, key: &K) -> Result<bool, Error> {
        self.table.contains(cx, key)
    }

    /// Visits the rows of a range in the order of their keys, as long as `visit` returns true.
    /// The context can't be used inside `visit`.
    ///
    /// # Errors
    /// When a row can't be decoded.
    pub fn scan(
        &self,
        cx: &Context,
        range: impl RangeBounds<K>,
        visit: impl FnMut(K, V) -> bool,
    ) -> Result<(), Error> {
        self.table.scan(cx, range, visit)
    }

    /// The rows of a range, in the order of their keys.
    ///
    /// # Errors
    /// When a row can't be decoded.
    pub fn range(&self, cx: &Context, range: impl RangeBounds<K>) -> Result<Vec<(K, V)>, Error> {
        self.table.range(cx, range)
    }
}
