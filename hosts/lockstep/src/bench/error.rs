//! What can be wrong with a load, each with its code: the one place that says so.

use crate::failure::{Exit, Failure};

/// Why a load can't be made or can't go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A template is none.
    Template {
        /// Which one.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Over HTTP everything is JSON.
    PostcardOverHttp,
    /// `{other}` needs two keys.
    NoOtherKey,
    /// No such distribution of keys.
    Distribution(String),
    /// An address is none, or there is none.
    Address(String),
    /// No processor could be reached.
    Unreachable(String),
    /// A processor said no, with its own code.
    Told {
        /// The processor's code.
        code: String,
        /// The processor's sentence.
        message: String,
    },
    /// What preparing asked for went wrong.
    Prepare(String),
    /// Nothing was answered for too long.
    Silent {
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// Something was said that is not of the protocol.
    NotUnderstood(String),
    /// The operating system refused something.
    System(String),
    /// A process to be measured is not there.
    NoProcess(u32),
    /// Events were left without an answer.
    Unanswered(u64),
    /// It ended before anything was measured.
    Nothing,
}

impl From<rustix::io::Errno> for Wrong {
    fn from(error: rustix::io::Errno) -> Self {
        Wrong::System(error.to_string())
    }
}

impl From<std::io::Error> for Wrong {
    fn from(error: std::io::Error) -> Self {
        Wrong::System(error.to_string())
    }
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        let usage = |code, message: String, help: &str| Failure::new(Exit::Usage, code, message, help);
        let failed = |code, message: String, help: &str| Failure::new(Exit::Failed, code, message, help);
        match wrong {
            Wrong::Template { what, why } => {
                let help = "`lockstep bench --help` lists the placeholders";
                usage("LS0840", format!("{what} is no template: {why}"), help)
            }
            Wrong::PostcardOverHttp => usage(
                "LS0841",
                "HTTP takes control parameters as JSON alone".into(),
                "leave --encoding postcard out, or use --protocol binary",
            ),
            Wrong::NoOtherKey => {
                usage("LS0842", "{other} needs at least two keys".into(), "say a larger --keys")
            }
            Wrong::Distribution(why) => usage(
                "LS0843",
                format!("keys can't be drawn like this: {why}"),
                "say another --zipf-exponent",
            ),
            Wrong::Address(why) => usage(
                "LS0844",
                format!("it is not known where the pair listens: {why}"),
                "say --address HOST:PORT for each processor, or --config FILE and --partner FILE",
            ),
            Wrong::Unreachable(why) => failed(
                "LS0845",
                format!("no processor of the pair can be reached: {why}"),
                "see that they run, and that the addresses are those of the protocol that is used",
            ),
            Wrong::Told { code, message } => {
                failed(&code, message, "docs/errors.md explains the processor's code")
            }
            Wrong::Prepare(why) => failed("LS0846", format!("preparing failed: {why}"), "correct --prepare"),
            Wrong::Silent { ms } => failed(
                "LS0847",
                format!("nothing was answered for {ms} ms"),
                "see `lockstep status`, and say a longer --silence-max-ms if that is expected",
            ),
            Wrong::NotUnderstood(what) => failed(
                "LS0848",
                format!("an answer was not understood: {what}"),
                "see that the addresses are those of the protocol that is used",
            ),
            Wrong::System(why) => failed(
                "LS0849",
                format!("the operating system refused something: {why}"),
                "see the limit on open files; each connection needs two",
            ),
            Wrong::NoProcess(pid) => usage(
                "LS0850",
                format!("the processor time of process {pid} can't be read"),
                "say the number of a process that runs, as `lockstep status` shows it",
            ),
            Wrong::Nothing => failed(
                "LS0852",
                "the load has ended before anything was measured".into(),
                "let it run longer, or say a shorter --warm-up-seconds",
            ),
            Wrong::Unanswered(events) => failed(
                "LS0851",
                format!("{events} events were left without an answer when the load had ended"),
                "see `lockstep status`; a lower --rate may be what the pair can do",
            ),
        }
    }
}
