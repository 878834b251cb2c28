//! Procedures that act on the world (R19): `letter` rolls back and `wire` completes; both `send` and then `stamp`, and the
//! world remembers. That each deed stands or is undone as its event's outcome says, that it is undone in reverse, done
//! once, by the active alone, and only behind an intent that all recorded stores have, is checked by the world itself.

use std::collections::BTreeSet;

use lockstep_core::application::Application;
use lockstep_core::command::{Command, HalfWayEnd, Role};
use lockstep_core::event::{Answer, Encoding, Event, EventId, Outcome, Request};
use lockstep_core::group::StandbyStart;
use lockstep_core::ids::{Micros, SessionId, Term};
use lockstep_core::message::{Frame, PeerMessage};
use lockstep_core::verdict::{Verdict, compare, compare_retiring};
use lockstep_sim::ledger::{
    CURSED, Edition, FAULTY, INDELIBLE, Ledger, Parameters, RETURNED, SMUDGED, number_in,
};
use lockstep_sim::world::disorder::Line;
use lockstep_sim::world::{Settings, World};

const ALL: [&str; 2] = ["send", "stamp"];

fn with_client(mut world: World) -> (World, SessionId) {
    world.add_scripted_client();
    world.run_until(|world| world.clients[0].session().is_some());
    world.run_for(Micros::from_ms(30));
    let session = world.clients[0].session().expect("it was just seen");
    (world, session)
}

fn pair(seed: u64) -> (World, SessionId) {
    with_client(World::pair(seed, Edition::One, Settings::default()))
}

fn event(session: SessionId, number: u64, procedure: &str, amount: u32) -> Request {
    Request::Submit(Event {
        id: EventId::Numbered { session, number },
        awaited_from: 1,
        procedure: procedure.into(),
        encoding: Encoding::Postcard,
        parameters: Parameters { id: number, from: 1, to: 2, amount }.to_bytes(),
        body: Vec::new(),
    })
}

/// What was done and undone so far, in order: `+send`, `-send`.
fn deeds(world: &World) -> Vec<String> {
    let told =
        |deed: &lockstep_sim::deeds::Deed| format!("{}{}", if deed.undone { "-" } else { "+" }, deed.what);
    world.deeds.from(0).iter().map(told).collect()
}

fn undone(deeds: &[String]) -> Vec<&str> {
    deeds.iter().filter_map(|deed| deed.strip_prefix('-')).collect()
}

/// Submits an event and stops the world as soon as it has sent, while it waits for leave to stamp.
fn sent_not_stamped(world: &mut World, request: Request) {
    world.submit_as(0, 0, request);
    world.run_until(|world| !world.deeds.from(0).is_empty());
    assert_eq!(deeds(world), ["+send"], "`stamp` waits for the standby's word about itself");
}

/// What a takeover found: step-ups, what it did with the event, what it undid.
type Found = BTreeSet<(u32, HalfWayEnd, Vec<String>)>;

/// Kills the active behind each of the frames of an event, while it sends, and lets the standby take over.
fn die_everywhere(procedure: &str, edition: Edition, standby: StandbyStart) -> Found {
    let mut found = Found::new();
    for frames in 0..30 {
        let settings = Settings { standby, ..Settings::default() };
        let (mut world, session) = with_client(World::pair(frames, Edition::One, settings));
        if edition != Edition::One {
            world.command(0, Command::Load { hash: edition.hash() });
            world.run_until(|world| world.group(1).descriptor().hash == edition.hash() && world.in_sync());
            world.run_for(Micros::from_ms(30));
        }
        world.die_after_frames(frames);
        world.submit_as(0, 0, event(session, 1, procedure, 5));
        world.run_for(Micros::from_ms(100));
        world.forget_cut();
        if world.role(0).is_none() {
            let undone: Vec<_> = undone(&deeds(&world)).into_iter().map(String::from).collect();
            for (half_way, _) in world.group(1).status(world.now).half_way {
                if half_way.end == HalfWayEnd::RunAgain && !undone.is_empty() {
                    // Long before its client asks again.
                    assert_eq!(world.deeds.standing()[&1], ALL, "behind frame {frames}");
                }
                found.insert((half_way.step_ups, half_way.end, undone.clone()));
            }
        }
        world.settle_and_check();
        assert_eq!(world.deeds.standing()[&1], ALL, "behind frame {frames}");
    }
    found
}

fn found(of: impl IntoIterator<Item = (u32, HalfWayEnd, &'static [&'static str])>) -> Found {
    let own = |undone: &[&str]| undone.iter().map(|what| (*what).to_string()).collect();
    of.into_iter().map(|(step_ups, end, undone)| (step_ups, end, own(undone))).collect()
}

