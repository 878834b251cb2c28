//! `lockstep db`: the database of a stopped processor.
//!
//! `export` prints JSON lines whatever `--output` says: it is for programs, an audit among them. The first line
//! describes the store, every further line is a row; keys and values are bytes, written in hexadecimal.

use std::io::Write as _;

use lockstep_core::state::State;
use lockstep_runtime::config::{ApplicationConfig, NodeConfig};
use lockstep_runtime::offline::{Offline, group_dir, rows};
use lockstep_store::{Export, StoreError, StoreInspection};
use serde_json::{Value, json};

use crate::args::{Db, Global, Store};
use crate::failure::{Exit, Failure};
use crate::render::words::{columns, count};
use crate::session::{print, whole, write_out};

/// Carries out a command about a stopped processor's database.
pub fn run(global: &Global, command: &Db) -> Result<Exit, Failure> {
    match command {
        Db::Inspect(store) => inspect(global, &open(global, store)?)?,
        Db::Verify(store) => verify(global, &open(global, store)?)?,
        Db::Export(store) => export(&open(global, store)?.export().map_err(failure)?)?,
    }
    Ok(Exit::Ok)
}

fn open(global: &Global, store: &Store) -> Result<Offline, Failure> {
    let directory = match &store.dir {
        Some(directory) => whole(directory),
        None => {
            let config = NodeConfig::load(&global.config)?;
            let application = application(&config, store)?;
            if store.partition >= application.partitions {
                let message = format!(
                    "`{}` has {} partitions, and {} is none of them",
                    application.name, application.partitions, store.partition
                );
                return Err(Failure::new(Exit::Usage, "LS0823", message, "partitions count from 0"));
            }
            group_dir(&config, &application.name, store.partition)
        }
    };
    Offline::open(directory).map_err(failure)
}

fn application<'a>(config: &'a NodeConfig, store: &Store) -> Result<&'a ApplicationConfig, Failure> {
    let names: Vec<&str> = config.applications.iter().map(|application| application.name.as_str()).collect();
    match (&store.which.application, &config.applications[..]) {
        (None, [only]) => Ok(only),
        (Some(name), all) => {
            if let Some(found) = all.iter().find(|application| application.name == *name) {
                return Ok(found);
            }
            let message = format!("application `{name}` is not in {}", config.file.display());
            Err(Failure::new(Exit::Usage, "LS0817", message, format!("it has {}", names.join(", "))))
        }
        (None, _) => {
            let message = format!("several applications are in {}", config.file.display());
            Err(Failure::new(Exit::Usage, "LS0818", message, format!("name one of {}", names.join(", "))))
        }
    }
}

/// A store's error as a failure: its text begins with its code and ends with what to do.
fn failure(error: StoreError) -> Failure {
    let text = error.to_string();
    let (code, message) = text.split_once(": ").unwrap_or(("LS0500", &text));
    let (message, help) = message.rsplit_once("; ").unwrap_or((message, ""));
    Failure::new(Exit::Failed, code, message, help)
}

fn inspect(global: &Global, offline: &Offline) -> Result<(), Failure> {
    let inspection = offline.inspect().map_err(failure)?;
    let mut text = format!("{}\n", offline.directory().display());
    for store in &inspection.stores {
        text.push_str(&one_store(store));
    }
    if inspection.stores.is_empty() {
        text.push_str("  there is no store\n");
    }
    let database = offline.export().ok();
    let header = database.as_ref().map(header);
    if let Some(Export { state, .. }) = &database {
        text.push_str(&content(state));
    }
    print(global.output, &text, &json!({"stores": inspection.stores, "database": header}))
}

fn one_store(store: &StoreInspection) -> String {
    let mut words = vec![if store.current { "in force" } else { "not in force" }.to_owned()];
    if store.half_copy {
        words.push("half a copy".into());
    }
    if let Some(reason) = &store.untrusted {
        words.push(format!("not trusted: {reason}"));
    }
    if let Some(damage) = &store.damage {
        words.push(format!("damaged: {damage}"));
    }
    if store.torn {
        words.push("a torn end that was never acknowledged".into());
    }
    if !store.closed {
        words.push("not closed in order".into());
    }
    let bytes: u64 = store.segments.iter().map(|segment| segment.bytes).sum();
    format!(
        "  store {}   {}\n    last {}   checkpoint {}   redo log {} bytes in {} segments\n",
        store.store,
        words.join(", "),
        count(store.last.0),
        count(store.checkpoint.0),
        count(bytes),
        store.segments.len()
    )
}

