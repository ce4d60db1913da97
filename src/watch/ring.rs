//! The most recent commits: a bounded window of the history, in memory.

use std::{collections::VecDeque, sync::Arc};

use super::{RING_BYTES_MAX, RING_REVISIONS_MAX};
use crate::{state::Event, types::Revision};

/// The events of some revisions, in order: all of those below `end`, from where the one before ended.
pub struct Commit {
    pub end: Revision,
    pub events: Vec<Event>,
    bytes: usize,
}

impl Commit {
    pub fn new(end: Revision, events: Vec<Event>) -> Commit {
        let bytes = events.iter().map(size).sum();
        Commit { end, events, bytes }
    }

    /// The events of each revision from `from` on.
    pub fn groups(&self, from: Revision) -> impl Iterator<Item = &[Event]> {
        let passed = self.events.partition_point(|event| event.revision < from);
        self.events[passed..].chunk_by(|one, other| one.revision == other.revision)
    }
}

/// What an event takes in memory.
pub fn size(event: &Event) -> usize {
    size_of::<Event>() + event.kv.key.len() + event.kv.value.len()
}

/// What the ring has from some revision on.
pub enum Recent {
    /// These commits, the first of which may begin earlier. There may be more.
    Commits(Vec<Arc<Commit>>),
    /// Nothing yet.
    Nothing,
    /// Not all any more: it begins at this revision.
    Gone(Revision),
}

/// The commits that hold all events of the revisions `from..next`.
pub struct Ring {
    from: Revision,
    next: Revision,
    bytes: usize,
    commits: VecDeque<Arc<Commit>>,
}

impl Ring {
    /// Empty; the next commit begins at `next`.
    pub fn new(next: Revision) -> Ring {
        Ring { from: next, next, bytes: 0, commits: VecDeque::new() }
    }

    /// Adds what brought the state to `revision`, and drops the oldest commits beyond the bounds: if it must
    /// be, this one too. False if nothing has happened.
    pub fn push(&mut self, events: Vec<Event>, revision: Revision) -> bool {
        if revision < self.next {
            return false;
        }
        let commit = Commit::new(revision + 1, events);
        self.next = commit.end;
        self.bytes += commit.bytes;
        self.commits.push_back(Arc::new(commit));
        while self.bytes > RING_BYTES_MAX || self.next - self.from > RING_REVISIONS_MAX {
            let Some(oldest) = self.commits.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.from = oldest.end;
        }
        true
    }

    /// The commits from revision `from` on, at most `most`.
    pub fn since(&self, from: Revision, most: usize) -> Recent {
        if from >= self.next {
            return Recent::Nothing;
        }
        if from < self.from {
            return Recent::Gone(self.from);
        }
        let passed = self.commits.partition_point(|commit| commit.end <= from);
        Recent::Commits(self.commits.range(passed..).take(most).cloned().collect())
    }
}