/// The units: check, debit, `send`, credit, `stamp`, note, seal, record.
fn expected(begun: HalfWayEnd, send_at: u32, stamp_at: u32, units: u32) -> Found {
    let undone = |step_ups: u32| -> &[&str] {
        match step_ups {
            _ if step_ups < send_at => &[],
            _ if step_ups < stamp_at => &["send"],
            _ => &["stamp", "send"],
        }
    };
    let mut all: Vec<_> = (1..=units).map(|step_ups| (step_ups, begun, undone(step_ups))).collect();
    all.push((0, HalfWayEnd::RunAgain, &[]));
    // The descriptions arrive a frame before anything is done.
    all.push((send_at, begun, &[]));
    all.push((stamp_at, begun, &["send"]));
    found(all)
}

#[test]
fn a_takeover_undoes_exactly_what_may_have_begun_and_rolls_back() {
    for standby in [StandbyStart::Behind, StandbyStart::Beside] {
        let found = die_everywhere("letter", Edition::One, standby);
        let expected = expected(HalfWayEnd::RolledBack, 2, 4, 8);
        assert!(found.is_subset(&expected), "{:?}", found.difference(&expected));
        let may_have_begun = (2, HalfWayEnd::RolledBack, vec!["send".to_string()]);
        assert!(found.contains(&may_have_begun), "described, and no step-up came: {found:?}");
        assert!(found.iter().any(|(_, _, undone)| undone == &["stamp", "send"]), "{found:?}");
    }
}

#[test]
fn one_that_completes_is_undone_and_run_again_at_once() {
    let found = die_everywhere("wire", Edition::One, StandbyStart::Behind);
    let expected = expected(HalfWayEnd::RunAgain, 2, 4, 8);
    assert!(found.is_subset(&expected), "{:?}", found.difference(&expected));
    assert!(found.iter().any(|(_, _, undone)| undone == &["stamp", "send"]), "{found:?}");
}

#[test]
fn the_survivors_version_undoes_by_name_and_runs_its_own_units() {
    let found = die_everywhere("letter", Edition::Two, StandbyStart::Behind);
    let expected = expected(HalfWayEnd::RunAgain, 2, 4, 8);
    assert!(found.is_subset(&expected), "{:?}", found.difference(&expected));
    assert!(found.iter().any(|(_, _, undone)| undone == &["stamp", "send"]), "{found:?}");
}

#[test]
fn nothing_is_done_until_the_standby_knows_of_it_or_is_dropped() {
    for silent in 0..2 {
        let (mut world, session) = pair(41);
        world.cut_one_way(silent, Micros::from_ms(5_000));
        world.submit_as(0, 0, event(session, 1, "letter", 5));
        world.run_until(|world| {
            let alone = world.record().is_some_and(|record| record.in_sync.len() == 1);
            assert!(alone || world.deeds.from(0).is_empty(), "the standby is recorded and was not heard");
            alone
        });
        world.run_until(|world| world.deeds.standing().get(&1).is_some_and(|stands| stands == &ALL));
        world.settle_and_check();
        assert_eq!(deeds(&world), ["+send", "+stamp"], "dropped, and nothing had to be undone");
    }
}

#[test]
fn what_a_standby_knows_of_one_unit_is_no_leave_for_the_next() {
    for cut in [true, false] {
        let (mut world, session) = pair(42);
        sent_not_stamped(&mut world, event(session, 1, "letter", 5));
        if cut {
            world.cut();
            world.partitioned = true;
        } else {
            world.cut_one_way(1, Micros::from_ms(5_000));
        }
        world.run_until(|world| {
            let alone = world.record().is_some_and(|record| record.in_sync.len() == 1);
            assert!(alone || deeds(world).len() == 1, "the standby has not answered for `stamp`");
            alone
        });
        world.settle_and_check();
        assert_eq!(deeds(&world), ["+send", "+stamp"]);
    }
}

#[test]
fn a_lone_active_that_dies_undoes_when_it_is_back() {
    let mut undone_at_a_restart = 0;
    for seed in 0..20 {
        let mut world = World::new(seed, Edition::One, Settings::default());
        world.start(0);
        world.run_until(|world| world.role(0) == Some(Role::Active));
        let (mut world, session) = with_client(world);
        world.submit_as(0, 0, event(session, 1, "letter", 5));
        world.run_until(|world| !world.deeds.from(0).is_empty());
        // The outcome may not be on the disk yet; the intent is.
        world.kill(0, true);
        world.start(0);
        world.run_until(|world| world.role(0) == Some(Role::Active));
        let standing = world.deeds.standing()[&1].clone();
        undone_at_a_restart += usize::from(standing.is_empty());
        world.settle_and_check();
    }
    assert!(undone_at_a_restart > 3, "the outcome was lost now and then");
}

