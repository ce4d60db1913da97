//! The newest records of keys that were written or read lately, decoded: most reads ask for them, and find
//! them by a hash rather than by a walk down the index and another down the engine.
//!
//! What is here is what the index has as the newest change of its key: both change in the same instant, under
//! the same lock. Bounded in records and in bytes. A key has its place in one set of few; where that is full,
//! they leave in turn. Never walked over, so that nothing depends on the hash.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    block::Record,
    index::{Hint, Place},
};

/// Keys and values that are kept, with [`RECORD_BYTES`] for each.
const BYTES_MAX: usize = 8 << 20;
/// What a record costs besides key and value.
const RECORD_BYTES: usize = 176;
/// A larger one is not kept: it would push many out.
const WEIGHT_MAX: usize = BYTES_MAX / 64;

/// Places of one set: what is looked at to find a key fits into a line of the processor's cache.
const WAYS: usize = 4;
/// A power of two. With the places it is more than [`BYTES_MAX`] has room for, unless records are tiny.
const SETS: usize = 1 << 13;

/// See the module.
pub(super) struct Recent {
    sets: Box<[Set]>,
    bytes: usize,
    /// The set that is emptied next, where bytes are wanted.
    hand: usize,
}

#[derive(Default)]
#[repr(align(64))]
struct Set {
    /// Of the hashes of the keys, by place: few other keys are looked at.
    tags: [u32; WAYS],
    kept: [Option<Box<Kept>>; WAYS],
    /// Whose turn it is to leave.
    turn: u8,
}

struct Kept {
    record: Record,
    /// Of its key's history in the index.
    place: Place,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent { sets: (0..SETS).map(|_| Set::default()).collect(), bytes: 0, hand: 0 }
    }
}

impl Recent {
    /// The newest record of a key, if it is here.
    pub fn get(&self, key: &[u8]) -> Option<&Record> {
        self.kept(key).map(|kept| &kept.record)
    }

    /// Where the index has the history of a key, if its newest record is here.
    pub fn hint(&self, key: &[u8]) -> Option<Hint> {
        self.kept(key).map(|kept| Hint { place: kept.place, newest: kept.record.entry.id() })
    }

    fn kept(&self, key: &[u8]) -> Option<&Kept> {
        let (set, tag) = set_of(key);
        let set = &self.sets[set];
        set.kept[set.find(tag, key)?].as_deref()
    }

    /// A record that can be kept: a copy, since key and value are slices of a block, or of a whole command,
    /// which would be kept with them. `None`: it is too large, or the end of its key.
    pub fn copy(record: &Record) -> Option<Record> {
        let Record { entry, key, value } = record;
        if entry.tombstone || weight(record) > WEIGHT_MAX {
            return None;
        }
        let buffer = Bytes::from([&key[..], &value[..]].concat());
        Some(Record { entry: *entry, key: buffer.slice(..key.len()), value: buffer.slice(key.len()..) })
    }

    /// Notes the newest change of a key, whose history is at `place`: a [`Self::copy`] of it, or none.
    pub fn set(&mut self, key: &[u8], copy: Option<Record>, place: Place) {
        let (at, tag) = set_of(key);
        let set = &mut self.sets[at];
        let known = set.find(tag, key);
        let way = match (known, &copy) {
            (Some(way), _) => way,
            (None, Some(_)) => set.room(),
            (None, None) => return,
        };
        self.bytes += copy.as_ref().map_or(0, weight);
        set.tags[way] = tag;
        let kept = copy.map(|record| Box::new(Kept { record, place }));
        let former = std::mem::replace(&mut set.kept[way], kept);
        self.bytes -= former.map_or(0, |former| weight(&former.record));
        while self.bytes > BYTES_MAX {
            self.empty_one(at);
        }
    }

