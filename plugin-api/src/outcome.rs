//! How a work unit ends: well, with the application's own "no" (a [`Refusal`]), or with an [`Error`].
//!
//! A refusal is recorded like a reply; an error becomes a fault. The two are never mixed up: an error can't be turned
//! into a refusal, nor the other way round, by `?` alone.

use std::fmt::{self, Display};

/// The application's own "no".
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// fn check(cents: u64) -> Outcome {
///     if cents == 0 {
///         return Err(Refusal::new("nothing", "a transfer moves at least one cent").into());
///     }
///     Ok(())
/// }
/// assert!(matches!(check(0), Err(Stop::Refused(refusal)) if refusal.code == "nothing"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A short word, such as `too-little`; clients match on it.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl Refusal {
    /// A refusal with a code and a sentence.
    pub fn new(code: impl Into<String>, message: impl Display) -> Self {
        Refusal { code: code.into(), message: message.to_string() }
    }
}

/// Something went wrong that is not the application's "no": a row that can't be read, a contract that was broken.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// fn parse(text: &str) -> Outcome {
///     let _number: u64 = text.parse()?; // any error of the standard library's
///     if text.len() > 9 {
///         return Err(Error::new("too long").into());
///     }
///     Ok(())
/// }
/// assert!(matches!(parse("seven"), Err(Stop::Failed(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    message: String,
}

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl Display) -> Self {
        Error { message: message.to_string() }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Why a work unit did not end well. Made from a [`Refusal`] or from any [`std::error::Error`] by `?`.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// fn number(text: &str) -> Result<u64, Stop> {
///     let number: u64 = text.parse()?;
///     refuse_unless!(number > 0, "nothing", "there is no number 0");
///     Ok(number)
/// }
/// assert!(matches!(number("seven"), Err(Stop::Failed(_))));
/// assert!(matches!(number("0"), Err(Stop::Refused(refusal)) if refusal.code == "nothing"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The application's own "no".
    Refused(Refusal),
    /// An error: the procedure faults.
    Failed(Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl<E: std::error::Error> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Failed(Error::new(error))
    }
}

/// What a work unit returns.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// # const COUNTS: Table<String, u64> = Table::new("counts");
/// #[work_unit]
/// fn begin(cx: &mut Context, name: &String) -> Outcome {
///     refuse_unless!(!COUNTS.contains(cx, name)?, "taken", "{name} counts already");
///     COUNTS.put(cx, name, &0)?;
///     Ok(())
/// }
/// # fn main() {}
/// ```
pub type Outcome = Result<(), Stop>;
/// What a procedure of one unit returns: its reply, or why there is none.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// # const COUNTS: Table<String, u64> = Table::new("counts");
/// #[procedure(version = 1, reads_only)]
/// fn count(cx: &Context, name: &String) -> Reply<u64> {
///     Ok(COUNTS.get(cx, name)?.or_refuse("unknown", "nothing has this name")?)
/// }
/// # fn main() {}
/// ```
pub type Reply<T> = Result<T, Stop>;

/// Turns "not there" into a refusal.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// fn named(found: Option<u64>) -> Reply<u64> {
///     Ok(found.or_refuse("unknown", "nothing has this name")?)
/// }
/// assert!(matches!(named(None), Err(Stop::Refused(_))));
/// ```
pub trait OrRefuse<T> {
    /// The value, or a refusal with this code that names what is missing.
    ///
    /// # Errors
    /// The refusal, when there is no value.
    fn or_refuse(self, code: &str, what: impl Display) -> Result<T, Refusal>;
}

impl<T> OrRefuse<T> for Option<T> {
    fn or_refuse(self, code: &str, what: impl Display) -> Result<T, Refusal> {
        self.ok_or_else(|| Refusal::new(code, what))
    }
}

/// Ends the work unit with a refusal: `refuse!("code", "a sentence with {}", arguments)`.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// fn check(open: bool) -> Outcome {
///     if !open {
///         refuse!("closed", "the {} is closed", "counter");
///     }
///     Ok(())
/// }
/// assert!(check(false).is_err() && check(true).is_ok());
/// ```
#[macro_export]
macro_rules! refuse {
    ($code:expr, $($message:tt)+) => {
        return ::core::result::Result::Err(
            $crate::Refusal::new($code, ::core::format_args!($($message)+)).into(),
        )
    };
}

/// Ends the work unit with a refusal unless the condition holds:
/// `refuse_unless!(condition, "code", "a sentence with {}", arguments)`.
///
/// ```
/// # use lockstep_plugin_api::prelude::*;
/// fn check(cents: u64) -> Outcome {
///     refuse_unless!(cents > 0, "nothing", "{cents} cents are none");
///     Ok(())
/// }
/// assert!(check(0).is_err() && check(1).is_ok());
/// ```
#[macro_export]
macro_rules! refuse_unless {
    ($condition:expr, $code:expr, $($message:tt)+) => {
        if !$condition {
            $crate::refuse!($code, $($message)+);
        }
    };
}
