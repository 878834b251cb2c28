//! `lockstep db`: the database of a processor, stopped or running.
//!
//! While a processor runs, its files are read as they are, with its checkpoints held still: what is found is the database
//! of one moment, as a crash of the processor would have left it.
//! `export` prints JSON lines whatever `--output` says: it is for programs, an audit among them. The first line
//! describes the store, every further line is a row; keys and values are bytes, written in hexadecimal.

use std::io::Write as _;

use std::path::{Path, PathBuf};

use lockstep_core::state::State;
use lockstep_runtime::config::{ApplicationConfig, NodeConfig};
use lockstep_runtime::offline::{Offline, group_dir, make, rows};
use lockstep_store::{Export, StoreError, StoreInspection, Verification};
use serde_json::{Value, json};

use super::held::Held;
use crate::args::{Db, Global, Store};
use crate::failure::{Exit, Failure};
use crate::render::words::{columns, count};
use crate::session::{print, whole, write_out};

/// How often the files of a running processor are read again, when they changed under the reader's hands.
const TRIES: u32 = 10;

/// Carries out a command about a processor's database.
pub fn run(global: &Global, command: &Db) -> Result<Exit, Failure> {
    match command {
        Db::Inspect(store) => look(global, store, inspect, |seen| shown(global, &seen))?,
        Db::Verify(store) => look(global, store, Offline::verify, |found| verified(global, &found))?,
        Db::Export(store) => look(global, store, Offline::export, |database| export(&database))?,
        Db::Backup { store, to } => {
            look(global, store, Offline::export, |database| backup(global, &database, &whole(to)))?;
        }
        Db::Restore { store, from } => restore(global, &place(global, store)?.0, &whole(from))?,
    }
    Ok(Exit::Ok)
}

/// The group's directory, and the admin socket of its processor.
fn place(global: &Global, store: &Store) -> Result<(PathBuf, PathBuf), Failure> {
    if let Some(directory) = &store.dir {
        let directory = whole(directory);
        let data = directory.ancestors().nth(2).unwrap_or(&directory);
        let admin = data.join("admin.sock");
        return Ok((directory, admin));
    }
    let config = NodeConfig::load(&global.config)?;
    let application = application(&config, store)?;
    if store.partition >= application.partitions {
        let message = format!(
            "`{}` has {} partitions, and {} is none of them",
            application.name, application.partitions, store.partition
        );
        return Err(Failure::new(Exit::Usage, "LS0823", message, "partitions count from 0"));
    }
    Ok((group_dir(&config, &application.name, store.partition), config.admin.clone()))
}

/// Reads the database and shows what was read. What is read of a running processor may have changed meanwhile: then it is
/// read again.
fn look<T>(
    global: &Global,
    store: &Store,
    read: impl Fn(&Offline) -> Result<T, StoreError>,
    show: impl FnOnce(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (directory, admin) = place(global, store)?;
    let seen = match Offline::open(directory.clone()) {
        Ok(offline) => read(&offline),
        Err(StoreError::InUse { .. }) => {
            let _held = Held::begin(global, &directory, &admin)?;
            let offline = Offline::of_running(directory);
            let mut seen = read(&offline);
            for _ in 1..TRIES {
                // A record that is half written, or a store that a copy has just replaced.
                if !matches!(
                    &seen,
                    Err(StoreError::Damaged { .. } | StoreError::NoStore { .. } | StoreError::Disk { .. })
                ) {
                    break;
                }
                seen = read(&offline);
            }
            seen
        }
        Err(error) => Err(error),
    };
    show(seen.map_err(failure)?)
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

/// What is shown of all stores: for people, and for programs.
fn inspect(offline: &Offline) -> Result<(String, Value), StoreError> {
    let inspection = offline.inspect()?;
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
    Ok((text, json!({"stores": inspection.stores, "database": header})))
}

fn shown(global: &Global, (text, json): &(String, Value)) -> Result<(), Failure> {
    print(global.output, text, json)
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

fn verified(global: &Global, found: &Verification) -> Result<(), Failure> {
    let torn = if found.torn { "   a torn end that was never acknowledged" } else { "" };
    let text = format!(
        "store {} is sound: {} rows up to number {}, digest {}, {} redo records read{torn}\n",
        found.store,
        count(found.rows as u64),
        count(found.last.0),
        found.digest,
        count(found.records as u64)
    );
    print(global.output, &text, found)
}

/// A backup is a group's directory with a store of its own.
fn backup(global: &Global, database: &Export, to: &Path) -> Result<(), Failure> {
    if std::fs::read_dir(to).is_ok_and(|mut names| names.next().is_some()) {
        return Err(failure(StoreError::Occupied { path: to.to_owned() }));
    }
    let made = make(to, database).map_err(failure)?;
    made_from(global, database, &made.to_string(), &format!("backed up to {}", to.display()))
}

fn restore(global: &Global, directory: &Path, from: &Path) -> Result<(), Failure> {
    let place = Offline::to_make(directory.to_owned()).map_err(failure)?;
    // Whatever runs where the backup lies, it does not use it.
    let backup = Offline::of_running(from.to_owned());
    let database = backup.export().map_err(failure)?;
    let made = place.make(&database).map_err(failure)?;
    made_from(global, &database, &made.to_string(), &format!("restored into {}", directory.display()))
}

fn made_from(global: &Global, database: &Export, store: &str, done: &str) -> Result<(), Failure> {
    let (last, digest) = (database.state.meta.last, format!("{:016x}", database.state.digest()));
    let text = format!(
        "{done}: store {store}, up to number {}, digest {digest}, from store {}\n",
        count(last.0),
        database.store
    );
    let json = json!({"store": store, "last": last, "digest": digest, "from": database.store});
    print(global.output, &text, &json)
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
