//! What the cluster has committed, as seen from outside: the first member that says so is taken at its
//! word, and everything after that must agree.
//!
//! Invariants of Raft that need only this are checked here, at every commit: state machine safety, log
//! matching (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", figure 3), and
//! that a quorum holds the entry *durably*, which the paper takes for granted.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use quorate::log::{Position, RaftLog, Record};

use super::{Trace, World, now};

/// The committed log.
pub struct Ledger {
    trace: Trace,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<u64, Entry>,
    /// Of the state, by what was applied.
    hashes: BTreeMap<u64, (u64, String)>,
    leaders: BTreeMap<u64, u64>,
}

/// A committed entry.
#[derive(Clone, Debug)]
pub struct Entry {
    pub at: Position,
    pub payload: Bytes,
    /// When it was first known to be committed.
    pub committed: Duration,
    by: u64,
}

impl Ledger {
    pub fn new(trace: Trace) -> Ledger {
        Ledger { trace, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All entries, in order.
    pub fn entries(&self) -> Vec<Entry> {
        self.inner().entries.values().cloned().collect()
    }

    /// Member `id` says that everything up to `upto` is committed, of which it has not told before what
    /// lies behind `known`.
    pub fn committed(
        &self,
        world: &World,
        (id, log): (u64, &dyn RaftLog),
        known: Option<u64>,
        upto: Position,
    ) {
        let first = known.map_or(0, |known| known + 1);
        let first = first.max(log.state().purged.map_or(0, |purged| purged.index + 1));
        if first > upto.index {
            return;
        }
        let records = match log.read(first..upto.index + 1, usize::MAX) {
            Ok(records) => records,
            // Its log has failed, and so will it.
            Err(_) if world.member(id).disk.is_broken() => return,
            Err(error) => return self.trace.violation(format!("n{id} cannot read what it commits: {error}")),
        };
        for record in records {
            self.commit(world, id, record);
        }
    }

    fn commit(&self, world: &World, id: u64, record: Record) {
        let index = record.at.index;
        let known = self.inner().entries.get(&index).cloned();
        if let Some(known) = known {
            if known.at != record.at || known.payload != record.payload {
                self.trace.violation(format!(
                    "state machine safety: n{} committed term {} at index {index}, n{id} term {}{}",
                    known.by,
                    known.at.term,
                    record.at.term,
                    if known.at == record.at { " with another content" } else { "" },
                ));
            }
            return;
        }
        let holders = world.members.iter().filter(|member| member.disk.log().holds(record.at)).count();
        if holders < world.quorum() {
            self.trace.violation(format!(
                "durable quorum: n{id} commits index {index} of term {}, which {holders} disks hold",
                record.at.term
            ));
        }
        self.trace.event(&format!("n{id}"), format!("commits {index} of term {}", record.at.term));
        let entry = Entry { at: record.at, payload: record.payload, committed: now(), by: id };
        let mut inner = self.inner();
        let gap = index > 0 && !inner.entries.contains_key(&(index - 1));
        inner.entries.insert(index, entry);
        if gap {
            self.trace
                .violation(format!("n{id} commits index {index}, and nobody has committed the one before"));
        }
    }

    /// Member `id` leads in `term`, with `log`. Told when it notes that it was elected, and when it is seen
    /// to lead. Election safety, and leader completeness (the same figure).
    pub fn leads(&self, id: u64, term: u64, log: &dyn RaftLog) {
        let mut inner = self.inner();
        let first = *inner.leaders.entry(term).or_insert(id);
        if first != id {
            self.trace.violation(format!("election safety: n{first} and n{id} lead in term {term}"));
        }
        let earlier = inner.entries.values().rev().find(|entry| entry.at.term < term).cloned();
        drop(inner);
        let Some(last) = earlier else { return };
        let state = log.state();
        if state.purged.is_some_and(|purged| purged.index >= last.at.index) {
            return;
        }
        // A log that has failed shows nothing any more, and its member ends.
        let Ok(found) = log.read(last.at.index..last.at.index + 1, usize::MAX) else { return };
        if found.first().is_none_or(|record| record.at != last.at) {
            self.trace.violation(format!(
                "leader completeness: n{id} leads in term {term} without {:?}, which was committed",
                last.at
            ));
        }
    }

    /// Terms that had a leader.
    pub fn elections(&self) -> usize {
        self.inner().leaders.len()
    }

    /// Member `id` has this state where it has applied `applied`: every member's must be the same there.
    pub fn state(&self, id: u64, applied: u64, hash: String) {
        let mut inner = self.inner();
        let (first, known) = inner.hashes.entry(applied).or_insert_with(|| (id, hash.clone())).clone();
        if known != hash {
            self.trace.violation(format!(
                "states differ where {applied} is applied: n{first} {known}, n{id} {hash}"
            ));
        }
    }
}
