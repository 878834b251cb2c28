//! The boundary between host and plugin, with a small application linked in: callbacks in a scan's visitor, panics of
//! either side, parameters that are none, formats that are asked for.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use lockstep_plugin_api::host::{EntryFailure, HostedPlugin, HostedRun, LogLines, UnitHost, services};
use lockstep_plugin_api::prelude::*;
use lockstep_plugin_api::procedure::Encoding;

application! {
    name: "probe",
    version: "1.2.3",
    tables: [NOTES],
    features: [LOUD],
    procedures: [write, look_twice, shout, fall, hand_over, ring, post],
}

#[derive(Serialize, Deserialize)]
struct NoteFormat1 {
    text: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
    stars: u8,
}

impl From<NoteFormat1> for Note {
    fn from(old: NoteFormat1) -> Self {
        Note { text: old.text, stars: 0 }
    }
}

impl From<&Note> for NoteFormat1 {
    fn from(new: &Note) -> Self {
        NoteFormat1 { text: new.text.clone() }
    }
}

const NOTES: Table<u32, Note> = Table::new("notes").ordered().format(2).older::<NoteFormat1>(1);
const LOUD: Feature = Feature::new("loud", "notes are shouted");
const KEPT: Scratch<u32> = Scratch::new("kept");

#[derive(Serialize, Deserialize)]
struct Say {
    key: u32,
    text: String,
}

/// Writes a note and replies how many there are.
#[procedure(version = 1)]
fn write(cx: &mut Context, say: &Say) -> Reply<usize> {
    NOTES.put(cx, &say.key, &Note { text: say.text.clone(), stars: 3 })?;
    Ok(NOTES.range(cx, ..)?.len())
}

/// Uses the context inside of a scan's visitor.
#[procedure(version = 1)]
fn look_twice(cx: &mut Context, _say: &Say) -> Reply<(String, bool)> {
    let mut inner = String::new();
    let mut loud = false;
    NOTES.scan(cx, .., |key, _| {
        // Needs the host, which is busy with the scan.
        inner = NOTES.get(cx, &key).expect_err("the host is busy").to_string();
        // Does not.
        loud = cx.feature(LOUD);
        false
    })?;
    Ok((inner, loud))
}

#[procedure(version = 4)]
fn shout(_say: &Say) -> Plan<Say> {
    Plan::of([whisper]).when(LOUD, cry).then(whisper)
}

#[work_unit]
fn whisper(cx: &mut Context, _say: &Say) -> Outcome {
    let count = KEPT.get(cx)?.unwrap_or(0) + 1;
    KEPT.set(cx, &count)?;
    cx.reply(&count)?;
    Ok(())
}

#[work_unit]
fn cry(cx: &mut Context, say: &Say) -> Outcome {
    refuse_unless!(!say.text.is_empty(), "silent", "note {} says nothing", say.key);
    whisper(cx, say)
}

#[procedure(version = 1)]
fn fall(cx: &mut Context, say: &Say) -> Reply<()> {
    NOTES.scan(cx, .., |_, _| panic!("the visitor falls: {}", say.text))?;
    Ok(())
}

#[procedure(version = 1)]
fn hand_over(cx: &mut Context, _say: &Say) -> Reply<()> {
    NOTES.delete(cx, &HOST_PANICS_AT)?;
    Ok(())
}

/// Rings a bell; takes back what its own unit does, and what one of an earlier version did.
#[procedure(version = 2, undos = [still])]
fn ring(_say: &Say) -> Plan<Say> {
    Plan::of([strike])
}

#[work_unit(undo = bells::hush)]
fn strike(_cx: &mut Context, _say: &Say) -> Outcome {
    Ok(())
}

mod bells {
    use super::{Context, NOTES, Outcome, Say, refuse_unless};

    pub fn hush(cx: &Context, say: &Say) -> Outcome {
        let note = NOTES.get(cx, &say.key)?;
        refuse_unless!(note.is_some(), "unknown", "nothing is known of {}", say.key);
        Ok(())
    }
}