#[test]
fn both_die_and_whoever_is_back_undoes_all_that_may_have_begun() {
    for survivor in 0..2 {
        let (mut world, session) = pair(43);
        sent_not_stamped(&mut world, event(session, 1, "letter", 5));
        (0..2).for_each(|node| world.kill(node, true));
        world.start(survivor);
        world.run_until(|world| world.role(survivor) == Some(Role::Active));
        // It does not know how far the run came.
        assert_eq!(deeds(&world), ["+send", "-stamp", "-send"]);
        // And if it dies before that is on its disk: once more.
        world.kill(survivor, true);
        world.start(survivor);
        world.run_until(|world| world.role(survivor) == Some(Role::Active));
        assert_eq!(undone(&deeds(&world))[..2], ["stamp", "send"]);
        world.settle_and_check();
        assert_eq!(world.deeds.standing()[&1], ALL, "its client sends it again");
    }
}

#[test]
fn a_refusal_or_a_fault_later_on_undoes_in_reverse() {
    for (amount, refused) in [(RETURNED, true), (FAULTY, false)] {
        let (mut world, session) = pair(44);
        world.submit_as(0, 0, event(session, 1, "letter", amount));
        world.run_until(|world| world.clients[0].is_idle());
        assert_eq!(deeds(&world), ["+send", "+stamp", "-stamp", "-send"]);
        let outcome = &world.clients[0].acknowledged[&1].outcome;
        assert_eq!(matches!(outcome, Outcome::Refused(_)), refused, "{outcome:?}");
        world.settle_and_check();
        assert_eq!(deeds(&world).len(), 4, "a repeat does nothing to the world");
    }
}

#[test]
fn a_unit_that_fails_after_it_acted_is_undone_too() {
    let (mut world, session) = pair(51);
    world.submit_as(0, 0, event(session, 1, "letter", SMUDGED));
    world.run_until(|world| world.clients[0].is_idle());
    assert_eq!(deeds(&world), ["+send", "+stamp", "-stamp", "-send"], "`stamp` itself has faulted");
    world.settle_and_check();
}

#[test]
fn one_that_has_heard_of_another_active_does_nothing_more() {
    let (mut world, session) = pair(52);
    world.slow_disk(0, Micros::from_ms(500));
    world.submit_as(0, 0, event(session, 1, "letter", 5));
    world.run_for(Micros::from_ms(3));
    // All that is missing is the word of its own disk. A higher term is there, whose record has to be read (R3).
    let term = Term(world.group(0).term().0 + 1);
    let last = world.group(1).state().meta.last;
    let message = PeerMessage::Heartbeat { last, held: last };
    world.inject(0, Frame { term, message });
    world.run_for(Micros::from_ms(400));
    assert_eq!(world.role(0), Some(Role::Active));
    assert!(deeds(&world).is_empty(), "it waits until it knows better");
}

#[test]
fn old_news_of_a_death_replaces_nobody() {
    let (mut world, _) = pair(53);
    let epoch = world.record().expect("there is one").epoch;
    world.tell_of_a_death(1);
    world.run_for(Micros::from_ms(300));
    assert_eq!(world.role(0), Some(Role::Active), "it lives");
    assert_eq!(world.record().expect("there is one").epoch, epoch, "nobody asked for a swap");
    // And it is watched all the same.
    world.kill_in_silence(0, false);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    world.settle_and_check();
}

/// What was asked before the partner died and came back is answered after it has become active again.
#[test]
fn a_late_answer_about_a_death_replaces_nobody() {
    let (mut world, _) = pair(56);
    world.hold_up(Line::System, 1, Micros::from_ms(300));
    world.kill(0, false);
    world.run_for(Micros::from_ms(5));
    world.start(0);
    world.run_until(World::in_sync);
    world.command(1, Command::SwitchOver);
    world.run_until(|world| world.role(0) == Some(Role::Active) && world.in_sync());
    assert!(world.now < world.late_until(Line::System, 1), "the answer is still to come");
    let epoch = world.record().expect("there is one").epoch;
    world.run_for(Micros::from_ms(400));
    assert_eq!(world.role(0), Some(Role::Active), "it lives");
    assert_eq!(world.record().expect("there is one").epoch, epoch, "nobody asked for a swap");
    world.settle_and_check();
}

