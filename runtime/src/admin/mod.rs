//! The admin socket: what operators ask a processor, and what it answers.

mod groups;
mod holds;
mod preflight;
pub mod protocol;
mod server;
mod verbs;
mod view;

pub use server::{Admin, bind};
pub use verbs::UNDER_WAY;
pub use view::View;
