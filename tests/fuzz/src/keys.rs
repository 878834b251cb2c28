//! Keys and rows as plugins have them: a key has one form, or one row would be found under two.

use std::fmt::Debug;

use lockstep_plugin_api::key::decode_whole;
use lockstep_plugin_api::prelude::*;

use crate::Target;

pub const ROW_KEYS: Target = Target {
    name: "row-keys",
    reads: "keys of rows, of every type that is a key",
    run: row_keys,
    seeds: keys,
};

pub const TABLE_ROWS: Target = Target {
    name: "table-rows",
    reads: "rows of a table in their formats, older ones too",
    run: table_rows,
    seeds: rows,
};

fn encoded<K: Key>(key: &K) -> Vec<u8> {
    let mut out = Vec::new();
    key.encode(&mut out);
    out
}

fn keys() -> Vec<Vec<u8>> {
    vec![
        encoded(&true),
        encoded(&7_u64),
        encoded(&-7_i128),
        encoded(&"a\0b".to_owned()),
        encoded(&("alice".to_owned(), 7_u32)),
        encoded(&([1_u8, 2, 3], -1_i16, "x".to_owned(), false)),
        encoded(&ledger_v1::name::AccountName::numbered(7)),
    ]
}

fn one_form<K: Key + Debug>(bytes: &[u8]) -> bool {
    let Ok(key) = decode_whole::<K>(bytes) else { return false };
    assert_eq!(encoded(&key), bytes, "{key:?} has one form");
    true
}

fn row_keys(bytes: &[u8]) -> bool {
    let of_type = [
        one_form::<u8>,
        one_form::<u16>,
        one_form::<u64>,
        one_form::<u128>,
        one_form::<i8>,
        one_form::<i64>,
        one_form::<i128>,
        one_form::<bool>,
        one_form::<[u8; 4]>,
        one_form::<String>,
        one_form::<(String, u32)>,
        one_form::<(String, String)>,
        one_form::<([u8; 3], i16, String, bool)>,
        one_form::<ledger_v1::name::AccountName>,
    ];
    of_type.iter().filter(|one_form| one_form(bytes)).count() > 0
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    name: String,
    born: Option<u16>,
    marks: Vec<(u8, String)>,
}

/// As it was before.
#[derive(Serialize, Deserialize)]
struct PersonFormat1 {
    name: String,
}

impl From<PersonFormat1> for Person {
    fn from(old: PersonFormat1) -> Self {
        Person { name: old.name, born: None, marks: Vec::new() }
    }
}
impl From<&Person> for PersonFormat1 {
    fn from(new: &Person) -> Self {
        PersonFormat1 { name: new.name.clone() }
    }
}

const PEOPLE: Table<u32, Person> = Table::new("people").format(2).older::<PersonFormat1>(1);

fn rows() -> Vec<Vec<u8>> {
    let ada = Person { name: "Ada".into(), born: Some(1815), marks: vec![(1, "first".into())] };
    let row = |format| {
        let mut row = Vec::new();
        PEOPLE.encode_row(&ada, format, &mut row).expect("it can be written");
        row
    };
    vec![row(1), row(2)]
}

fn table_rows(bytes: &[u8]) -> bool {
    let Ok(person) = PEOPLE.decode_row(bytes) else { return false };
    let format = u16::from(bytes[0]);
    let mut again = Vec::new();
    PEOPLE.encode_row(&person, format, &mut again).expect("what was read can be written");
    assert!(again.len() <= bytes.len());
    assert_eq!(PEOPLE.decode_row(&again), Ok(person.clone()));
    let mut newest = Vec::new();
    PEOPLE.encode_row(&person, 2, &mut newest).expect("what was read can be written");
    assert_eq!(PEOPLE.decode_row(&newest), Ok(person));
    true
}