    /// Empties the next set, other than `not`, which was just filled.
    fn empty_one(&mut self, not: usize) {
        self.hand = (self.hand + 1) % SETS;
        if self.hand != not {
            let emptied = std::mem::take(&mut self.sets[self.hand]);
            self.bytes -= emptied.kept.iter().flatten().map(|kept| weight(&kept.record)).sum::<usize>();
        }
    }
}

impl Set {
    fn find(&self, tag: u32, key: &[u8]) -> Option<usize> {
        let is_it = |way: &usize| {
            self.tags[*way] == tag && self.kept[*way].as_ref().is_some_and(|kept| kept.record.key == key)
        };
        (0..WAYS).find(is_it)
    }

    /// A free place, or that of the one whose turn it is.
    fn room(&mut self) -> usize {
        if let Some(free) = self.kept.iter().position(Option::is_none) {
            return free;
        }
        self.turn = (self.turn + 1) % WAYS as u8;
        self.turn.into()
    }
}

/// The set of a key, and its tag there.
fn set_of(key: &[u8]) -> (usize, u32) {
    let hash = xxh3_64(key);
    (hash as usize % SETS, (hash >> 32) as u32)
}

fn weight(record: &Record) -> usize {
    RECORD_BYTES + record.key.len() + record.value.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::block::{Entry, RecordId};

    fn record(key: &str, main: u64, value: usize) -> Record {
        let entry = Entry { main, sub: 0, create: main, version: 1, lease: 0, tombstone: false };
        Record { entry, key: Bytes::copy_from_slice(key.as_bytes()), value: vec![7; value].into() }
    }

    fn add(recent: &mut Recent, record: &Record) {
        let place = crate::state::index::Index::default().insert(&record.key, record.entry, None);
        recent.set(&record.key, Recent::copy(record), place);
    }

    fn kept(recent: &Recent) -> (usize, usize) {
        let all = || recent.sets.iter().flat_map(|set| set.kept.iter().flatten());
        (all().count(), all().map(|kept| weight(&kept.record)).sum())
    }

    #[test]
    fn a_set_is_one_line_of_the_cache() {
        assert_eq!(size_of::<Set>(), 64);
    }

    #[test]
    fn the_newest_record_of_a_key_takes_the_place_of_the_one_before() {
        let mut recent = Recent::default();
        for newest in [record("k", 1, 10), record("k", 2, 20)] {
            add(&mut recent, &newest);
            assert_eq!(recent.get(b"k"), Some(&newest));
        }
        assert_eq!((recent.bytes, kept(&recent)), (RECORD_BYTES + 21, (1, RECORD_BYTES + 21)));
        assert_eq!(recent.get(b"other"), None);
    }

    #[test]
    fn a_key_that_ends_or_grows_too_large_is_not_kept() {
        let mut recent = Recent::default();
        let ended = Record { entry: Entry::tombstone(RecordId { main: 2, sub: 0 }), ..record("k", 2, 0) };
        for not_kept in [ended, record("k", 2, BYTES_MAX)] {
            add(&mut recent, &record("k", 1, 10));
            add(&mut recent, &not_kept);
            assert_eq!((recent.get(b"k"), recent.bytes), (None, 0));
            add(&mut recent, &not_kept);
            assert_eq!(kept(&recent), (0, 0), "nor when nothing was there");
        }
    }

    #[test]
    fn bytes_and_records_are_bounded_and_what_came_last_is_there() {
        for value in [0, 1000, 100 << 10] {
            let mut recent = Recent::default();
            for main in 1..=40_000 {
                let newest = record(&format!("key-{main}"), main, value);
                add(&mut recent, &newest);
                assert_eq!(recent.get(&newest.key), Some(&newest));
            }
            let (records, bytes) = kept(&recent);
            assert!(
                recent.bytes == bytes && bytes <= BYTES_MAX && records <= SETS * WAYS,
                "{records} {bytes}"
            );
            let room = BYTES_MAX / (RECORD_BYTES + 9 + value);
            assert!(records * 10 >= room.min(SETS * WAYS) * 6, "{records} of {room}");
        }
    }
}
