//! The face on a running process: a unix socket that speaks JSON.
//!
//! Each instance has one socket, by default `/run/sidegate/<instance>.sock`, that only its owner may open. A request is
//! one line, and so is its answer: `{"ok": …}`, or why there is none: `{"mistake": "…"}` where the asker is to correct
//! something, else `{"error": "…"}`. What may be asked, and what an answer carries, is for the caller to say: this crate
//! moves it.
//!
//! A [`Claim`] is taken first, before an instance touches anything else: it makes sure that the instance is the only
//! one of its name. A [`Server`] then answers on the claimed socket, and [`ask`] asks it.

mod claim;
mod client;
mod error;
mod place;
mod protocol;
mod server;

pub use claim::Claim;
pub use client::ask;
pub use error::{AskError, ClaimError};
pub use place::{DIRECTORY, Instance, running, socket_of};
pub use protocol::Refusal;
pub use server::Server;
