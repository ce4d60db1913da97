//! Records, and the blocks that they are packed into.
//!
//! A record is one change of one key. The engine's cost is per pair, so that records are packed: a block
//! holds records in order of their id, and is named by the first. To look one up, take the block at or below
//! its id.
//!
//! ```text
//! block   version:u8=1 crc32:u32le record*
//! record  flags:u8 main:varint(difference to the one before; to the name, for the first) sub:varint key
//!         unless flags = 1 (tombstone): age:varint(main less create) version:varint lease:varint value
//! ```
//! The checksum is verified at every read. Keys and values that come out are slices of the block, not copies.

use std::ops::Range;

use bytes::Bytes;

use super::{
    Corruption,
    codec::{self, Input, Malformed, put_bytes, put_varint},
};
use crate::{
    storage::{Engine, Key},
    types::{KeyValue, LeaseId, Revision},
};

/// A block is closed when it would outgrow this. A record larger than that has a block of its own.
///
/// Some 30 records of 256 bytes. Measured from 2 to 16 KiB: larger blocks make writing little cheaper, and
/// reading one value dearer: up to 17 share a page of sled, which is read whole (and must stay below a
/// quarter of its segment).
pub(super) const BLOCK_BYTES: usize = 8 << 10;

const BLOCK_VERSION: u8 = 1;
const FLAG_TOMBSTONE: u8 = 1;

/// Names a record: the revision that made it, and its place within that revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordId {
    pub main: Revision,
    pub sub: u32,
}

impl RecordId {
    pub fn key(self) -> Key {
        Key::Block { main: self.main, sub: self.sub }
    }
}

/// All about a change but key and value: what the index holds of it. Flat, so that it takes 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub main: Revision,
    pub create: Revision,
    pub version: u64,
    pub lease: LeaseId,
    pub sub: u32,
    pub tombstone: bool,
}

impl Entry {
    /// The end of a key. All that describes a value is 0.
    pub fn tombstone(id: RecordId) -> Entry {
        Entry { main: id.main, sub: id.sub, create: 0, version: 0, lease: 0, tombstone: true }
    }

    pub fn id(&self) -> RecordId {
        RecordId { main: self.main, sub: self.sub }
    }

    /// The pair that it describes.
    pub fn with(&self, key: Bytes, value: Bytes) -> KeyValue {
        KeyValue {
            key,
            value,
            create_revision: self.create,
            mod_revision: self.main,
            version: self.version,
            lease: self.lease,
        }
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub entry: Entry,
    pub key: Bytes,
    pub value: Bytes,
}

impl Record {
    pub fn into_pair(self) -> KeyValue {
        self.entry.with(self.key, self.value)
    }

    /// At most so many bytes when encoded.
    fn size_bound(&self) -> usize {
        64 + self.key.len() + self.value.len()
    }
}

/// A decoded record whose key and value are still offsets.
struct RawRecord {
    entry: Entry,
    key: Range<usize>,
    value: Range<usize>,
}

/// A block whose checksum has been verified.
#[derive(Clone, Debug)]
pub(super) struct Block {
    name: RecordId,
    bytes: Bytes,
}

impl Block {
    pub fn open(name: RecordId, bytes: Bytes) -> Result<Block, Corruption> {
        match codec::open(&bytes, BLOCK_VERSION) {
            Ok(_) => Ok(Block { name, bytes }),
            Err(malformed) => Err(damaged(name, malformed)),
        }
    }

    pub fn name(&self) -> RecordId {
        self.name
    }

    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// It as it lies in the engine.
    pub fn packed(&self) -> PackedBlock {
        (self.name, self.bytes.clone())
    }

    /// How many records it holds, and the id of the last one.
    pub fn extent(&self) -> Result<(u64, RecordId), Corruption> {
        let (mut count, mut last) = (0, self.name);
        self.visit(|raw| {
            (count, last) = (count + 1, raw.entry.id());
            true
        })?;
        Ok((count, last))
    }

    /// All records, in order.
    pub fn records(&self) -> Result<Vec<Record>, Corruption> {
        let mut records = Vec::new();
        self.visit(|raw| {
            records.push(self.record(raw));
            true
        })?;
        Ok(records)
    }

    /// The record of that id. The keys and values before it are skipped, not decoded.
    pub fn find(&self, id: RecordId) -> Result<Option<Record>, Corruption> {
        let mut found = None;
        self.visit(|raw| {
            if raw.entry.id() == id {
                found = Some(self.record(raw));
            }
            found.is_none()
        })?;
        Ok(found)
    }

    fn record(&self, raw: RawRecord) -> Record {
        Record { entry: raw.entry, key: self.bytes.slice(raw.key), value: self.bytes.slice(raw.value) }
    }

