//! A batch: the changes of a run of log entries, on top of what is published.
//!
//! Everything that apply reads goes through here, so that an entry sees the ones before it whether or not
//! they are committed: the answer never depends on where a batch was cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Corruption, Event, Head, Membership, Position, ReadError,
    block::{Entry, Record, Records},
    core::{Core, Walk},
    leases::{Change, Leases},
};
use crate::types::{KeyRange, LeaseId};

/// Changes that are applied but not committed. Dropped without a commit, it leaves no trace.
pub struct ApplyBatch {
    core: Arc<Core>,
    base: Head,
    pub(super) head: Head,
    pub(super) membership: Option<Membership>,
    changes: Vec<Record>,
    /// For each key, its changes as indexes into `changes`, in order.
    by_key: BTreeMap<Bytes, Vec<usize>>,
    /// Every key of `by_key` that has a lease now. So the end of a lease costs what it has, however much has
    /// changed before it: a member that catches up ends many in one batch.
    leased: BTreeSet<(LeaseId, Bytes)>,
    /// The table of leases as it is from here on.
    pub(super) leases: Leases,
    lease_changes: Vec<Change>,
}

/// A point to which a batch can be rolled back.
pub(super) struct Mark {
    changes: usize,
    lease_changes: usize,
    leases: Leases,
}

/// A key that exists, as the batch sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub key: Bytes,
    pub entry: Entry,
    /// The change of the batch that made it; `None` if it is published.
    change: Option<usize>,
}

impl Found {
    /// A published one.
    pub fn published(key: Bytes, entry: Entry) -> Found {
        Found { key, entry, change: None }
    }
}

impl ApplyBatch {
    pub(super) fn new(core: Arc<Core>) -> ApplyBatch {
        let (base, leases) = {
            let published = core.read();
            (published.head, published.leases.clone())
        };
        ApplyBatch {
            core,
            base,
            head: base,
            membership: None,
            changes: Vec::new(),
            by_key: BTreeMap::new(),
            leased: BTreeSet::new(),
            leases,
            lease_changes: Vec::new(),
        }
    }

    /// The last log entry applied, in this batch or before.
    pub fn applied(&self) -> Option<Position> {
        self.head.applied
    }

    pub(super) fn is_on(&self, core: &Arc<Core>) -> bool {
        Arc::ptr_eq(&self.core, core) && self.base == core.read().head
    }

    pub(super) fn begun(&self) -> Option<Position> {
        self.base.applied
    }

