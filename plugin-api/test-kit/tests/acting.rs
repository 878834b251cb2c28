//! Work units that act on the world (R19), in the kit: crashes before, in and after them.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use lockstep_plugin_api::prelude::*;
use lockstep_test_kit::example::post;
use lockstep_test_kit::{Call, Pair, Takeover, call};

fn letter() -> Call {
    call("letter", &("bob", "hello"))
}

#[test]
fn the_world_is_the_same_wherever_the_active_dies() {
    let crashes = Pair::of(post::application())
        .with_world(post::empty, post::look)
        .given([call("letter", &("ann", "first"))])
        .crash_after_every_work_unit_of(letter());
    crashes.same_outcome_everywhere();
    let told: Vec<_> = crashes
        .all()
        .iter()
        .map(|crash| (crash.point(), crash.undone().join(" "), crash.takeover()))
        .collect();
    let (again, unsend) = (Some(Takeover::RunAgain), || "unsend".to_string());
    let expected = [
        ("before anything arrived", String::new(), None),
        // It stands in the group's own data, and nothing is known of how far it came.
        ("before the procedure, after what it will do to the world was told", unsend(), None),
        ("before work unit `note` (1 of 3)", String::new(), again),
        ("after work unit `note` (1 of 3)", String::new(), again),
        ("before work unit `send` (2 of 3) acts on the world", unsend(), again),
        ("after work unit `send` (2 of 3) acted on the world, before it was told", unsend(), again),
        ("after work unit `send` (2 of 3)", unsend(), again),
        ("after work unit `confirm` (3 of 3)", unsend(), again),
        ("after the end of the procedure arrived", String::new(), None),
    ];
    assert_eq!(told, expected);
    // Once more, now refused by the last unit: nothing is left in the box.
    let refused = Pair::of(post::application())
        .with_world(post::empty, post::look)
        .crash_after_every_work_unit_of(call("letter", &("bob", "")));
    refused.same_outcome_everywhere();
    assert_eq!(post::look(), "{}");
    forgetful();
}

mod forgetful_post {
    //! Its undo does nothing.

    use super::*;
    use post::{Letter, SENT, confirm, note};

    application! {
        name: "post",
        version: "1.0.0",
        tables: [SENT],
        procedures: [letter],
    }

    #[procedure(version = 1, recovery = complete)]
    fn letter(_letter: &Letter) -> Plan<Letter> {
        Plan::of([note, send, confirm])
    }

    #[work_unit(undo = unsend)]
    fn send(cx: &mut Context, letter: &Letter) -> Outcome {
        post::send(cx, letter)
    }

    fn unsend(_cx: &Context, _letter: &Letter) -> Outcome {
        Ok(())
    }
}

/// Called by the test above: both look at the one letter box of this program.
fn forgetful() {
    let crashes = Pair::of(forgetful_post::application())
        .with_world(post::empty, post::look)
        .crash_after_every_work_unit_of(letter());
    let found =
        catch_unwind(AssertUnwindSafe(|| crashes.same_outcome_everywhere())).expect_err("it is found");
    let told = found.downcast_ref::<String>().expect("a sentence");
    assert!(
        told.contains("`send` (2 of 3) acted on the world") && told.contains("hello\", \"hello"),
        "{told}"
    );
}