#[test]
fn a_disk_that_fails_takes_no_outcome_and_leaves_no_deed() {
    let mut world = World::new(54, Edition::One, Settings::default());
    world.start(0);
    world.run_until(|world| world.role(0) == Some(Role::Active));
    let (mut world, session) = with_client(world);
    world.submit_as(0, 0, event(session, 1, "letter", 5));
    world.run_until(|world| world.deeds.from(0).len() == 2);
    world.fail_disk(0);
    world.run_for(Micros::from_ms(20));
    assert_eq!(undone(&deeds(&world)), ["stamp", "send"], "what it did will have no outcome (R26)");
}

#[test]
fn an_undo_that_fails_is_told_and_does_not_keep_the_others_from_theirs() {
    let (mut world, session) = pair(45);
    world.submit_as(0, 0, event(session, 1, "letter", INDELIBLE));
    world.run_until(|world| world.clients[0].is_idle());
    assert_eq!(deeds(&world), ["+send", "+stamp", "-stamp", "-send"]);
    assert_eq!((world.seen.counts["undo failed"], world.seen.counts["undone"]), (1, 1));
    let counts = world.group(0).status(world.now).counts;
    assert_eq!((counts.undone, counts.undo_failures), (1, 1));
}

#[test]
fn an_undo_that_kills_its_processor_kills_no_second_one() {
    let (mut world, session) = pair(55);
    world.submit_as(0, 0, event(session, 1, "letter", CURSED));
    world.run_until(|world| world.role(1) == Some(Role::Active));
    assert_eq!(deeds(&world), ["+send", "+stamp", "-stamp", "-send"], "the other undo ran on the survivor");
    assert_eq!(world.seen.counts["undo failed"], 1, "people are told to look (R19, R21)");
    world.settle_and_check();
    let outcome = &world.clients[0].acknowledged[&1].outcome;
    assert!(matches!(outcome, Outcome::Faulted(fault) if fault.unit == "(undo unstamp)"), "{outcome:?}");
}

#[test]
fn events_wait_for_it_and_reads_see_what_was_before_it() {
    let (mut world, session) = pair(46);
    sent_not_stamped(&mut world, event(session, 1, "letter", 5));
    let read = world.probe(0, event(session, 0, "balance", 1));
    world.submit_as(0, 0, event(session, 2, "transfer", 7));
    world.run_until(|world| world.clients[0].is_idle() && world.answer(read).is_some());
    let Some(Answer::Ended { number, outcome: Outcome::Committed { reply } }) = world.answer(read) else {
        panic!("{:?}", world.answer(read));
    };
    assert_eq!(i64::from_le_bytes(reply[..8].try_into().expect("a balance")), 0, "before the letter");
    let acknowledged = &world.clients[0].acknowledged;
    assert!(*number < acknowledged[&1].number && acknowledged[&1].number < acknowledged[&2].number);
    let accounts = lockstep_core::ids::TableId::of(lockstep_sim::ledger::ACCOUNTS);
    let payer = world.group(0).state().tables.get(accounts, &[1]).map(number_in);
    assert_eq!(payer, Some(-12));
    world.settle_and_check();
}

#[test]
fn an_active_that_slept_while_another_took_over_does_nothing_more() {
    let (mut world, session) = pair(47);
    sent_not_stamped(&mut world, event(session, 1, "letter", 5));
    // The standby's word arrives while it sleeps.
    world.pause(0, Micros::from_ms(1_000));
    world.run_until(|world| world.role(1) == Some(Role::Active));
    assert_eq!(deeds(&world), ["+send", "-stamp", "-send"], "it knew of both");
    world.settle_and_check();
    let deeds = deeds(&world);
    assert_eq!(deeds[3..], ["+send", "+stamp"], "the client's repeat, at the new active");
}

/// It wakes while the swap that replaces it is under way, and asks for leave to go on: it gets none.
#[test]
fn an_active_that_wakes_while_another_takes_over_does_nothing_more() {
    let asleep = |length| {
        let (mut world, session) = pair(47);
        sent_not_stamped(&mut world, event(session, 1, "letter", 5));
        world.pause(0, length);
        let begun = world.now;
        (world, begun)
    };
    let (mut world, begun) = asleep(Micros::from_ms(1_000));
    let replaced = |world: &World| world.record().expect("a record").active.node.0 == "b";
    world.run_until(replaced);
    let swapped = world.now.since(begun);
    // A question and its answer take up to a quarter of a millisecond.
    for earlier in (0..300).step_by(5) {
        let (mut world, _) = asleep(Micros(swapped.0 - earlier));
        world.run_for(Micros::from_ms(700));
        assert!(replaced(&world), "the swap was under way by then");
        world.settle_and_check();
    }
}

