//! What the two processors of a pair say to each other, and the death note that one leaves.

use lockstep_core::event::EventId;
use lockstep_core::ids::Term;
use lockstep_core::message::Frame;
use lockstep_core::note::{DeathNote, NoteKind};
use lockstep_os::unit_page::{self, NOTE_BYTES, Piece, UnitPage};
use lockstep_runtime::decoders::{
    self, LINK_PROTOCOL, LinkHello, LinkMessage, PLUGIN_BYTES_MAX, PluginAssembly,
};
use lockstep_runtime::trail::{TrailEntry, What};
use lockstep_wire::frame;

use crate::{Target, rounds, samples, scratch};

pub const LINK_MESSAGE: Target = Target {
    name: "link-message",
    reads: "a message from the partner, over the link: the cores' frames, plugin files, the audit trail",
    run: link_message,
    seeds: || link_messages().iter().map(rounds::encoded).collect(),
};

pub const PLUGIN_PIECES: Target = Target {
    name: "plugin-pieces",
    reads: "the pieces of a plugin file, over the link",
    run: plugin_pieces,
    seeds: || {
        let pieces: [Vec<Piece3>; 2] = [
            vec![(0, 5, b"abc".to_vec()), (3, 5, b"de".to_vec())],
            vec![(0, 1, vec![7]), (0, PLUGIN_BYTES_MAX + 1, vec![1])],
        ];
        pieces.iter().map(rounds::encoded).collect()
    },
};

pub const DEATH_NOTE: Target = Target {
    name: "death-note",
    reads: "a death note: over its connection, in `*.note` files, in the `unit.page` of the process before",
    run: death_note,
    seeds: death_notes,
};

/// Offset, length of the file, the piece.
type Piece3 = (u64, u64, Vec<u8>);

fn link_messages() -> Vec<LinkMessage> {
    let hash = samples::hash(2);
    let hello = LinkHello {
        protocol: LINK_PROTOCOL,
        node: samples::node("a"),
        application: "ledger".into(),
        partition: 0,
        partitions: 1,
        process: u64::MAX / 7,
        notes: false,
    };
    let what = What::Command { command: "switchover".into(), result: "done".into() };
    let refused = Some(("LS0421".into(), "it is a text file".into(), "name a plugin".into()));
    let own = [
        LinkMessage::Hello(hello),
        LinkMessage::PluginWanted { hash },
        LinkMessage::PluginBytes { hash, offset: 3, total: 9, bytes: vec![1, 2, 3] },
        LinkMessage::PluginMissing { hash },
        LinkMessage::ProbeWanted { hash, bytes: 1 << 20, keeps: true },
        LinkMessage::Probed { hash, refused },
        LinkMessage::TrailGrown,
        LinkMessage::TrailHave { number: 7 },
        LinkMessage::TrailEntries(vec![TrailEntry::now(Some("ledger"), "operator", "a test", what)]),
    ];
    let cores = samples::peer_messages();
    let framed = cores.into_iter().map(|message| LinkMessage::Core(Frame { term: Term(2), message }));
    framed.chain(own).collect()
}

fn link_message(bytes: &[u8]) -> bool {
    let Ok(message) = frame::decode::<LinkMessage>(bytes) else { return false };
    let again = rounds::encoded(&message);
    assert!(again.len() <= bytes.len());
    match (message, frame::decode::<LinkMessage>(&again).expect("what was written can be read")) {
        (LinkMessage::Core(first), LinkMessage::Core(second)) => assert_eq!(first, second),
        (_, second) => assert_eq!(rounds::encoded(&second), again),
    }
    true
}

