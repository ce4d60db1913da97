//! How the table of leases is kept in the engine: as the list of its changes.
//!
//! ```text
//! journal  20 number:u64be -> envelope, link:u32le, change*    in order of number, from the empty table on
//! ```
//! A commit rewrites the last record, with its own changes behind what is there, until that is full: one pair
//! of the engine for each commit, whatever number of leases and responses it changes. When the records have
//! grown to twice the table, the table is written anew and they are deleted, in the same engine batch.
//!
//! After a power cut the engine may lack a part in the middle, or hold an old version of it. So each record
//! begins with the checksum of the one before it (the first with 0), and the head holds that of the last.

use super::{
    Corruption,
    codec::{self, Malformed},
    leases::{Change, Leases},
};
use crate::storage::{Batch, Engine, Key};

const RECORD_VERSION: u8 = 1;

/// A record is full when it has grown to this.
const RECORD_BYTES: usize = 4 << 10;

/// Bytes of changes below which the table is not written anew.
const REWRITE_BYTES_MIN: u64 = 1 << 20;

/// Where the journal stands.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    first: u64,
    last: u64,
    /// The last record, unsealed.
    tail: Vec<u8>,
    /// The checksum of the last record that was written; 0: none.
    pub sealed: u32,
    /// Of the full records.
    bytes: u64,
    /// Of the table, when it was last written.
    table_bytes: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Journal { first: 0, last: 0, tail: record(0), sealed: 0, bytes: 0, table_bytes: 0 }
    }
}

impl Journal {
    /// Reads the table, and where its journal stands.
    pub fn load(engine: &dyn Engine) -> Result<(Journal, Leases), Corruption> {
        let (mut journal, mut leases) = (Journal::default(), Leases::default());
        let mut first = None;
        for pair in engine.scan(&Key::FIRST_LEASES.encode(), &Key::leases_end()) {
            let (key, sealed) = pair?;
            let Some(Key::Leases { number }) = Key::decode(&key) else {
                return Err(Corruption::Damaged("a foreign key among the leases".to_owned()));
            };
            let replayed = replay(&sealed, journal.sealed, &mut leases);
            journal.sealed = replayed.map_err(|why| Corruption::damaged("leases", why))?;
            first.get_or_insert(number);
            // It goes on in a record of its own: this one is full, for all that matters.
            journal.last = number + 1;
            journal.bytes += sealed.len() as u64;
        }
        journal.first = first.unwrap_or(0);
        journal.tail = record(journal.sealed);
        journal.table_bytes = journal.bytes / 2;
        Ok((journal, leases))
    }

    /// Adds the changes of a commit; `leases` is the table after them.
    pub fn commit(&mut self, changes: &[Change], leases: &Leases, batch: &mut Batch) {
        if changes.is_empty() {
            return;
        }
        if self.bytes >= REWRITE_BYTES_MIN.max(2 * self.table_bytes) {
            return self.rewrite(leases, batch);
        }
        changes.iter().for_each(|change| self.push(change, batch));
        self.put_tail(batch);
    }

    /// Writes the whole table, and deletes what was there.
    pub fn rewrite(&mut self, leases: &Leases, batch: &mut Batch) {
        let old = self.first..=self.last;
        old.for_each(|number| batch.delete(Key::Leases { number }.encode()));
        let first = self.last + 1;
        *self = Journal { first, last: first, ..Journal::default() };
        leases.changes().for_each(|change| self.push(&change, batch));
        self.put_tail(batch);
        self.table_bytes = self.bytes;
    }

    fn push(&mut self, change: &Change, batch: &mut Batch) {
        change.encode(&mut self.tail);
        if self.tail.len() >= RECORD_BYTES {
            self.put_tail(batch);
            self.bytes += self.tail.len() as u64;
            self.tail = record(self.sealed);
            self.last += 1;
        }
    }

    fn put_tail(&mut self, batch: &mut Batch) {
        let key = Key::Leases { number: self.last }.encode();
        let sealed = codec::seal(self.tail.clone(), RECORD_VERSION);
        self.sealed = codec::checksum_of(&sealed);
        batch.put(key, sealed);
    }
}

/// A record that is to follow the one with this checksum, still without changes.
fn record(before: u32) -> Vec<u8> {
    let mut record = codec::unsealed(RECORD_BYTES);
    record.extend_from_slice(&before.to_le_bytes());
    record
}

/// Makes a record's changes; gives its checksum.
fn replay(sealed: &[u8], before: u32, leases: &mut Leases) -> Result<u32, Malformed> {
    let mut input = codec::open(sealed, RECORD_VERSION)?;
    if u32::from_le_bytes(input.array()?) != before {
        return Err(Malformed("a part of the journal is lost"));
    }
    while !input.is_empty() {
        leases.apply(&Change::decode(&mut input, sealed)?);
    }
    Ok(codec::checksum_of(sealed))
}
