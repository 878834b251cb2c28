//! Timers and messages at the desk: they fire and leave once, whatever dies, and are seen by the test.
#![forbid(unsafe_code)]

use std::time::Duration;

use lockstep_plugin_api::prelude::*;
use lockstep_test_kit::{Answer, Pair, Takeover, call};

application! {
    name: "reminders",
    version: "1.0.0",
    tables: [NOTES, TOLD],
    procedures: [remind, fire, forget, note, flood, stray],
    sends: [Receiver::new("mail", "queued"), Receiver::new("mail", "reminded")],
}

/// How often each reminder fired.
const NOTES: Table<String, u32> = Table::new("notes");
/// What this application told itself, in the order in which it came.
const TOLD: Table<u32, String> = Table::new("told").ordered();

#[derive(Clone, Serialize, Deserialize)]
struct Remind {
    text: String,
    seconds: u64,
}

fn remind_of(text: &str, seconds: u64) -> Remind {
    Remind { text: text.into(), seconds }
}

/// Fires twice: the second time half as late.
#[procedure(version = 1, recovery = complete)]
fn remind(_remind: &Remind) -> Plan<Remind> {
    Plan::of([set, tell])
}

#[work_unit]
fn set(cx: &mut Context, remind: &Remind) -> Outcome {
    cx.set_timer(&remind.text, When::After(Duration::from_secs(remind.seconds)), fire, remind)?;
    Ok(())
}

#[work_unit]
fn tell(cx: &mut Context, remind: &Remind) -> Outcome {
    cx.send(To::application("mail"), "queued", &remind.text)?;
    cx.send(To::application("reminders"), note, &remind.text)?;
    Ok(())
}

#[procedure(version = 1)]
fn fire(cx: &mut Context, remind: &Remind) -> Reply<u32> {
    refuse_unless!(remind.text != "unwanted", "unwanted", "nobody wants it");
    assert_ne!(remind.text, "broken", "it is broken");
    let times = NOTES.get(cx, &remind.text)?.unwrap_or(0) + 1;
    NOTES.put(cx, &remind.text, &times)?;
    if times < 2 {
        let wait = Duration::from_secs(remind.seconds / 2);
        cx.set_timer(&remind.text, When::After(wait), fire, remind)?;
    }
    cx.send(To::application("mail"), "reminded", &(&remind.text, times))?;
    Ok(times)
}

#[procedure(version = 1)]
fn forget(cx: &mut Context, remind: &Remind) -> Reply<bool> {
    Ok(cx.cancel_timer(&remind.text)?)
}

#[procedure(version = 1)]
fn note(cx: &mut Context, text: &String) -> Reply<u32> {
    let place = TOLD.range(cx, ..)?.len() as u32;
    TOLD.put(cx, &place, text)?;
    Ok(place)
}

/// Sets as many timers as it is told.
#[procedure(version = 1)]
fn flood(cx: &mut Context, timers: &u32) -> Reply<()> {
    for timer in 0..*timers {
        cx.set_timer(&format!("{timer}"), When::After(Duration::ZERO), "note", "flood")?;
    }
    Ok(())
}

/// Sends to whom it is told; `application!` names two receivers.
#[procedure(version = 1)]
fn stray(cx: &mut Context, to: &(String, String)) -> Reply<()> {
    cx.send(To::application(&to.0), &*to.1, "lost")?;
    Ok(())
}

/// Lets time pass, and gives what timers did.
fn fired(pair: &mut Pair, seconds: u64) -> Vec<Answer> {
    let mut ended = pair.advance(Duration::from_secs(seconds));
    ended.retain(|answer| answer.procedure() == "fire");
    ended
}

const DAY_SECONDS: u64 = 24 * 3_600;

#[test]
fn a_timer_fires_when_it_is_due_and_may_set_itself_again() {
    let mut pair = Pair::of(application());
    pair.run(call("remind", &remind_of("tea", 10 * DAY_SECONDS)));
    assert!(fired(&mut pair, 10 * DAY_SECONDS - 1).is_empty());
    let first = fired(&mut pair, 1);
    assert_eq!(first.iter().map(|answer| answer.reply::<u32>()).collect::<Vec<_>>(), [1]);
    let second = fired(&mut pair, 30 * DAY_SECONDS);
    assert_eq!(second.iter().map(|answer| answer.reply::<u32>()).collect::<Vec<_>>(), [2]);
    assert!(pair.timers().is_empty());
    let told: Vec<_> = pair.messages().iter().map(|message| message.procedure().to_string()).collect();
    assert_eq!(told, ["queued", "reminded", "reminded"]);
}

