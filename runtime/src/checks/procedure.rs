//! One procedure of the application as a check, in each of its partitions.

use std::time::{Duration, Instant};

use lockstep_core::campaign::{CampaignRecord, CheckVerdict};
use lockstep_core::event::{Answer, Encoding, Event, EventId, Outcome, Request};
use lockstep_core::partition::partition_of;
use serde_json::Value;

use crate::engine::inbound::{Asked, EngineHandle};
use crate::engine::now;

/// Before an event is sent again that was told to come later.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Runs procedure `name` with `parameters`, in JSON, in the partitions of `engines`, until `until` at the latest.
pub(super) fn run(
    run: u64,
    campaign: &CampaignRecord,
    name: &str,
    parameters: &str,
    engines: &[EngineHandle],
    until: Instant,
) -> CheckVerdict {
    let partitions = u16::try_from(engines.len()).expect("the configuration has bounded it");
    for engine in engines {
        // No other run has this key, in this process or another.
        let key = format!("lockstep-check/{}/{run}/{}", campaign.id, now().0);
        let event = Event {
            id: EventId::Keyed { key },
            awaited_from: 0,
            procedure: name.into(),
            encoding: Encoding::Json,
            parameters: parameters.as_bytes().to_vec(),
            body: Vec::new(),
        };
        let key = key_in(engine.partition, partitions);
        let answer = ask(engine, &Request::SubmitByKey { key, event }, until);
        let verdict = match answer {
            Ok(answer) => verdict(&answer),
            Err(why) => CheckVerdict::Inconclusive(why),
        };
        if verdict != CheckVerdict::Pass {
            let of =
                if partitions > 1 { format!(" in partition {}", engine.partition) } else { String::new() };
            let say = |why: String| format!("procedure `{name}`{of}: {why}");
            return match verdict {
                CheckVerdict::Fail(why) => CheckVerdict::Fail(say(why)),
                CheckVerdict::Inconclusive(why) => CheckVerdict::Inconclusive(say(why)),
                CheckVerdict::Pass => unreachable!("seen above"),
            };
        }
    }
    CheckVerdict::Pass
}

/// A partition key that belongs to `partition`.
fn key_in(partition: u16, partitions: u16) -> String {
    let mut keys = (0_u64..).map(|number| format!("check-{number}"));
    keys.find(|key| partition_of(key.as_bytes(), partitions) == partition).expect("every partition has keys")
}

/// Sends the request until it is answered.
fn ask(engine: &EngineHandle, request: &Request, until: Instant) -> Result<Answer, String> {
    let late = || "it was not answered in time".to_owned();
    loop {
        let answer = engine.request(request.clone()).map_err(|busy| busy.to_string());
        match answer.and_then(|asked| wait(asked, until).ok_or_else(late)) {
            Ok(Answer::Retry { .. }) | Err(_) if Instant::now() + AGAIN_AFTER < until => {
                std::thread::sleep(AGAIN_AFTER);
            }
            Ok(Answer::Retry { reason }) => return Err(reason),
            other => return other,
        }
    }
}

/// The answer; none when it does not come in time.
fn wait(mut asked: Asked<Answer>, until: Instant) -> Option<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
    runtime.block_on(async {
        tokio::time::timeout_at(until.into(), asked.answer()).await.ok().and_then(Result::ok)
    })
}

fn verdict(answer: &Answer) -> CheckVerdict {
    match answer {
        Answer::Ended { outcome: Outcome::Committed { reply }, .. } => verdict_of_reply(reply),
        Answer::Ended { outcome: Outcome::Refused(refusal), .. } => {
            CheckVerdict::Fail(format!("it refused with `{}`: {}", refusal.code, refusal.message))
        }
        Answer::Ended { outcome: Outcome::Faulted(fault), .. } => {
            CheckVerdict::Fail(format!("work unit `{}` faulted: {}", fault.unit, fault.message))
        }
        Answer::Rejected(rejection) => CheckVerdict::Inconclusive(format!("it was not run: {rejection:?}")),
        Answer::Retry { reason } => CheckVerdict::Inconclusive(reason.clone()),
        Answer::SessionOpened { .. } => CheckVerdict::Inconclusive("it got another's answer".into()),
    }
}

pub(crate) fn verdict_of_reply(reply: &[u8]) -> CheckVerdict {
    let neither = || {
        let said: String = String::from_utf8_lossy(reply).chars().take(100).collect();
        CheckVerdict::Inconclusive(format!("its reply says neither pass nor fail: {said}"))
    };
    let Ok(reply) = serde_json::from_slice::<Value>(reply) else { return neither() };
    let (pass, why) = match &reply {
        Value::Null => (Some(true), None),
        Value::Bool(pass) => (Some(*pass), None),
        Value::Object(fields) => (fields.get("pass").and_then(Value::as_bool), fields.get("why")),
        _ => (None, None),
    };
    match pass {
        Some(true) => CheckVerdict::Pass,
        Some(false) => {
            let why = why.and_then(Value::as_str).filter(|why| !why.is_empty());
            CheckVerdict::Fail(why.unwrap_or("its reply says so").chars().take(200).collect())
        }
        None => neither(),
    }
}

#[cfg(test)]
mod tests {
    use lockstep_core::event::{Refusal, Rejection};
    use lockstep_core::ids::Number;

    use super::*;

    #[test]
    fn a_reply_says_pass_or_fail_or_neither() {
        for passes in ["null", "true", r#"{"pass": true, "why": "all 7 sums"}"#] {
            assert_eq!(verdict_of_reply(passes.as_bytes()), CheckVerdict::Pass, "{passes}");
        }
        let fails = [("false", "its reply says so"), (r#"{"pass":false,"why":"3 cents"}"#, "3 cents")];
        for (reply, why) in fails {
            assert_eq!(verdict_of_reply(reply.as_bytes()), CheckVerdict::Fail(why.into()), "{reply}");
        }
        for neither in ["7", r#""fine""#, "{}", r#"{"pass":"yes"}"#, "not json"] {
            let verdict = verdict_of_reply(neither.as_bytes());
            assert!(matches!(verdict, CheckVerdict::Inconclusive(_)), "{neither}: {verdict:?}");
        }
    }

    #[test]
    fn a_refusal_fails_and_what_was_not_run_says_nothing() {
        let refusal = Refusal { code: "sums".into(), message: "they differ".into() };
        let ended = Answer::Ended { number: Number(1), outcome: Outcome::Refused(refusal) };
        assert_eq!(verdict(&ended), CheckVerdict::Fail("it refused with `sums`: they differ".into()));
        let rejected = verdict(&Answer::Rejected(Rejection::UnknownProcedure));
        assert!(matches!(rejected, CheckVerdict::Inconclusive(_)), "{rejected:?}");
    }

    #[test]
    fn each_partition_has_a_key() {
        for partition in 0..7 {
            assert_eq!(partition_of(key_in(partition, 7).as_bytes(), 7), partition);
        }
    }
}
