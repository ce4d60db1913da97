//! The history's keys by number, and which of them are its own.

use std::{collections::HashMap, ops::Range};

use super::{
    effect::{self, Change},
    history::{Action, DeliveryKind, History, Operation},
};
use crate::types::{Level, Mechanism, Revision};

/// A key, by its place among all keys in order: those with one prefix are neighbours.
pub type Key = u32;

/// How long after its end a fault may still be felt: what was believed meanwhile (a lease, a certificate) has
/// run out by then. Nanoseconds.
pub const GRACE: u64 = 5_000_000_000;

/// A history with its keys in order.
pub struct Index<'a> {
    /// The history.
    pub history: &'a History,
    names: Vec<&'a str>,
    keys: HashMap<&'a str, Key>,
    /// Per key: whether operations of the history write it. Such a key is written by nobody else.
    pub owned: Vec<bool>,
    /// Per key: whether elements are appended to it.
    pub lists: Vec<bool>,
    /// Whether locks were asked for: their keys have names that the history does not tell.
    pub locks: bool,
    /// The lowest revision that an answer told; what is no newer may have been there before. 0: none told
    /// one.
    pub first: Revision,
}

impl<'a> Index<'a> {
    /// Numbers the keys.
    pub fn new(history: &'a History) -> Self {
        let mut keys: HashMap<&str, Key> = HashMap::new();
        let mut add = |key: &'a str| {
            keys.insert(key, 0);
        };
        history.operations.iter().for_each(|operation| effect::keys(&operation.action, |key| add(key)));
        for delivery in &history.deliveries {
            if let DeliveryKind::Events(events) = &delivery.kind {
                events.iter().for_each(|event| add(&event.key));
            }
        }
        let mut names: Vec<&str> = keys.keys().copied().collect();
        names.sort_unstable();
        keys.extend(names.iter().copied().zip(0..));
        let told = history.operations.iter().map(Operation::revision).filter(|revision| *revision > 0);
        let mut index = Index {
            history,
            owned: vec![false; names.len()],
            lists: vec![false; names.len()],
            locks: history
                .operations
                .iter()
                .any(|operation| matches!(operation.action, Action::Acquire { .. })),
            first: told.min().unwrap_or(0),
            names,
            keys,
        };
        index.mark();
        index
    }

    fn mark(&mut self) {
        for operation in &self.history.operations {
            effect::changes(&operation.action, |key, change| {
                let key = self.keys[&**key] as usize;
                self.owned[key] = true;
                self.lists[key] |= matches!(change, Change::Append(_));
            });
        }
    }

    /// The key's number.
    ///
    /// # Panics
    /// If the history does not name the key.
    pub fn key(&self, name: &str) -> Key {
        self.keys[name]
    }

    /// The key's name.
    pub fn name(&self, key: Key) -> &'a str {
        self.names[key as usize]
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// All keys with a prefix.
    pub fn with_prefix(&self, prefix: &str) -> Range<Key> {
        let from = self.names.partition_point(|name| *name < prefix);
        let count = self.names[from..].partition_point(|name| name.starts_with(prefix));
        from as Key..(from + count) as Key
    }

    /// Whether everything that happens to the key is told in the history.
    pub fn is_known(&self, key: Key) -> bool {
        self.owned[key as usize] || (self.history.about.complete && !self.locks)
    }

    /// Whether there may have been anything before the history began. A store without revisions has none.
    pub fn has_past(&self) -> bool {
        !self.history.about.complete && self.first > 1
    }

    /// Whether a value of a key that nobody wrote may have been there before the history began.
    pub fn is_older(&self, mod_revision: Revision) -> bool {
        self.has_past() && (1..=self.first).contains(&mod_revision)
    }

    /// The assumption that was broken while the operation ran, if one was.
    pub fn broken(&self, operation: &Operation) -> Option<&'a str> {
        let overlaps = |from: u64, to: Option<u64>| {
            from <= operation.ret && to.is_none_or(|to| operation.call <= to.saturating_add(GRACE))
        };
        let mut faults = self.history.faults.iter().filter(|fault| overlaps(fault.from, fault.to));
        faults.find_map(|fault| fault.breaks.as_deref())
    }

    /// Whether the operation promised to take effect between its call and its answer.
    pub fn is_real_time(&self, operation: &Operation) -> bool {
        if !effect::is_read(operation) {
            // Of leases and locks the answer tells something else: its revision is that of whoever answered.
            let is_txn = matches!(operation.action, Action::Txn { .. });
            return is_txn || effect::mutates(&operation.action);
        }
        let by_clock = operation
            .seen
            .is_none_or(|seen| !matches!(seen.mechanism, Some(Mechanism::ReadIndex | Mechanism::LogEntry)));
        match operation.level {
            None | Some(Level::Linearizable | Level::Log) => true,
            Some(Level::Lease | Level::LeaseOrIndex) => !by_clock || self.broken(operation).is_none(),
            Some(_) => false,
        }
    }
}
