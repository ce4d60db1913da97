//! What a commit of the state tells the rest of the node: leases to count down, events to watch.

use std::sync::Arc;

use super::deadlines::Deadlines;
use crate::{
    env::Env,
    mutant::Mutant,
    raft::state_machine::CommitSink,
    state::{Committed, View},
    watch::Hub,
};

/// Hands out what was committed. Runs on the apply path: everything here is short.
pub struct Sink {
    pub env: Env,
    pub deadlines: Arc<Deadlines>,
    pub watches: Hub,
}

impl CommitSink for Sink {
    fn committed(&self, committed: Committed, view: &View) {
        self.deadlines.note(&committed.leases, self.env.now());
        self.watches.publish(committed.events, view.revision);
    }

    fn replaced(&self, view: &View) {
        if !Mutant::ReplacementUntold.is_on() {
            self.watches.reset(view.revision);
        }
    }
}
