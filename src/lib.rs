//! Quorate: an embedded, Raft-replicated key-value store. Every read names the consistency it wants, and
//! every answer says which it got and what proves it.
//!
//! ARCHITECTURE.md has the map of the code; `types` is the vocabulary, `Node` the embedded member, `client`
//! the remote one.

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "cli")]
pub mod bench;
#[cfg(feature = "check")]
pub mod check;
#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
pub mod config;
pub mod env;
pub mod error;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod log;
pub mod mutant;
pub mod node;
pub mod pb;
pub mod raft;
pub mod recipes;
#[cfg(feature = "server")]
pub mod server;
pub mod stages;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod state;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod storage;
#[cfg(feature = "cli")]
pub mod telemetry;
#[cfg(feature = "cli")]
pub mod torture;
pub mod types;
pub mod watch;

pub use self::{client::Client, config::Config, error::Error, node::Node};