    /// Moves on to the next log entry.
    pub(super) fn advance(&mut self, at: Position) -> Result<(), Corruption> {
        let applied = self.head.applied;
        let follows = match applied {
            None => at.index == 0,
            Some(applied) => at.index == applied.index + 1 && at.term >= applied.term,
        };
        if !follows {
            return Err(Corruption::LogHole { term: at.term, index: at.index, applied });
        }
        self.head.applied = Some(at);
        Ok(())
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            changes: self.changes.len(),
            lease_changes: self.lease_changes.len(),
            leases: self.leases.clone(),
        }
    }

    /// Whether keys have changed.
    pub(super) fn changed_since(&self, mark: &Mark) -> bool {
        self.changes.len() > mark.changes
    }

    pub(super) fn roll_back(&mut self, mark: Mark) {
        self.lease_changes.truncate(mark.lease_changes);
        self.leases = mark.leases;
        while self.changes.len() > mark.changes {
            let Some(Record { entry, key, .. }) = self.changes.pop() else { return };
            let changes = self.by_key.entry(key.clone()).or_default();
            changes.pop();
            let before = changes.last().map_or(0, |change| self.changes[*change].entry.lease);
            if changes.is_empty() {
                self.by_key.remove(&key);
            }
            self.attach(&key, entry.lease, before);
        }
    }

    /// Adds a change of a key.
    pub(super) fn push(&mut self, record: Record) {
        let changes = self.by_key.entry(record.key.clone()).or_default();
        let before = changes.last().map_or(0, |change| self.changes[*change].entry.lease);
        changes.push(self.changes.len());
        self.attach(&record.key, before, record.entry.lease);
        self.changes.push(record);
    }

    /// Moves a key from one lease to another; 0: none.
    fn attach(&mut self, key: &Bytes, from: LeaseId, to: LeaseId) {
        if from != 0 {
            self.leased.remove(&(from, key.clone()));
        }
        if to != 0 {
            self.leased.insert((to, key.clone()));
        }
    }

    /// Adds a change of a lease.
    pub(super) fn push_lease(&mut self, change: Change) {
        self.leases.apply(&change);
        self.lease_changes.push(change);
    }

    /// The keys that a lease has, in order.
    pub(super) fn keys_of(&self, lease: LeaseId) -> Vec<Found> {
        let published = self.core.read().index.keys_of(lease, usize::MAX);
        let unchanged = published.into_iter().filter(|(key, _)| !self.by_key.contains_key(key));
        let mut keys: Vec<Found> = unchanged.map(|(key, entry)| Found::published(key, entry)).collect();
        let changed = self.leased.range((lease, Bytes::new())..).take_while(|(of, _)| *of == lease);
        keys.extend(changed.filter_map(|(_, key)| self.found(key, self.by_key.get(key)?)));
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        keys
    }

    /// A key, if it exists.
    pub(super) fn find(&self, key: &Bytes) -> Option<Found> {
        match self.by_key.get(key) {
            Some(changes) => self.found(key, changes),
            None => {
                let entry = self.core.read().newest(key)?;
                Some(Found::published(key.clone(), entry))
            }
        }
    }

    fn found(&self, key: &Bytes, changes: &[usize]) -> Option<Found> {
        let change = *changes.last()?;
        let entry = self.changes[change].entry;
        (!entry.tombstone).then(|| Found { key: key.clone(), entry, change: Some(change) })
    }

    /// Calls `each` for the keys of `keys` that exist, in order. Its error ends the walk.
    pub(super) fn for_each<E: From<Corruption>>(
        &self,
        keys: &KeyRange,
        mut each: impl FnMut(Found) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut own = self.changed_keys(keys).peekable();
        let mut walk = Walk::new(&self.core, keys, self.base.revision, None);
        loop {
            let chunk = walk.next_chunk().map_err(unexpected)?;
            if chunk.is_empty() {
                break;
            }
            for item in chunk {
                while let Some((key, changes)) = own.next_if(|(key, _)| **key < item.key) {
                    self.found(key, changes).map_or(Ok(()), &mut each)?;
                }
                match own.next_if(|(key, _)| **key == item.key) {
                    Some((key, changes)) => self.found(key, changes).map_or(Ok(()), &mut each)?,
                    None => each(Found::published(item.key, item.entry))?,
                }
            }
        }
        own.try_for_each(|(key, changes)| self.found(key, changes).map_or(Ok(()), &mut each))
    }

    /// The keys of `keys` that exist, in no order, unless there are more than `most` to look at. A key that
    /// was deleted counts for as long as history keeps it, whether or not this member has dropped it already:
    /// so the work is bounded, and all members give up at the same point.
    pub(super) fn few(&self, keys: &KeyRange, most: usize) -> Option<Vec<Found>> {
        let kept = |newest: &Entry| !newest.tombstone || newest.main >= self.head.compact_revision;
        let mut looked_at = 0;
        let mut room = |newest: &Entry| {
            looked_at += usize::from(kept(newest));
            looked_at <= most
        };
        let mut few = Vec::new();
        for (key, newest) in self.core.read().index.newest_of(keys) {
            if self.by_key.contains_key(key) {
                continue;
            }
            if !room(newest) {
                return None;
            }
            if !newest.tombstone {
                few.push(Found::published(Bytes::copy_from_slice(key), *newest));
            }
        }
        for (key, changes) in self.changed_keys(keys) {
            let newest = changes.last().map(|change| self.changes[*change].entry);
            if newest.is_some_and(|newest| !room(&newest)) {
                return None;
            }
            few.extend(self.found(key, changes));
        }
        Some(few)
    }

    fn changed_keys<'a>(&'a self, keys: &'a KeyRange) -> impl Iterator<Item = (&'a Bytes, &'a Vec<usize>)> {
        let to = keys.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (Bound::Included(&keys.start), to);
        // An inverted range would panic.
        let bounds = (!keys.is_empty()).then_some(bounds);
        bounds.into_iter().flat_map(|bounds| self.by_key.range::<Bytes, _>(bounds))
    }

    /// The lookup of published records for [`ApplyBatch::record`].
    pub(super) fn records(&self) -> Records<'_> {
        Records::new(&*self.core.engine)
    }

    /// The record of a key that was found.
    pub(super) fn record(&self, records: &mut Records, found: &Found) -> Result<Record, Corruption> {
        match found.change {
            Some(change) => Ok(self.changes[change].clone()),
            None => {
                let wanted = (&*found.key, found.entry.id());
                self.core.record(records, wanted, self.base.revision).map_err(unexpected)
            }
        }
    }

    /// The new records, in order.
    pub(super) fn new_records(&self) -> impl Iterator<Item = &Record> {
        self.changes.iter()
    }

    /// The changes of leases, in order.
    pub(super) fn lease_changes(&self) -> &[Change] {
        &self.lease_changes
    }

    /// What watchers are to hear, in order.
    pub(super) fn into_events(self) -> Vec<Event> {
        self.changes.into_iter().map(Event::of).collect()
    }
}

/// The newest revision is readable whatever is compacted.
fn unexpected(error: ReadError) -> Corruption {
    match error {
        ReadError::Broken(corruption) => corruption,
        other => Corruption::Damaged(format!("the newest revision cannot be read: {other}")),
    }
}

#[cfg(test)]
mod tests;
