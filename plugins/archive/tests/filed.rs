//! The archive in the test kit: a document is read where it came, and its fingerprint is on both sides.
#![forbid(unsafe_code)]

use archive::{Document, Fingerprint, PLACES_MAX, Places};
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

#[test]
fn as_many_places_are_kept_as_were_asked_for() {
    let mut pair = Pair::of(archive::application()).given([file(8, b"filed")]);
    let reserve = |count| call("reserve", &Places { first: 7, count });
    assert_eq!(pair.run(reserve(3)).reply::<u32>(), 3);
    let mut kept = |number| pair.run(call("filed", &Document { number })).reply::<Fingerprint>();
    assert_eq!([kept(7), kept(8), kept(9)].map(|kept| kept.bytes), [0, 5, 0]);
    assert!(
        pair.run(call("filed", &Document { number: 10 }))
            .refusal()
            .is_some_and(|(code, _)| code == "unknown")
    );
    assert_eq!(pair.run(reserve(PLACES_MAX)).reply::<u32>(), PLACES_MAX);
    for count in [0, PLACES_MAX + 1] {
        assert!(pair.run(reserve(count)).refusal().is_some_and(|(code, _)| code == "too_many"));
    }
}

#[test]
fn a_reservation_survives_a_crash_after_each_of_its_units() {
    let pair = Pair::of(archive::application()).given([file(1, b"one")]);
    let reserve = call("reserve", &Places { first: 0, count: 8 });
    pair.crash_after_every_work_unit_of(reserve).same_outcome_everywhere();
}
