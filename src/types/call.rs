//! How a call is made, of a node and of a client alike.

use std::time::Duration;

use super::{Guard, SessionSeq};

/// How a call is made: how long it may take, and what names it in the logs.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// When to give up; `None`: the default of the configuration (5 s).
    pub timeout: Option<Duration>,
    /// Names the request in the logs of every member it touches; `None`: one is made.
    pub request_id: Option<String>,
    /// Of a write: makes retries safe. A client with a session of its own fills it in.
    pub session: Option<SessionSeq>,
    /// Of a write: refused unless all of these hold when it is applied.
    pub guards: Vec<Guard>,
}