fn still(_cx: &Context, say: &Say) -> Outcome {
    panic!("{} is not to be stilled", say.text)
}

/// Sets a timer and takes it away, sets another one, sends two messages.
#[procedure(version = 1)]
fn post(cx: &mut Context, say: &Say) -> Reply<(bool, bool, Option<u64>)> {
    cx.set_timer("first", When::At(Duration::from_secs(9)), post, say)?;
    let gone = (cx.cancel_timer("first")?, cx.cancel_timer("first")?);
    cx.set_timer("second", When::After(Duration::from_millis(1)), "write", say)?;
    cx.send(To::application("elsewhere").partition(3), "take", &say.key)?;
    cx.send(To::application("probe"), post, say)?;
    Ok((gone.0, gone.1, cx.timer("second")?.map(|due| due.as_micros() as u64)))
}

/// The host of these tests panics when it is to delete this key.
const HOST_PANICS_AT: u32 = 666;

#[derive(Default)]
struct Memory {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    scratch: BTreeMap<Vec<u8>, Vec<u8>>,
    reply: Vec<u8>,
    features: u64,
    format: u16,
    timers: BTreeMap<String, (u64, String, Vec<u8>)>,
    sent: Vec<(String, u16, String, Vec<u8>)>,
}

impl UnitHost for Memory {
    fn get(&mut self, _: u32, key: &[u8]) -> Option<&[u8]> {
        self.rows.get(key).map(Vec::as_slice)
    }
    fn put(&mut self, _: u32, key: &[u8], value: &[u8]) {
        self.rows.insert(key.into(), value.into());
    }
    fn delete(&mut self, _: u32, key: &[u8]) {
        assert_ne!(key, HOST_PANICS_AT.to_be_bytes(), "the host is wrong");
        self.rows.remove(key);
    }
    fn scan(&mut self, _: u32, from: &[u8], to: Option<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let within = |key: &[u8]| key >= from && to.is_none_or(|to| key < to);
        let mut rows = self.rows.iter().filter(|(key, _)| within(key));
        while rows.next().is_some_and(|(key, value)| visit(key, value)) {}
    }
    fn time_us(&self) -> u64 {
        1
    }
    fn random(&mut self) -> u64 {
        4
    }
    fn features(&self) -> u64 {
        self.features
    }
    fn format(&mut self, _: u32) -> u16 {
        self.format
    }
    fn body(&self) -> &[u8] {
        &[]
    }
    fn reply(&mut self, reply: &[u8]) {
        self.reply = reply.into();
    }
    fn scratch(&mut self, name: &[u8]) -> Option<&[u8]> {
        self.scratch.get(name).map(Vec::as_slice)
    }
    fn set_scratch(&mut self, name: &[u8], value: &[u8]) {
        self.scratch.insert(name.into(), value.into());
    }
    fn set_timer(&mut self, key: &str, at_us: u64, procedure: &str, parameters: &[u8]) {
        self.timers.insert(key.into(), (at_us, procedure.into(), parameters.into()));
    }
    fn cancel_timer(&mut self, key: &str) -> bool {
        self.timers.remove(key).is_some()
    }
    fn timer(&self, key: &str) -> Option<u64> {
        self.timers.get(key).map(|timer| timer.0)
    }
    fn send(&mut self, application: &str, partition: u16, procedure: &str, parameters: &[u8]) {
        self.sent.push((application.into(), partition, procedure.into(), parameters.into()));
    }
    fn log(_: Option<&Self>, _: u8, _: &str, _: &str) {}
}

impl LogLines for Memory {
    fn level_max() -> u8 {
        0
    }
    fn line(_: u8, _: &str, _: &str) {}
}

fn plugin() -> HostedPlugin {
    let plugin = HostedPlugin::new(application().module());
    plugin.start(&services::<Memory>()).expect("it starts");
    plugin
}

fn begin(name: &str, parameters: &str, features: u64) -> Result<HostedRun, EntryFailure> {
    let plugin = plugin();
    let description = plugin.describe().expect("it says what it is");
    let place =
        description.procedures.iter().position(|procedure| procedure.name == name).expect("it is listed");
    plugin.begin(place as u32, Encoding::Json, parameters.as_bytes(), features)
}

