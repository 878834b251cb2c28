//! The attribute macros of lockstep-plugin-api: `#[procedure]` and `#[work_unit]`.
//!
//! Errors point at the author's line and say what to write. What the macros make names everything by its full path, so
//! that it does not depend on what the author imported.
//!
//! Deliberately absent: `application!`, which needs no parsing beyond that of `macro_rules`.
#![forbid(unsafe_code)]

mod plan_units;
mod procedure;
mod signature;
mod work_unit;

use proc_macro::TokenStream;

/// Makes a work unit of a function `fn(cx: &mut Context, parameters: &P) -> Outcome`.
///
/// The function stays what it is and can be called. `#[work_unit(body)]` declares that it reads the event's body.
/// `#[work_unit(undo = take_back)]` declares that it acts on the world, and names the function that takes that back: a
/// `fn(cx: &Context, parameters: &P) -> Outcome`, found by its name alone, in whichever version takes over (R19).
#[proc_macro_attribute]
pub fn work_unit(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expanded(work_unit::expand(arguments.into(), item.into()))
}

/// Makes a procedure of a function.
///
/// `fn(parameters: &P) -> Plan<P>` makes a plan of work units; `fn(cx: &mut Context, parameters: &P) -> Reply<T>` is a
/// procedure of one unit, and its value is the reply.
///
/// Arguments: `version = N` (from 1; always given), `recovery = complete` or `recovery = roll_back` (the default),
/// `reads_only`, `one_sided` (served also while the other version does not have it), `body = withheld` or `body = carried` (the default), `deadline_ms = N`
/// (a unit that takes longer has faulted), `hang_ms = N` (one that has not returned by then hangs), and
/// `units = [a, b]` for work units that the plan names elsewhere than in `Plan::of`, `then`, `when` and `unless`, and
/// `undos = [a, b]` for the undos of units that this version does not have any more and the one before it has.
#[proc_macro_attribute]
pub fn procedure(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expanded(procedure::expand(arguments.into(), item.into()))
}

fn expanded(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result.unwrap_or_else(syn::Error::into_compile_error).into()
}
