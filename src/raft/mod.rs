//! Consensus: the adapters between openraft and the layers below it. With `node`, the only place that names
//! openraft.

pub mod codec;
pub mod envelope;
mod exchange;
pub mod instant;
pub mod links;
pub mod log_store;
pub mod network;
pub mod promises;
pub mod runtime;
pub mod service;
pub mod settings;
pub mod snapshots;
pub mod state_machine;
pub mod types;
