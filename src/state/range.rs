//! Choosing among keys: filters, order, limits. The same for reads and for ranges inside a transaction.
//!
//! Keys are offered one by one, in key order. Only those that can still be in the answer are held, in a heap
//! of at most `limit`, so that the memory is bounded by the answer and not by the range.

use std::{cmp::Ordering, collections::BinaryHeap};

use bytes::Bytes;

use super::{block::Entry, block::Record, overlay::Found};
use crate::types::{KeyValue, Range, RangeResult, SortBy};

/// How much one answer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub pairs: usize,
    /// Of keys and values. The first pair is given even if it is larger.
    pub bytes: usize,
}

/// Whether an entry passes the filters on revisions.
pub(super) fn matches(range: &Range, entry: &Entry) -> bool {
    let within = |revision, min, max| revision >= min && (max == 0 || revision <= max);
    within(entry.main, range.min_mod_revision, range.max_mod_revision)
        && within(entry.create, range.min_create_revision, range.max_create_revision)
}

/// Collects the answer to a range.
pub(super) struct Selection<'r> {
    range: &'r Range,
    limit: usize,
    bytes_max: usize,
    count: u64,
    heap: BinaryHeap<Candidate>,
    /// Bytes of the values that the heap holds: only when ordering by value.
    held: usize,
}

impl<'r> Selection<'r> {
    pub fn new(range: &'r Range, room: Room) -> Self {
        let asked = usize::try_from(range.limit).unwrap_or(usize::MAX);
        let limit = if asked == 0 { room.pairs } else { asked.min(room.pairs) };
        let limit = if range.count_only { 0 } else { limit };
        Selection { range, limit, bytes_max: room.bytes, count: 0, heap: BinaryHeap::new(), held: 0 }
    }

    /// Whether [`Selection::offer`] needs the value.
    pub fn by_value(&self) -> bool {
        self.range.sort_by == SortBy::Value && self.limit > 0
    }

    /// Takes the next key of the range, with its value if [`Selection::by_value`].
    pub fn offer(&mut self, found: Found, value: Option<&Bytes>) {
        if !matches(self.range, &found.entry) {
            return;
        }
        self.count += 1;
        if self.limit == 0 {
            return;
        }
        let candidate = Candidate::new(self.range, found, value);
        if self.heap.len() == self.limit && self.heap.peek().is_some_and(|last| candidate >= *last) {
            return;
        }
        self.held += candidate.held();
        self.heap.push(candidate);
        while self.has_too_much() {
            self.held -= self.heap.pop().map_or(0, |last| last.held());
        }
    }

    /// Whether the last candidate cannot be in the answer: the others are enough, or fill its bytes.
    fn has_too_much(&self) -> bool {
        let last = self.heap.peek().map_or(0, Candidate::held);
        self.heap.len() > self.limit || (self.heap.len() > 1 && self.held - last >= self.bytes_max)
    }

    /// The answer; `read` looks up the records it needs.
    pub fn finish<E>(self, mut read: impl FnMut(&Found) -> Result<Record, E>) -> Result<RangeResult, E> {
        let mut kvs = Vec::with_capacity(self.heap.len());
        let mut bytes = 0;
        for candidate in self.heap.into_sorted_vec() {
            let Candidate { found, sort, .. } = candidate;
            let pair = match sort {
                _ if self.range.keys_only => found.entry.with(found.key, Bytes::new()),
                Sort::Value(value) => found.entry.with(found.key, value),
                _ => read(&found)?.into_pair(),
            };
            bytes += size(&pair);
            if bytes > self.bytes_max && !kvs.is_empty() {
                break;
            }
            kvs.push(pair);
        }
        let more = !self.range.count_only && self.count > kvs.len() as u64;
        Ok(RangeResult { kvs, count: self.count, more })
    }
}

/// Bytes of a pair as limits count them.
pub(super) fn size(pair: &KeyValue) -> usize {
    pair.key.len() + pair.value.len()
}

/// What a candidate is ordered by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Key(Bytes),
    Number(u64),
    Value(Bytes),
}

/// A key that may be in the answer. The greatest is the last in the answer.
#[derive(PartialEq, Eq)]
struct Candidate {
    sort: Sort,
    descending: bool,
    found: Found,
}

impl Candidate {
    fn new(range: &Range, found: Found, value: Option<&Bytes>) -> Self {
        let sort = match range.sort_by {
            SortBy::Key => Sort::Key(found.key.clone()),
            SortBy::Version => Sort::Number(found.entry.version),
            SortBy::CreateRevision => Sort::Number(found.entry.create),
            SortBy::ModRevision => Sort::Number(found.entry.main),
            // Copied: a slice would keep a whole block in memory.
            SortBy::Value => Sort::Value(value.map_or(Bytes::new(), |value| Bytes::copy_from_slice(value))),
        };
        Candidate { sort, descending: range.descending, found }
    }

    fn held(&self) -> usize {
        match &self.sort {
            Sort::Value(value) => value.len() + self.found.key.len(),
            _ => 0,
        }
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.sort.cmp(&other.sort);
        let order = if self.descending { order.reverse() } else { order };
        order.then_with(|| self.found.key.cmp(&other.found.key))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
