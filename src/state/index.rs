//! The index: every key with the history of its changes, in memory. Rebuilt from the records at open.
//!
//! It knows all but the values, so that counting, filters on revisions, most compares, and the bookkeeping of
//! a put need no record. A key with one change, the usual case, costs about 64 bytes and the key itself.
//!
//! The histories lie beside the tree of keys: of all that a put does here, the walk down the tree waits
//! longest for memory, and whoever knows where a history lies comes without one ([`Hint`]). The place of a
//! key that is forgotten is kept for the next one: as many as there ever were keys at once, 40 bytes each.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use bytes::Bytes;

use super::block::{Entry, RecordId};
use crate::types::{KeyRange, LeaseId, Revision};

/// The changes of one key, in order. Never empty.
#[derive(Clone, Debug)]
enum History {
    One(Entry),
    Many(Vec<Entry>),
}

impl History {
    fn entries(&self) -> &[Entry] {
        match self {
            History::One(entry) => std::slice::from_ref(entry),
            History::Many(entries) => entries,
        }
    }

    fn newest(&self) -> Option<&Entry> {
        self.entries().last()
    }

    fn push(&mut self, entry: Entry) {
        match self {
            History::One(first) => *self = History::Many(vec![*first, entry]),
            History::Many(entries) => entries.push(entry),
        }
    }

    /// The last change at or below a revision, be it a tombstone.
    fn at(&self, revision: Revision) -> Option<&Entry> {
        let entries = self.entries();
        let after = entries.partition_point(|entry| entry.main <= revision);
        entries[..after].last()
    }

    /// Without what was superseded at or below a revision, and a tombstone below it; `None` if nothing
    /// is left. What happened at the very revision stays: it can still be watched.
    fn compacted(&self, revision: Revision) -> Option<History> {
        let entries = self.entries();
        let after = entries.partition_point(|entry| entry.main <= revision);
        let first = match entries[..after].last() {
            Some(last) if !last.tombstone || last.main == revision => after - 1,
            _ => after,
        };
        match &entries[first..] {
            [] => None,
            [entry] => Some(History::One(*entry)),
            kept => Some(History::Many(kept.to_vec())),
        }
    }
}

/// Where a history lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// Where the history of a key was found, and its newest change then: if that is there still, it is the same
/// history, since no two changes have the same id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    pub place: Place,
    pub newest: RecordId,
}

/// Histories in their places. In chunks, so that nothing moves, and nobody waits for it, as they become more.
#[derive(Default)]
struct Histories {
    chunks: Vec<Vec<Option<History>>>,
    free: Vec<Place>,
}

/// Histories of one chunk: 160 KiB.
const CHUNK: usize = 4096;

impl Histories {
    fn get(&self, place: Place) -> Option<&History> {
        let place = place.0 as usize;
        self.chunks.get(place / CHUNK)?.get(place % CHUNK)?.as_ref()
    }

    fn get_mut(&mut self, place: Place) -> Option<&mut Option<History>> {
        let place = place.0 as usize;
        self.chunks.get_mut(place / CHUNK)?.get_mut(place % CHUNK)
    }

    fn add(&mut self, history: History) -> Place {
        let place = self.free.pop().unwrap_or_else(|| self.add_place());
        self.set(place, Some(history));
        place
    }

    fn add_place(&mut self) -> Place {
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = self.chunks.len() - 1;
        let last = &mut self.chunks[full];
        last.push(None);
        // Four billion keys would need more memory than there is.
        Place((full * CHUNK + last.len() - 1) as u32)
    }

    /// Replaces a history; `None` frees its place.
    fn set(&mut self, place: Place, history: Option<History>) {
        if history.is_none() {
            self.free.push(place);
        }
        if let Some(at) = self.get_mut(place) {
            *at = history;
        }
    }
}

/// Every key and its history.
#[derive(Default)]
pub(super) struct Index {
    keys: BTreeMap<Box<[u8]>, Place>,
    histories: Histories,
    live: u64,
    /// Every key that has a lease now.
    leased: BTreeSet<(LeaseId, Box<[u8]>)>,
    /// How many they are, by lease.
    counts: BTreeMap<LeaseId, usize>,
}

