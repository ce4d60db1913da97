//! When the appends were made that are not committed yet.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Of each append the index of its last entry, and when it was made; in order. As many as the log has appends
/// that are not committed: what a leader without a quorum took before admission refused more.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    appends: VecDeque<(u64, Instant)>,
}

impl Waiting {
    pub fn append(&mut self, last: u64, at: Instant) {
        self.appends.push_back((last, at));
    }

    /// Entries behind `last` are no longer in the log.
    pub fn truncate_after(&mut self, last: Option<u64>) {
        while self.appends.pop_back_if(|(append, _)| Some(*append) > last).is_some() {}
    }

    /// Entries up to `upto` are in a snapshot: how long they waited is not known.
    pub fn purge(&mut self, upto: u64) {
        while self.appends.pop_front_if(|(append, _)| *append <= upto).is_some() {}
    }

    /// Entries up to `index` are committed; says how long each whole append waited for it.
    pub fn committed(&mut self, index: u64, waited: impl Fn(Duration)) {
        while let Some((_, at)) = self.appends.pop_front_if(|(append, _)| *append <= index) {
            waited(at.elapsed());
        }
    }
}
