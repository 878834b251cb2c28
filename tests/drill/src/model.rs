//! Model checking: every order of what may happen within small bounds, over the core's own groups, one search after the
//! other on one thread.

use std::time::Duration;

use model::{EXERCISES, PROPERTIES, explore};
use rig::{Failure, interrupt};
use serde_json::json;

use crate::{Outcome, say};

/// Makes all searches, or the one called `only`.
///
/// # Errors
/// When there is no such search.
pub fn run(only: Option<&str>, settle_one_in: u64, seconds_max: u64) -> Result<Outcome, Failure> {
    let wanted: Vec<_> =
        EXERCISES.iter().filter(|exercise| only.is_none_or(|only| only == exercise.name)).collect();
    if wanted.is_empty() {
        let names: Vec<_> = EXERCISES.iter().map(|exercise| exercise.name).collect();
        return Err(Failure::new(format!("there is no such search; there are {}", names.join(", "))));
    }
    let mut text = format!(
        "{:<26} {:>10} {:>11} {:>6} {:>9} {:>8}",
        "search", "states", "steps", "depth", "at rest", "seconds"
    );
    let (mut rows, mut problems, mut states, mut steps) = (Vec::new(), Vec::new(), 0, 0);
    for exercise in wanted {
        if interrupt::check().is_err() {
            problems.push("interrupted".to_owned());
            break;
        }
        let explored = explore(exercise.bounds, settle_one_in, Duration::from_secs(seconds_max));
        let row = format!(
            "{:<26} {:>10} {:>11} {:>6} {:>9} {:>8.1}",
            exercise.name,
            explored.states,
            explored.steps,
            explored.depth,
            explored.settled,
            explored.seconds
        );
        say(&row);
        text += &format!("\n{row}");
        if !explored.whole {
            problems.push(format!("{}: not done in {seconds_max} s", exercise.name));
        }
        for what in exercise.reaches.iter().filter(|what| !explored.reached.contains_key(*what)) {
            problems.push(format!("{}: never reached: {what}", exercise.name));
        }
        if let Some(failure) = &explored.failure {
            let steps = failure.steps.join("\n  ");
            problems.push(format!("{}: {}, after these steps:\n  {steps}", exercise.name, failure.what));
        }
        states += explored.states;
        steps += explored.steps;
        rows.push(json!({
            "search": exercise.name, "bounds": format!("{:?}", exercise.bounds), "states": explored.states,
            "steps": explored.steps, "depth": explored.depth, "come_to_rest": explored.settled,
            "seconds": explored.seconds, "whole": explored.whole, "reached": explored.reached,
            "failure": explored.failure.map(|failure| json!({"what": failure.what, "steps": failure.steps})),
        }));
    }
    text += &format!("\n{states} states, {steps} steps; in every state:");
    PROPERTIES.iter().for_each(|property| text += &format!("\n  {property}"));
    problems.iter().for_each(|problem| text += &format!("\n{problem}"));
    let json = json!({
        "searches": rows, "states": states, "steps": steps, "properties": PROPERTIES, "problems": problems,
    });
    Ok(Outcome { ok: problems.is_empty(), json, text })
}