fn content(state: &State) -> String {
    let meta = &state.meta;
    let mut table_rows = vec![["table", "kind", "format", "rows"].map(String::from).to_vec()];
    for table in meta.tables.values() {
        table_rows.push(vec![
            table.name.clone(),
            format!("{:?}", table.kind).to_lowercase(),
            table.format.to_string(),
            count(state.tables.len(table.id) as u64),
        ]);
    }
    let features: Vec<&str> = meta.features.iter().map(String::as_str).collect();
    let installed: Vec<String> =
        meta.installed.iter().map(|(node, installed)| format!("{node} {}", installed.version)).collect();
    format!(
        "  digest {:016x}   floor {}   features: {}   installed: {}\n{}",
        state.digest(),
        meta.floor,
        if features.is_empty() { "none".into() } else { features.join(", ") },
        if installed.is_empty() { "none".into() } else { installed.join(", ") },
        columns("  ", "  ", &table_rows)
    )
}

fn verify(global: &Global, offline: &Offline) -> Result<(), Failure> {
    let found = offline.verify().map_err(failure)?;
    let torn = if found.torn { "   a torn end that was never acknowledged" } else { "" };
    let text = format!(
        "store {} is sound: {} rows up to number {}, digest {}, {} redo records read{torn}\n",
        found.store,
        count(found.rows as u64),
        count(found.last.0),
        found.digest,
        count(found.records as u64)
    );
    print(global.output, &text, &found)
}

/// What describes a database, the rows apart.
fn header(export: &Export) -> Value {
    let Export { store, state } = export;
    let meta = &state.meta;
    let table = |table: &lockstep_core::entry::TableMeta| {
        json!({
            "name": table.name,
            "kind": table.kind,
            "format": table.format,
            "rows": state.tables.len(table.id),
        })
    };
    json!({
        "lockstep_export": 1,
        "store": store,
        "last": meta.last,
        "digest": format!("{:016x}", state.digest()),
        "floor": meta.floor,
        "features": meta.features,
        "installed": meta.installed,
        "sessions": state.sessions.iter().count(),
        "tables": meta.tables.values().map(table).collect::<Vec<_>>(),
    })
}

/// Lines are gathered and written this many bytes at a time.
const WRITE_BYTES: usize = 256 << 10;

fn export(export: &Export) -> Result<(), Failure> {
    let mut out = header(export).to_string().into_bytes();
    out.push(b'\n');
    rows::<Failure>(&export.state, &mut |table, key, value| {
        line(&mut out, table, key, value);
        if out.len() >= WRITE_BYTES {
            write_out(&out)?;
            out.clear();
        }
        Ok(())
    })?;
    write_out(&out)
}

fn line(out: &mut Vec<u8>, table: &str, key: &[u8], value: &[u8]) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{{\"table\":{},\"key\":\"", Value::from(table));
    hex(out, key);
    out.extend_from_slice(b"\",\"value\":\"");
    hex(out, value);
    out.extend_from_slice(b"\"}\n");
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_json_line() {
        let mut out = Vec::new();
        line(&mut out, "odd \"name\"", &[0, 0xff], b"");
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value, json!({"table": "odd \"name\"", "key": "00ff", "value": ""}));
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
    }

    #[test]
    fn an_empty_database_has_a_header() {
        let export = Export { store: lockstep_core::ids::StoreId(7), state: State::default() };
        let value = header(&export);
        assert_eq!(value["store"], "00000000000000000000000000000007");
        assert_eq!(value["floor"], "0.0.0");
        assert_eq!(value["tables"], json!([]));
    }

    #[test]
    fn a_store_error_keeps_its_code_and_its_advice() {
        let shown = failure(StoreError::InUse { path: "/data".into() });
        let Failure::Told(told) = shown else { panic!("told") };
        assert_eq!((told.code.as_str(), told.help.as_str()), ("LS0507", "stop it first"));
        assert_eq!(told.message, "/data is in use by a processor that runs");
    }
}
