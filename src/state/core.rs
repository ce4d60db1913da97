//! What the one writer and the many readers share: the engine, and the index with the head, under one lock.
//!
//! A reader never holds the lock for long: [`Walk`] resolves keys in chunks at a fixed revision, and records
//! are read without it. That is consistent because records never change, and because compaction removes only
//! what no readable revision shows: a reader below the compact revision notices, and says `Compacted`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{
    Corruption, Head, Membership, Position, ReadError, View,
    block::{self, Entry, Record, RecordId, Records},
    codec::{self, Input, Malformed, put_bytes, put_varint},
    compaction::Progress,
    index::Index,
    journal::Journal,
    leases::Leases,
    recent::Recent,
    tally::Tally,
};
use crate::{
    mutant::Mutant,
    storage::{Batch, Engine, Key},
    types::{KeyRange, Revision},
};

/// Keys of the index that are visited under one lock: some 100 µs at most.
const CHUNK_KEYS: usize = 1024;

/// Version 1 had no tally.
const HEAD_VERSION: u8 = 2;
const MEMBERSHIP_VERSION: u8 = 1;

/// What becomes visible in one instant.
#[derive(Default)]
pub(super) struct Published {
    pub index: Index,
    /// Of the newest changes in the index.
    pub recent: Recent,
    pub head: Head,
    pub membership: Option<Membership>,
    pub leases: Leases,
    /// The records ever added to the engine.
    pub added: Tally,
}

impl Published {
    pub fn view(&self) -> View {
        View {
            revision: self.head.revision,
            compact_revision: self.head.compact_revision,
            applied: self.head.applied,
            keys: self.index.live(),
        }
    }

    /// The newest change of a key, unless the key does not exist.
    pub fn newest(&self, key: &[u8]) -> Option<Entry> {
        match self.recent.get(key) {
            Some(record) => Some(record.entry),
            None => self.index.newest(key),
        }
    }

    fn check_readable(&self, requested: Revision) -> Result<(), ReadError> {
        let compacted = self.head.compact_revision;
        if requested < compacted { Err(ReadError::Compacted { requested, compacted }) } else { Ok(()) }
    }
}

/// What a key was.
pub(super) struct Sight {
    pub entry: Entry,
    /// If it was at hand.
    record: Option<Record>,
    /// No later change was known.
    newest: bool,
}

/// One state: it lives until a snapshot from elsewhere replaces it and the last reader has let go of it.
pub(super) struct Core {
    pub engine: Arc<dyn Engine>,
    published: RwLock<Published>,
    progress: Mutex<Progress>,
    journal: Mutex<Journal>,
}