impl Index {
    /// Keys that exist at the newest revision.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// Adds a change, newer than all others of its key, which is copied if it is new. Says where the
    /// history is.
    pub fn insert(&mut self, key: &[u8], entry: Entry, hint: Option<Hint>) -> Place {
        let known = hint.filter(|hint| self.is_good(hint)).map(|hint| hint.place);
        let (place, replaced) = match known.or_else(|| self.keys.get(key).copied()) {
            Some(place) => (place, self.push(place, entry)),
            None => {
                let place = self.histories.add(History::One(entry));
                self.keys.insert(key.into(), place);
                (place, None)
            }
        };
        self.live = self.live + u64::from(!entry.tombstone) - u64::from(replaced.is_some());
        let before = replaced.map_or(0, |replaced| replaced.lease);
        if before != entry.lease {
            self.attach(key, before, entry.lease);
        }
        place
    }

    /// Where the history of a key is, if `newest` is its newest change.
    pub fn place_of(&self, key: &[u8], newest: RecordId) -> Option<Place> {
        let place = *self.keys.get(key)?;
        self.is_good(&Hint { place, newest }).then_some(place)
    }

    fn is_good(&self, hint: &Hint) -> bool {
        let newest = self.histories.get(hint.place).and_then(History::newest);
        newest.is_some_and(|newest| newest.id() == hint.newest)
    }

    /// Adds a change to a history; returns the one before, if the key existed.
    fn push(&mut self, place: Place, entry: Entry) -> Option<Entry> {
        let history = self.histories.get_mut(place)?.as_mut()?;
        let newest = history.newest().filter(|newest| !newest.tombstone).copied();
        history.push(entry);
        newest
    }

    fn history(&self, key: &[u8]) -> Option<&History> {
        self.histories.get(*self.keys.get(key)?)
    }

    /// Moves a key from one lease to another; 0: none.
    fn attach(&mut self, key: &[u8], from: LeaseId, to: LeaseId) {
        if from != 0 && self.leased.remove(&(from, key.into())) {
            let count = self.counts.get(&from).map_or(0, |count| count - 1);
            match count {
                0 => drop(self.counts.remove(&from)),
                _ => drop(self.counts.insert(from, count)),
            }
        }
        if to != 0 && self.leased.insert((to, key.into())) {
            *self.counts.entry(to).or_default() += 1;
        }
    }

    /// The keys of a lease, in order, with their newest changes; at most `most`.
    pub fn keys_of(&self, lease: LeaseId, most: usize) -> Vec<(Bytes, Entry)> {
        let keys = self.leased.range((lease, Box::default())..).take_while(|(of, _)| *of == lease);
        let newest = |key: &[u8]| Some((Bytes::copy_from_slice(key), self.newest(key)?));
        keys.take(most).filter_map(|(_, key)| newest(key)).collect()
    }

    /// How many keys a lease has.
    pub fn count_of(&self, lease: LeaseId) -> usize {
        self.counts.get(&lease).copied().unwrap_or(0)
    }

    /// Every key of `keys` with its newest change, be it a tombstone; in order.
    pub fn newest_of(&self, keys: &KeyRange) -> impl Iterator<Item = (&[u8], &Entry)> {
        let keys = bounds(keys, None).into_iter().flat_map(|bounds| self.keys.range::<[u8], _>(bounds));
        keys.filter_map(|(key, place)| Some((&**key, self.histories.get(*place)?.newest()?)))
    }

    /// The newest change of a key, unless the key does not exist.
    pub fn newest(&self, key: &[u8]) -> Option<Entry> {
        self.history(key)?.newest().filter(|entry| !entry.tombstone).copied()
    }

    /// What a key was at a revision, unless it did not exist then.
    pub fn at(&self, key: &[u8], revision: Revision) -> Option<Entry> {
        self.history(key)?.at(revision).filter(|entry| !entry.tombstone).copied()
    }