fn plugin_pieces(bytes: &[u8]) -> bool {
    let Some(pieces) = rounds::postcard::<Vec<Piece3>>(bytes) else { return false };
    let mut assembly = PluginAssembly::new(samples::hash(1));
    let mut so_far = Vec::new();
    for (offset, total, piece) in pieces {
        match assembly.take(offset, total, &piece) {
            Err(_) => break,
            Ok(whole) => {
                assert_eq!(offset, so_far.len() as u64, "pieces come in their order");
                assert!(total <= PLUGIN_BYTES_MAX);
                so_far.extend(piece);
                if let Some(whole) = whole {
                    assert_eq!((whole.len() as u64, &*whole), (total, &so_far));
                    break;
                }
            }
        }
    }
    true
}

fn page_with(event: (u16, u64, u64, &[u8])) -> Vec<u8> {
    let directory = scratch::directory();
    let path = directory.path().join("unit.page");
    let (page, _) = UnitPage::open(&path).expect("a page can be made");
    let (kind, session, number, key) = event;
    let (plugin, procedure, unit) = (&[3; 32], b"transfer".as_slice(), b"debit".as_slice());
    page.begin(&Piece { kind, session, number, key, plugin, procedure, unit, hang_ms: 100 });
    drop(page);
    UnitPage::open(&path).expect("it is there").1.expect("something was under way")
}

fn death_notes() -> Vec<Vec<u8>> {
    let long = [b'k'; 128];
    let mut notes = vec![
        page_with((0, 4, 2, b"")),
        page_with((1, 0, 0, &long)),
        page_with((2, 0, 77, b"remind")),
        page_with((3, 1, 3, b"orders")),
    ];
    // What ended the process: the third word.
    for (at, cause) in [(0, (1_u64 << 32) | 11), (1, (2 << 32) | 120)] {
        let mut note = notes[at].clone();
        note[16..24].copy_from_slice(&cause.to_ne_bytes());
        notes.push(note);
    }
    notes
}

fn death_note(bytes: &[u8]) -> bool {
    let node = samples::node("a");
    let note = decoders::death_note(bytes, &node);
    let directory = scratch::directory();
    let file = directory.path().join("0.note");
    std::fs::write(&file, bytes).expect("a file can be written");
    let kept = decoders::death_note_files(directory.path(), &node).expect("the directory can be read");
    assert_eq!(kept, Vec::from_iter(note.clone()));
    assert_eq!(file.exists(), note.is_some(), "what is no note goes");
    let path = directory.path().join("unit.page");
    std::fs::write(&path, bytes).expect("a file can be written");
    let (page, left) = UnitPage::open(&path).expect("any file becomes a page");
    assert!(page.running().is_none(), "a page is empty once it was opened");
    // A page that was cut short is one with zeros.
    let mut whole = bytes.to_vec();
    whole.resize(NOTE_BYTES, 0);
    let known = Some(whole).filter(|bytes| unit_page::decode(bytes).is_some());
    assert_eq!(left, known, "what a process has left is found, and nothing else");
    if let Some(note) = &note {
        write_again(note, &directory.path().join("again.page"));
    }
    note.is_some()
}

/// Written into a page as it was by the process that died, it is read as the same.
fn write_again(note: &DeathNote, path: &std::path::Path) {
    let (kind, session, number, key) = match &note.event {
        EventId::Numbered { session, number } => (0, session.0, *number, ""),
        EventId::Keyed { key } => (1, 0, 0, key.as_str()),
        EventId::Timer { key, due } => (2, 0, due.0, key.as_str()),
        EventId::Message { from, number } => (3, from.partition.into(), *number, from.application.as_str()),
    };
    let (page, _) = UnitPage::open(path).expect("a page can be made");
    let (key, plugin) = (key.as_bytes(), &note.plugin.0);
    let (procedure, unit) = (note.procedure.as_bytes(), note.unit.as_bytes());
    page.begin(&Piece { kind, session, number, key, plugin, procedure, unit, hang_ms: 1 });
    drop(page);
    let (_, left) = UnitPage::open(path).expect("it is there");
    let second = left.and_then(|bytes| decoders::death_note(&bytes, &note.died)).expect("it was under way");
    assert_eq!(second, DeathNote { kind: NoteKind::Suspected, ..note.clone() });
}