#[test]
fn a_timer_that_was_taken_away_or_set_anew_does_not_fire_as_it_was() {
    let mut pair = Pair::of(application());
    pair.run(call("remind", &remind_of("tea", 10)));
    pair.run(call("remind", &remind_of("soup", 10)));
    pair.run(call("remind", &remind_of("soup", 100)));
    assert!(pair.run(call("forget", &remind_of("tea", 10))).reply::<bool>());
    assert!(!pair.run(call("forget", &remind_of("tea", 10))).reply::<bool>());
    assert!(fired(&mut pair, 90).is_empty());
    assert_eq!(pair.timers().len(), 1);
    assert_eq!(fired(&mut pair, 20).len(), 1);
}

#[test]
fn a_timer_whose_procedure_refuses_or_faults_does_not_fire_again() {
    let mut pair = Pair::of(application());
    pair.run(call("remind", &remind_of("unwanted", 1)));
    pair.run(call("remind", &remind_of("broken", 2)));
    let ended = fired(&mut pair, 10);
    assert_eq!(ended[0].refusal().map(|(code, _)| code), Some("unwanted"));
    assert!(ended[1].fault().is_some_and(|(_, message)| message.contains("it is broken")), "{ended:?}");
    assert_eq!(ended.len(), 2);
    assert!(pair.timers().is_empty());
}

#[test]
fn a_message_of_another_application_is_taken_once_and_its_refusal_blocks_nothing() {
    let mut pair = Pair::of(application());
    let shop = || To::application("shop").partition(2);
    assert_eq!(pair.receive(shop(), call("note", "a")).reply::<u32>(), 0);
    assert!(pair.receive(shop(), call("fire", &remind_of("unwanted", 1))).refusal().is_some());
    assert!(pair.receive(shop(), call("nothing of the kind", "")).fault().is_some());
    assert!(pair.receive(shop(), call("note", &7_u8)).fault().is_some(), "it can't be decoded");
    assert_eq!(pair.receive(shop(), call("note", "b")).reply::<u32>(), 1);
    assert_eq!(pair.rows(&TOLD), [(0, "a".to_string()), (1, "b".to_string())]);
}

#[test]
fn a_message_to_a_receiver_that_is_not_declared_is_a_fault_that_names_it() {
    let mut pair = Pair::of(application());
    for (to, sent) in [(("mail", "queued"), true), (("reminders", "note"), true), (("mail", "note"), false)] {
        let answer = pair.run(call("stray", &to));
        assert_eq!(answer.fault().is_none(), sent, "{answer:?}");
    }
    let answer = pair.run(call("stray", &("shop", "queued")));
    assert!(
        answer.fault().is_some_and(|(_, message)| {
            message.contains("a message is for `queued` of `shop`, which is not among the receivers")
        }),
        "{answer:?}"
    );
    assert_eq!(pair.messages().len(), 1, "that to `mail`");
}

#[test]
fn a_crash_anywhere_loses_and_doubles_neither_timers_nor_messages() {
    let pair = Pair::of(application());
    let crashes = pair.crash_after_every_work_unit_of(call("remind", &remind_of("tea", 5)));
    crashes.same_outcome_everywhere();
    assert!(crashes.all().iter().any(|crash| crash.takeover() == Some(Takeover::Completed)));
}

#[test]
fn both_sides_post_the_same_in_every_run() {
    Pair::of(application()).deterministic(call("remind", &remind_of("tea", 5)));
}

#[test]
fn too_many_timers_are_a_fault_and_leave_none() {
    let mut pair = Pair::of(application());
    let fault = pair.run(call("flood", &2_000_u32));
    assert!(fault.fault().is_some_and(|(_, message)| message.contains("at most 1024 timers")), "{fault:?}");
    assert!(pair.timers().is_empty());
    pair.run(call("flood", &1_000_u32));
    assert_eq!(pair.advance(Duration::from_secs(1)).len(), 1_000);
}