impl Core {
    /// Reads the engine: one scan over all records.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Core, Corruption> {
        let (head, inventory) = match engine.get(&Key::Head.encode())? {
            Some(sealed) => decode_head(&sealed).map_err(|why| Corruption::damaged("head", why))?,
            None => (Head::default(), Some(Inventory::default())),
        };
        let membership = match engine.get(&Key::Membership.encode())? {
            Some(sealed) => {
                Some(decode_membership(&sealed).map_err(|why| Corruption::damaged("membership", why))?)
            }
            None => None,
        };
        let head = if Mutant::AppliedTwice.is_on() { one_entry_earlier(head) } else { head };
        let (index, found) = build_index(&*engine, head)?;
        let progress = Progress::load(&*engine)?;
        let added = check_tally(inventory.map(|all| all.added), progress.removed, found)?;
        let (journal, leases) = Journal::load(&*engine)?;
        if inventory.is_some_and(|all| all.journal != journal.sealed) {
            return Err(Corruption::Damaged("the end of the journal of leases is lost".to_owned()));
        }
        let recent = Recent::default();
        let published = RwLock::new(Published { index, recent, head, membership, leases, added });
        Ok(Core { engine, published, progress: Mutex::new(progress), journal: Mutex::new(journal) })
    }

    pub fn read(&self) -> RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, Published> {
        self.published.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Excludes a second compactor, and a snapshot from being pinned in the middle of a step.
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only the writer touches it.
    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision that a read sees (0 asks for the newest), and where the state stands at that instant.
    pub fn resolve(&self, requested: Revision) -> Result<(Revision, View), ReadError> {
        let published = self.read();
        let view = published.view();
        if requested > view.revision {
            return Err(ReadError::FutureRevision { requested, current: view.revision });
        }
        let revision = if requested == 0 { view.revision } else { requested };
        published.check_readable(revision)?;
        Ok((revision, view))
    }

    /// What a key was at a revision, unless it did not exist then.
    pub fn find(&self, key: &[u8], revision: Revision) -> Result<Option<Sight>, ReadError> {
        let published = self.read();
        published.check_readable(revision)?;
        if let Some(newest) = published.recent.get(key).filter(|newest| newest.entry.main <= revision) {
            return Ok(Some(Sight { entry: newest.entry, record: Some(newest.clone()), newest: true }));
        }
        let newest = revision == published.head.revision;
        Ok(published.index.at(key, revision).map(|entry| Sight { entry, record: None, newest }))
    }

    /// The record of what was found at `revision`. If it is the newest of its key it is among the recent ones
    /// then, unless somebody else is at work on the state: a read need not wait for that.
    pub fn record_of(&self, sight: Sight, revision: Revision) -> Result<Record, ReadError> {
        let Sight { entry, record, newest } = sight;
        if let Some(record) = record {
            return Ok(record);
        }
        let record = self.stored(&mut Records::new(&*self.engine), entry.id(), revision)?;
        if newest
            && let Some(copy) = Recent::copy(&record)
            && let Ok(mut published) = self.published.try_write()
            && let Some(place) = published.index.place_of(&record.key, entry.id())
        {
            published.recent.set(&record.key, Some(copy), place);
        }
        Ok(record)
    }

    /// The record of a key that was visible at `revision`.
    pub fn record(
        &self,
        records: &mut Records,
        (key, id): (&[u8], RecordId),
        revision: Revision,
    ) -> Result<Record, ReadError> {
        // Let go of before the engine is read: a `match` on it would hold the lock meanwhile.
        let recent = self.read().recent.get(key).filter(|record| record.entry.id() == id).cloned();
        recent.map_or_else(|| self.stored(records, id, revision), Ok)
    }

    /// A record that was visible at `revision`, from the engine.
    pub fn stored(
        &self,
        records: &mut Records,
        id: RecordId,
        revision: Revision,
    ) -> Result<Record, ReadError> {
        if let Some(record) = records.find(id)? {
            return Ok(record);
        }
        self.read().check_readable(revision)?;
        Err(Corruption::Damaged(format!("record {}.{} is missing", id.main, id.sub)).into())
    }
}

/// By [`Mutant::AppliedTwice`] alone.
fn one_entry_earlier(head: Head) -> Head {
    let before = |at: Position| Some(Position { index: at.index.checked_sub(1)?, ..at });
    Head { applied: head.applied.and_then(before), ..head }
}

/// What must be in the engine beside the head: else a part of it is lost.
#[derive(Clone, Copy, Default)]
pub(super) struct Inventory {
    /// The records ever added.
    pub added: Tally,
    /// The checksum of the journal's last record; 0: it has none.
    pub journal: u32,
}

/// Adds the head to a batch, with what is in the engine once it is written.
pub(super) fn put_head(batch: &mut Batch, head: &Head, inventory: Inventory) {
    let mut out = codec::unsealed(48);
    put_varint(&mut out, head.revision);
    put_varint(&mut out, head.compact_revision);
    put_position(&mut out, head.applied);
    inventory.added.put(&mut out);
    out.extend_from_slice(&inventory.journal.to_le_bytes());
    batch.put(Key::Head.encode(), codec::seal(out, HEAD_VERSION));
}

fn decode_head(sealed: &[u8]) -> Result<(Head, Option<Inventory>), Malformed> {
    let (version, mut input) = codec::open_upto(sealed, HEAD_VERSION)?;
    let (revision, compact_revision) = (input.varint()?, input.varint()?);
    let applied = read_position(&mut input)?;
    let inventory = match version {
        1 => None,
        _ => {
            let added = Tally::read(&mut input)?;
            Some(Inventory { added, journal: u32::from_le_bytes(input.array()?) })
        }
    };
    input.end()?;
    if compact_revision > revision {
        return Err(Malformed("compacted beyond its revision"));
    }
    Ok((Head { applied, revision, compact_revision }, inventory))
}

/// Adds the membership to a batch.
pub(super) fn put_membership(batch: &mut Batch, (at, bytes): &Membership) {
    let mut out = codec::unsealed(32 + bytes.len());
    put_position(&mut out, Some(*at));
    put_bytes(&mut out, bytes);
    batch.put(Key::Membership.encode(), codec::seal(out, MEMBERSHIP_VERSION));
}

