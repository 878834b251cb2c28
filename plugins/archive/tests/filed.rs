//! The archive in the test kit: a document is read where it came, and its fingerprint is on both sides.
#![forbid(unsafe_code)]

use archive::{Document, Fingerprint};
use lockstep_test_kit::{Call, Pair, call};

fn file(number: u64, document: &[u8]) -> Call {
    call("file", &Document { number }).with_body(document)
}

#[test]
fn the_fingerprint_is_that_of_the_last_document() {
    let mut pair = Pair::of(archive::application());
    for document in [&b"one"[..], b"another"] {
        let replied = pair.run(file(7, document)).reply::<Fingerprint>();
        let kept = pair.run(call("filed", &Document { number: 7 })).reply::<Fingerprint>();
        assert_eq!((replied, kept), (Fingerprint::of(document), Fingerprint::of(document)));
    }
    // The published value for this text.
    assert_eq!(Fingerprint::of(b"foobar").fnv, 0x8594_4171_f739_67e8);
}

#[test]
fn a_crash_anywhere_changes_nothing() {
    let pair = Pair::of(archive::application()).given([file(1, b"one")]);
    pair.crash_after_every_work_unit_of(file(1, b"another")).same_outcome_everywhere();
}