#[test]
fn a_switchover_waits_for_its_end() {
    let (mut world, session) = pair(48);
    sent_not_stamped(&mut world, event(session, 1, "letter", 5));
    // The standby's word comes later than a swap would take.
    world.delay(0, Micros::from_ms(20));
    world.command(0, Command::SwitchOver);
    world.run_until(|world| world.role(1) == Some(Role::Active) && world.in_sync());
    assert_eq!(deeds(&world), ["+send", "+stamp"], "nothing was cut short");
    world.settle_and_check();
}

#[test]
fn commands_that_take_a_number_wait_for_its_end() {
    let (mut world, session) = pair(49);
    sent_not_stamped(&mut world, event(session, 1, "letter", 5));
    let (one, two) = (Edition::One, Edition::Two);
    let plan = lockstep_sim::chaos::plan(one, two, lockstep_core::campaign::Redundancy::Keep);
    world.command(0, Command::StartCampaign(Box::new(plan)));
    assert!(world.results.is_empty(), "it waits");
    world.run_until(|world| !world.results.is_empty());
    assert!(world.last_result().is_ok(), "{:?}", world.last_result());
    assert_eq!(deeds(&world), ["+send", "+stamp"]);
    world.settle_and_check();
}

#[test]
fn a_steady_stream_of_them_holds_up_neither_a_standby_nor_a_version() {
    let mut world = World::pair(50, Edition::One, Settings::default());
    for _ in 0..4 {
        world.add_client(u64::MAX);
        world.clients.last_mut().expect("it was just added").acts_percent = 100;
    }
    world.run_for(Micros::from_ms(200));
    world.kill(1, true);
    world.run_for(Micros::from_ms(300));
    world.start(1);
    let end = world.now.plus(Micros::from_ms(3_000));
    world.run_until(|world| world.in_sync() || world.now > end);
    assert!(world.in_sync(), "it comes back between two procedures");
    world.command(0, Command::Load { hash: Edition::Two.hash() });
    let end = world.now.plus(Micros::from_ms(3_000));
    world.run_until(|world| world.group(1).descriptor().hash == Edition::Two.hash() || world.now > end);
    assert_eq!(world.group(1).descriptor().hash, Edition::Two.hash(), "so does its new version (R28)");
    world.command(0, Command::SwitchOver);
    world.run_until(|world| world.role(1) == Some(Role::Active));
    world.clients.iter_mut().for_each(lockstep_sim::clients::SimClient::stop);
    world.settle_and_check();
}

#[test]
fn a_pair_of_versions_that_can_not_undo_for_each_other_is_incompatible() {
    let (one, two) = (Ledger::new(Edition::One), Ledger::new(Edition::Two));
    assert_eq!(compare(one.descriptor(), two.descriptor()).verdict, Verdict::Mixed);
    for old_lacks_it in [true, false] {
        let mut descriptors = [one.descriptor().clone(), two.descriptor().clone()];
        let lacking = &mut descriptors[usize::from(!old_lacks_it)];
        lacking.procedures.iter_mut().for_each(|procedure| procedure.undos.retain(|undo| undo != "unstamp"));
        let comparison = compare(&descriptors[0], &descriptors[1]);
        assert_eq!(comparison.verdict, Verdict::Incompatible);
        assert!(
            comparison.reasons[0].contains("undo `unstamp` of `letter.stamp` is missing"),
            "{comparison:?}"
        );
    }
    // One that the other side does not have at all is served only if it declares so, or is being retired (R32).
    let mut without = one.descriptor().clone();
    without.procedures.retain(|procedure| procedure.name != "letter");
    let mut with = one.descriptor().clone();
    assert_eq!(compare(&without, &with).verdict, Verdict::Mixed, "refused until the upgrade is through");
    assert_eq!(compare_retiring(&with, &without, &["letter".into()]).verdict, Verdict::Incompatible);
    with.procedures.iter_mut().for_each(|procedure| procedure.one_sided = procedure.name == "letter");
    let comparison = compare(&without, &with);
    assert_eq!(comparison.verdict, Verdict::Incompatible);
    assert!(comparison.reasons[0].contains("neither it nor its undos"), "{comparison:?}");
    // In lock step both sides must know which units are not to run twice.
    let mut twin = one.descriptor().clone();
    for procedure in &mut twin.procedures {
        procedure.units.iter_mut().for_each(|unit| unit.undo = None);
    }
    let comparison = compare(one.descriptor(), &twin);
    assert_eq!(comparison.verdict, Verdict::Incompatible);
    assert!(comparison.reasons[0].contains("acts on the world in 1.0.0"), "{comparison:?}");
}
