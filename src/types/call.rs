//! How a call is made, of a node and of a client alike.

use std::time::Duration;

/// How a call is made: how long it may take, and what names it in the logs.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// When to give up; `None`: the default of the configuration (5 s).
    pub timeout: Option<Duration>,
    /// Names the request in the logs of every member it touches; `None`: one is made.
    pub request_id: Option<String>,
}