fn run(name: &str, parameters: &str, memory: &mut Memory) -> Result<String, EntryFailure> {
    let mut run = begin(name, parameters, memory.features)?;
    for position in 0..run.plan().len() {
        run.run(position, memory)?;
    }
    Ok(String::from_utf8(memory.reply.clone()).expect("JSON is text"))
}

const NOTE: &str = r#"{"key":7,"text":"hello"}"#;

#[test]
fn rows_are_written_in_the_format_that_the_host_asks_for_and_read_in_either() {
    for format in [1, 2] {
        let mut memory = Memory { format, ..Memory::default() };
        assert_eq!(run("write", NOTE, &mut memory).expect("it is written"), "1");
        let row = &memory.rows[&7_u32.to_be_bytes()[..]];
        assert_eq!(u16::from(row[0]), format);
        let stars = if format == 2 { 3 } else { 0 };
        assert_eq!(NOTES.decode_row(row).expect("it is read"), Note { text: "hello".into(), stars });
        plugin().check_row(0, &7_u32.to_be_bytes(), row).expect("it is a row of this version");
        for into in [1, 2] {
            let new = plugin().rewrite_row(0, &7_u32.to_be_bytes(), row, into).expect("it is rewritten");
            assert_eq!(u16::from(new[0]), into, "in the format that was asked for (R31)");
            let stars = if (format, into) == (2, 2) { 3 } else { 0 };
            assert_eq!(NOTES.decode_row(&new).expect("it is read"), Note { text: "hello".into(), stars });
        }
        let same = plugin().rewrite_row(0, &7_u32.to_be_bytes(), row, format).expect("it is rewritten");
        assert_eq!(same, *row, "a row in its format stays as it is");
    }
    let mut memory = Memory { format: 3, ..Memory::default() };
    let failure = run("write", NOTE, &mut memory).expect_err("this version does not know format 3");
    assert!(matches!(&failure, EntryFailure::Failed(why) if why.contains("format 3")), "{failure:?}");
    for (row, format, why) in [(&[9, 1][..], 2, "format 9"), (&[1, 0], 3, "format 3"), (&[1, 200], 2, "read")]
    {
        let failure = plugin().rewrite_row(0, &[0; 4], row, format).expect_err("it can't be rewritten");
        assert!(failure.to_string().contains(why), "{failure}");
    }
    let failure = plugin().check_row(0, &[0; 4], &[9, 1]).expect_err("format 9 is unknown");
    assert!(failure.to_string().contains("format 9"), "{failure}");
}

#[test]
fn a_visitor_that_asks_the_busy_host_gets_an_error_and_may_ask_what_stands_beside_it() {
    let mut memory = Memory { format: 2, features: 1, ..Memory::default() };
    run("write", NOTE, &mut memory).expect("it is written");
    let reply = run("look_twice", NOTE, &mut memory).expect("it looks");
    assert!(reply.contains("inside the visitor of a scan") && reply.contains("true"), "{reply}");
}

