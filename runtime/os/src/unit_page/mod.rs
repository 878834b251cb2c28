//! The unit page (R21, R23): what code of the application a thread runs, in a file that outlives the process.
//!
//! [`UnitPage`] is one page of shared memory, mapped from a file. Its thread writes down each piece of the application's
//! code before it runs and strikes it out after: some dozens of bytes, no system call. A fatal signal in that thread
//! marks the page and writes it to a connection that was opened before ([`signals`]); whoever starts next finds it in
//! the file. Another thread may look whether the page moves.
//!
//! Deliberately absent: what an event is, and what a death means. The page has numbers and bytes.
//! Invariants: one thread writes pieces; the handler touches nothing but the page, a static table and system calls that
//! are allowed in a handler; what is read back is bounded and may be of anybody's making.

mod page;
pub mod signals;

pub use page::{Cause, Left, NOTE_BYTES, Piece, UnitPage, decode};

#[cfg(test)]
mod tests;
