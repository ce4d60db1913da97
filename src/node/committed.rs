//! What a commit of the state tells the rest of the node: leases to count down, events to watch.

use std::sync::Arc;

use super::deadlines::Deadlines;
use crate::{
    env::Env,
    raft::state_machine::CommitSink,
    state::{Committed, View},
};

/// Hands out what was committed. Runs on the apply path: everything here is short.
pub struct Sink {
    pub env: Env,
    pub deadlines: Arc<Deadlines>,
}

impl CommitSink for Sink {
    fn committed(&self, committed: Committed, _view: &View) {
        self.deadlines.note(&committed.leases, self.env.now());
    }

    fn replaced(&self, _view: &View) {}
}