    /// Keys of `keys` behind `after`, with what each was at `revision`: `None` if it did not exist then.
    pub fn range<'a>(
        &'a self,
        keys: &'a KeyRange,
        after: Option<&'a [u8]>,
        revision: Revision,
    ) -> impl Iterator<Item = (&'a [u8], Option<Entry>)> {
        let bounds = bounds(keys, after);
        let places = bounds.into_iter().flat_map(move |bounds| self.keys.range::<[u8], _>(bounds));
        places.map(move |(key, place)| {
            let entry = self.histories.get(*place).and_then(|history| history.at(revision));
            (&**key, entry.filter(|entry| !entry.tombstone).copied())
        })
    }

    /// Whether a record must stay when all superseded at or below `revision` goes.
    pub fn keeps(&self, key: &[u8], id: RecordId, revision: Revision) -> bool {
        if id.main >= revision {
            return true;
        }
        let current = self.history(key).and_then(|history| history.at(revision));
        current.is_some_and(|entry| entry.id() == id && !entry.tombstone)
    }

    /// Forgets what was superseded at or below `revision` of one key.
    pub fn compact(&mut self, key: &[u8], revision: Revision) {
        let Some(place) = self.keys.get(key).copied() else { return };
        let compacted = self.histories.get(place).and_then(|history| history.compacted(revision));
        if compacted.is_none() {
            self.keys.remove(key);
        }
        self.histories.set(place, compacted);
    }
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// `None` for an empty range: `BTreeMap::range` panics on some of those.
fn bounds<'a>(keys: &'a KeyRange, after: Option<&'a [u8]>) -> Option<Bounds<'a>> {
    let start = match after {
        Some(after) if after >= &*keys.start => Bound::Excluded(after),
        _ => Bound::Included(&*keys.start),
    };
    let Some(end) = keys.end.as_deref() else { return Some((start, Bound::Unbounded)) };
    let (Bound::Included(first) | Bound::Excluded(first)) = start else { return None };
    (first < end).then_some((start, Bound::Excluded(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(main: Revision) -> Entry {
        Entry { main, create: main, version: 1, lease: 0, sub: 0, tombstone: false }
    }

    fn tombstone(main: Revision) -> Entry {
        Entry::tombstone(RecordId { main, sub: 0 })
    }

    #[test]
    fn an_entry_of_the_index_is_small() {
        assert_eq!(size_of::<Entry>(), 40);
        assert_eq!(size_of::<Option<History>>(), 40);
    }

    #[test]
    fn compaction_keeps_what_is_visible_at_its_revision() {
        let mut index = Index::default();
        for entry in [put(2), put(3), tombstone(5), put(7)] {
            index.insert(b"a", entry, None);
        }
        let id = |main| RecordId { main, sub: 0 };
        assert!(index.keeps(b"a", id(3), 4) && !index.keeps(b"a", id(2), 4));
        assert!(!index.keeps(b"a", id(3), 5) && index.keeps(b"a", id(5), 5) && !index.keeps(b"a", id(5), 6));
        index.compact(b"a", 4);
        assert_eq!(index.history(b"a").map(History::entries), Some(&[put(3), tombstone(5), put(7)][..]));
        index.compact(b"a", 6);
        assert_eq!(index.history(b"a").map(History::entries), Some(&[put(7)][..]));
        assert_eq!(index.live(), 1);
    }

    #[test]
    fn a_deleted_key_vanishes() {
        let mut index = Index::default();
        index.insert(b"a", put(2), None);
        index.insert(b"a", tombstone(3), None);
        assert_eq!((index.live(), index.newest(b"a")), (0, None));
        index.compact(b"a", 3);
        assert_eq!(
            index.history(b"a").map(History::entries),
            Some(&[tombstone(3)][..]),
            "it can still be watched"
        );
        index.compact(b"a", 4);
        assert!(index.keys.is_empty());
    }

    #[test]
    fn a_hint_is_believed_only_while_it_is_true() {
        let mut index = Index::default();
        let place = index.insert(b"a", put(2), None);
        let hint = |main| Some(Hint { place, newest: RecordId { main, sub: 0 } });
        assert_eq!(index.insert(b"a", put(3), hint(2)), place);
        index.insert(b"b", put(4), hint(2));
        let newest = |index: &Index, key: &[u8]| index.newest(key).map(|entry| entry.main);
        assert_eq!((newest(&index, b"a"), newest(&index, b"b"), index.live()), (Some(3), Some(4), 2));
        index.insert(b"a", tombstone(5), hint(3));
        index.compact(b"a", 6);
        assert_eq!(index.insert(b"c", put(7), hint(5)), place, "it was free again");
        index.insert(b"d", put(8), hint(5));
        let all = [&b"a"[..], b"b", b"c", b"d"].map(|key| newest(&index, key));
        assert_eq!((all, index.live()), ([None, Some(4), Some(7), Some(8)], 3));
    }

    #[test]
    fn empty_ranges_are_empty() {
        let mut index = Index::default();
        index.insert(b"b", put(2), None);
        let keys = |start: &'static [u8], end: &'static [u8]| KeyRange::interval(start, Some(end.into()));
        for (keys, after) in [(keys(b"c", b"a"), None), (keys(b"a", b"c"), Some(&b"c"[..]))] {
            assert_eq!(index.range(&keys, after, 9).count(), 0);
        }
        assert_eq!(index.range(&keys(b"a", b"c"), Some(b"0"), 9).count(), 1);
    }
}