fn decode_membership(sealed: &[u8]) -> Result<Membership, Malformed> {
    let mut input = codec::open(sealed, MEMBERSHIP_VERSION)?;
    let at = read_position(&mut input)?.ok_or(Malformed("no position"))?;
    let bytes = Bytes::copy_from_slice(&sealed[input.span()?]);
    input.end()?;
    Ok((at, bytes))
}

/// A position that may be missing.
pub(super) fn put_position(out: &mut Vec<u8>, position: Option<Position>) {
    out.push(u8::from(position.is_some()));
    if let Some(position) = position {
        put_varint(out, position.term);
        put_varint(out, position.index);
    }
}

/// The inverse of [`put_position`].
pub(super) fn read_position(input: &mut Input) -> Result<Option<Position>, Malformed> {
    match input.u8()? {
        0 => Ok(None),
        1 => Ok(Some(Position { term: input.varint()?, index: input.varint()? })),
        _ => Err(Malformed("neither a position nor none")),
    }
}

/// Compares the records found with those that should be there; gives those ever added, also where an older
/// version did not count them.
fn check_tally(added: Option<Tally>, removed: Tally, found: Tally) -> Result<Tally, Corruption> {
    let Some(added) = added else { return Ok(found.plus(removed)) };
    let expected = added.minus(removed);
    if found == expected {
        return Ok(added);
    }
    let (found, expected) = (found.count, expected.count);
    Err(Corruption::Damaged(format!("{found} records, not the {expected} that were written: a part is lost")))
}

fn build_index(engine: &dyn Engine, head: Head) -> Result<(Index, Tally), Corruption> {
    let (mut index, mut found) = (Index::default(), Tally::default());
    let mut last = RecordId::default();
    for block in block::scan(engine, RecordId::default(), &Key::blocks_end()) {
        for record in block?.records()? {
            let id = record.entry.id();
            if id <= last || id.main > head.revision {
                return Err(Corruption::Damaged(format!(
                    "record {}.{} behind {}.{}, with the head at {}",
                    id.main, id.sub, last.main, last.sub, head.revision
                )));
            }
            last = id;
            found.add(id);
            index.insert(&record.key, record.entry, None);
        }
    }
    Ok((index, found))
}

/// A key that exists, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub key: Bytes,
    pub entry: Entry,
}

/// Walks over the keys of a range at one revision, in order, a chunk at a time.
pub(super) struct Walk<'a> {
    core: &'a Core,
    keys: &'a KeyRange,
    revision: Revision,
    after: Option<Bytes>,
    done: bool,
}

impl<'a> Walk<'a> {
    /// From the start, or behind the key `after`.
    pub fn new(core: &'a Core, keys: &'a KeyRange, revision: Revision, after: Option<Bytes>) -> Self {
        Walk { core, keys, revision, after, done: false }
    }

    /// The next keys that exist at the revision. Empty at the end, and only there.
    pub fn next_chunk(&mut self) -> Result<Vec<Item>, ReadError> {
        let mut items = Vec::new();
        while items.is_empty() && !self.done {
            items = self.visit()?;
        }
        Ok(items)
    }

    /// Visits [`CHUNK_KEYS`] keys under the lock. Their bytes are copied into one buffer, which the items
    /// share.
    fn visit(&mut self) -> Result<Vec<Item>, ReadError> {
        if let (Some(key), None) = (self.keys.single(), &self.after) {
            self.done = true;
            let published = self.core.read();
            published.check_readable(self.revision)?;
            let entry = published.index.at(key, self.revision);
            return Ok(entry.map(|entry| Item { key: key.clone(), entry }).into_iter().collect());
        }
        let mut buffer = Vec::new();
        let mut found = Vec::new();
        let mut visited = 0;
        {
            let published = self.core.read();
            published.check_readable(self.revision)?;
            let range = published.index.range(self.keys, self.after.as_deref(), self.revision);
            let mut last: &[u8] = &[];
            for (key, entry) in range.take(CHUNK_KEYS) {
                visited += 1;
                last = key;
                if let Some(entry) = entry {
                    let start = buffer.len();
                    buffer.extend_from_slice(key);
                    found.push((start..buffer.len(), entry));
                }
            }
            self.done = visited < CHUNK_KEYS;
            self.after = Some(Bytes::copy_from_slice(last));
        }
        let buffer = Bytes::from(buffer);
        Ok(found.into_iter().map(|(span, entry)| Item { key: buffer.slice(span), entry }).collect())
    }
}
