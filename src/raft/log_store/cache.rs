//! Recent entries, decoded: replication and apply both read what was appended a moment ago.

use std::{collections::VecDeque, ops::Range};

use super::super::types::{Entry, EntryPayload};

/// What an entry costs besides its command.
const ENTRY_OVERHEAD: usize = 128;

/// A contiguous run of entries that ends with the last one of the log, bounded in bytes.
#[derive(Debug)]
pub(super) struct EntryCache {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl EntryCache {
    /// Holds at most `bytes_max` (and at least the last entry).
    pub fn new(bytes_max: usize) -> Self {
        EntryCache { entries: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds entries that were appended to the log.
    pub fn append(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if self.entries.back().is_some_and(|last| last.log_id.index() + 1 != entry.log_id.index()) {
                self.clear();
            }
            self.bytes += weight(&entry);
            self.entries.push_back(entry);
        }
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            self.pop_front();
        }
    }

    /// Drops the entries behind `last`, as the log did.
    pub fn truncate_after(&mut self, last: Option<u64>) {
        while self.entries.back().is_some_and(|entry| Some(entry.log_id.index()) > last) {
            self.bytes -= self.entries.pop_back().as_ref().map_or(0, weight);
        }
    }

    /// Drops the entries up to `upto`, as the log did.
    pub fn purge(&mut self, upto: u64) {
        while self.entries.front().is_some_and(|entry| entry.log_id.index() <= upto) {
            self.pop_front();
        }
    }

    /// The entries of `range` up to the last one, stopping after `bytes_max` but not before one. `None`: the
    /// first of them is not here; ask the log.
    pub fn read(&self, range: &Range<u64>, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.log_id.index();
        let skip = range.start.checked_sub(first)?;
        if skip >= self.entries.len() as u64 {
            return None;
        }
        let mut bytes = 0;
        let mut found = Vec::new();
        for entry in self.entries.iter().skip(skip as usize) {
            if entry.log_id.index() >= range.end || (bytes >= bytes_max && !found.is_empty()) {
                break;
            }
            bytes += weight(entry);
            found.push(entry.clone());
        }
        Some(found)
    }

    fn pop_front(&mut self) {
        self.bytes -= self.entries.pop_front().as_ref().map_or(0, weight);
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

fn weight(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(proposal) => proposal.size(),
        EntryPayload::Membership(membership) => membership.nodes().count() * ENTRY_OVERHEAD,
    };
    payload + ENTRY_OVERHEAD
}