    fn visit(&self, mut each: impl FnMut(RawRecord) -> bool) -> Result<(), Corruption> {
        let mut input = Input::resume(&self.bytes, codec::ENVELOPE_BYTES);
        let mut previous = None;
        while !input.is_empty() {
            let raw = decode(&mut input, self.name, previous).map_err(|why| damaged(self.name, why))?;
            previous = Some(raw.entry.id());
            if !each(raw) {
                return Ok(());
            }
        }
        if previous.is_none() { Err(damaged(self.name, Malformed("empty"))) } else { Ok(()) }
    }
}

fn damaged(name: RecordId, why: Malformed) -> Corruption {
    Corruption::Damaged(format!("block {}.{}: {why}", name.main, name.sub))
}

fn decode(input: &mut Input, name: RecordId, previous: Option<RecordId>) -> Result<RawRecord, Malformed> {
    let flags = input.u8()?;
    let base = previous.unwrap_or(name).main;
    let main = base.checked_add(input.varint()?).ok_or(Malformed("revision too large"))?;
    let sub = u32::try_from(input.varint()?).map_err(|_| Malformed("place in the revision too large"))?;
    let id = RecordId { main, sub };
    match previous {
        None if id != name => return Err(Malformed("does not begin with the record that names it")),
        Some(previous) if id <= previous => return Err(Malformed("records out of order")),
        _ => {}
    }
    let key = input.span()?;
    match flags {
        FLAG_TOMBSTONE => Ok(RawRecord { entry: Entry::tombstone(id), value: key.end..key.end, key }),
        0 => {
            let create = main.checked_sub(input.varint()?).ok_or(Malformed("created after its change"))?;
            let (version, lease) = (input.varint()?, input.varint()?);
            let entry = Entry { main, sub, create, version, lease, tombstone: false };
            Ok(RawRecord { entry, key, value: input.span()? })
        }
        _ => Err(Malformed("unknown flags")),
    }
}

fn encode(out: &mut Vec<u8>, record: &Record, base: Revision) {
    let entry = &record.entry;
    out.push(if entry.tombstone { FLAG_TOMBSTONE } else { 0 });
    put_varint(out, entry.main - base);
    put_varint(out, u64::from(entry.sub));
    put_bytes(out, &record.key);
    if !entry.tombstone {
        put_varint(out, entry.main - entry.create);
        put_varint(out, entry.version);
        put_varint(out, entry.lease);
        put_bytes(out, &record.value);
    }
}

/// An encoded block and its name.
pub(super) type PackedBlock = (RecordId, Bytes);

/// Packs records, given in order of their id, into blocks.
pub(super) struct Packer {
    block_bytes: usize,
    open: Option<OpenBlock>,
    full: Vec<PackedBlock>,
}

struct OpenBlock {
    name: RecordId,
    last: RecordId,
    buffer: Vec<u8>,
}

impl OpenBlock {
    fn close(self) -> PackedBlock {
        (self.name, codec::seal(self.buffer, BLOCK_VERSION))
    }
}

impl Packer {
    /// Blocks of at most `block_bytes`, but for records that are larger.
    pub fn new(block_bytes: usize) -> Packer {
        Packer { block_bytes, open: None, full: Vec::new() }
    }

    pub fn push(&mut self, record: &Record) {
        let id = record.entry.id();
        debug_assert!(self.open.as_ref().is_none_or(|open| open.last < id), "records out of order");
        let size = record.size_bound();
        if self.open.as_ref().is_some_and(|open| open.buffer.len() + size > self.block_bytes) {
            self.close();
        }
        let open =
            self.open.get_or_insert_with(|| OpenBlock { name: id, last: id, buffer: codec::unsealed(size) });
        encode(&mut open.buffer, record, open.last.main);
        open.last = id;
    }

    /// Closes the open block: what follows goes into another.
    pub fn close(&mut self) {
        self.full.extend(self.open.take().map(OpenBlock::close));
    }

    /// The blocks closed since the last call.
    pub fn take_full(&mut self) -> Vec<PackedBlock> {
        std::mem::take(&mut self.full)
    }

    /// All blocks.
    pub fn finish(mut self) -> Vec<PackedBlock> {
        self.close();
        self.full
    }
}

/// Blocks of the engine that begin at or behind `from` and below `to`, in order.
pub(super) fn scan(
    engine: &dyn Engine,
    from: RecordId,
    to: &[u8],
) -> impl Iterator<Item = Result<Block, Corruption>> {
    engine.scan(&from.key().encode(), to).map(|pair| {
        let (key, bytes) = pair?;
        Block::open(name_of(&key)?, bytes)
    })
}

fn name_of(key: &[u8]) -> Result<RecordId, Corruption> {
    match Key::decode(key) {
        Some(Key::Block { main, sub }) => Ok(RecordId { main, sub }),
        _ => Err(Corruption::Damaged(format!("a key that is no block's: {}", key.escape_ascii()))),
    }
}

/// Looks records up by id. Keeps the last block: neighbours are often read together.
pub(super) struct Records<'a> {
    engine: &'a dyn Engine,
    last: Option<Block>,
}

impl<'a> Records<'a> {
    pub fn new(engine: &'a dyn Engine) -> Self {
        Records { engine, last: None }
    }

    /// The record, unless compaction has removed it.
    pub fn find(&mut self, id: RecordId) -> Result<Option<Record>, Corruption> {
        if let Some(block) = &self.last
            && block.name <= id
            && let Some(record) = block.find(id)?
        {
            return Ok(Some(record));
        }
        let Some((key, bytes)) = self.engine.floor(&id.key().encode())? else { return Ok(None) };
        if !matches!(Key::decode(&key), Some(Key::Block { .. })) {
            return Ok(None);
        }
        let block = self.last.insert(Block::open(name_of(&key)?, bytes)?);
        block.find(id)
    }
}

#[cfg(test)]
mod tests;