#[test]
fn plans_follow_features_and_scratch_values_go_from_unit_to_unit() {
    let mut quiet = Memory::default();
    assert_eq!(run("shout", NOTE, &mut quiet).expect("two units"), "2");
    let mut loud = Memory { features: 1, ..Memory::default() };
    assert_eq!(run("shout", NOTE, &mut loud).expect("three units"), "3");
    let failure = run("shout", r#"{"key":7,"text":""}"#, &mut loud).expect_err("it refuses");
    let refused = EntryFailure::Refused { code: "silent".into(), message: "note 7 says nothing".into() };
    assert_eq!(failure, refused);
}

#[test]
fn timers_and_messages_reach_the_host_as_they_were_posted() {
    let mut memory = Memory::default();
    // The host's time is 1 us after the epoch.
    assert_eq!(run("post", NOTE, &mut memory).expect("it posts"), "[true,false,1001]");
    let say = postcard::to_stdvec(&Say { key: 7, text: "hello".into() }).expect("it is encoded");
    assert_eq!(
        memory.timers.into_iter().collect::<Vec<_>>(),
        [("second".to_string(), (1_001, "write".to_string(), say.clone()))]
    );
    let key = postcard::to_stdvec(&7_u32).expect("it is encoded");
    assert_eq!(
        memory.sent,
        [
            ("elsewhere".to_string(), 3, "take".to_string(), key),
            ("probe".to_string(), 0, "post".to_string(), say)
        ]
    );
}

#[test]
fn a_panic_of_the_authors_is_told_with_its_place_also_out_of_a_visitor() {
    let mut memory = Memory { format: 2, ..Memory::default() };
    run("write", NOTE, &mut memory).expect("it is written");
    let failure = run("fall", NOTE, &mut memory).expect_err("it panics");
    let EntryFailure::Panicked(told) = failure else { panic!("{failure:?}") };
    assert!(told.contains("the visitor falls: hello") && told.contains("boundary.rs:"), "{told}");
}

#[test]
fn a_panic_of_the_hosts_goes_on_in_the_host() {
    let mut memory = Memory::default();
    let panic = catch_unwind(AssertUnwindSafe(|| run("hand_over", NOTE, &mut memory)))
        .expect_err("it is the host's own, not a fault of the plugin's");
    let text = panic.downcast_ref::<String>().expect("an assertion's text");
    assert!(text.contains("the host is wrong"), "{text}");
}

#[test]
fn undos_are_found_by_name_see_rows_and_tell_how_they_failed() {
    let plugin = plugin();
    let description = plugin.describe().expect("it says what it is");
    let place = description.procedures.iter().position(|procedure| procedure.name == "ring").expect("listed");
    let ring = &description.procedures[place];
    assert_eq!(ring.units[0].undo.as_deref(), Some("hush"), "by the last part of its path");
    assert_eq!(ring.undos, ["hush", "still"]);
    let undo = |name: &str, parameters: &str, memory: &mut Memory| {
        plugin.undo(place as u32, name, Encoding::Json, parameters.as_bytes(), memory)
    };
    let mut memory = Memory { format: 2, ..Memory::default() };
    let failure = undo("hush", NOTE, &mut memory).expect_err("there is no note");
    let EntryFailure::Failed(told) = failure else { panic!("a refusal is a failure here: {failure:?}") };
    assert!(told.contains("nothing is known of 7"), "{told}");
    run("write", NOTE, &mut memory).expect("it is written");
    undo("hush", NOTE, &mut memory).expect("it reads the row");
    let EntryFailure::Panicked(told) = undo("still", NOTE, &mut memory).expect_err("it panics") else {
        panic!("a panic is told as one")
    };
    assert!(told.contains("hello is not to be stilled") && told.contains("boundary.rs:"), "{told}");
    let failure = undo("hush", r#"{"key":-1}"#, &mut memory).expect_err("a key is not negative");
    assert!(matches!(&failure, EntryFailure::Failed(why) if why.contains("`key`")), "{failure:?}");
    for (procedure, name) in [(place as u32, "strike"), (0, "hush"), (99, "hush")] {
        let failure = plugin.undo(procedure, name, Encoding::Json, NOTE.as_bytes(), &mut memory);
        assert!(matches!(failure, Err(EntryFailure::Contract(_))), "{failure:?}");
    }
}

#[test]
fn malformed_parameters_are_told_with_their_path() {
    let failure = begin("write", r#"{"key":-1,"text":"x"}"#, 0).expect_err("a key is not negative");
    assert!(matches!(&failure, EntryFailure::Malformed(why) if why.contains("`key`")), "{failure:?}");
    let failure = begin("write", r#"{"key":1,"text":"x"} and more"#, 0).expect_err("there is more");
    assert!(matches!(failure, EntryFailure::Malformed(_)), "{failure:?}");
    let failure = plugin().begin(99, Encoding::Json, b"{}", 0).expect_err("there is no procedure 99");
    assert!(matches!(failure, EntryFailure::Contract(_)), "{failure:?}");
}
