//! Reading a snapshot: its header, a check of all of it, and loading it into an engine.

use std::{
    io::{ErrorKind, Read},
    sync::Arc,
};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::{
    BLOCK_NAME_BYTES, FORMAT, FRAME_BYTES_MAX, KIND_FOOTER, KIND_HEADER, KIND_LEASES, KIND_RECORDS, MAGIC,
    SnapshotError, SnapshotHeader, frame_checksum,
};
use crate::{
    state::{
        StateMachine,
        block::{BLOCK_BYTES, Block, Packer, Record, RecordId},
        codec::{Input, Malformed},
        core::{Inventory, put_head, put_membership, read_position},
        journal::Journal,
        leases::{Change, Leases},
        tally::Tally,
    },
    storage::{Batch, Engine, Key},
};

/// Bytes of records written to the engine in one batch while loading.
const LOAD_BATCH_BYTES: usize = 2 << 20;

/// Batches between flushes while loading: a large backlog takes long to flush at once.
const LOAD_FLUSH_BATCHES: usize = 16;

/// What a complete and undamaged snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// Its header.
    pub header: SnapshotHeader,
    /// Records in it.
    pub records: u64,
    /// Its length.
    pub bytes: u64,
}

/// Reads the header alone, which has its own checksum. Says nothing about the rest.
pub fn read_header(reader: impl Read) -> Result<SnapshotHeader, SnapshotError> {
    SnapshotReader::begin(reader).map(|reader| reader.header)
}

/// Reads all of it, to the last byte, and checks everything that can be checked.
pub fn verify(reader: impl Read) -> Result<SnapshotSummary, SnapshotError> {
    let mut reader = SnapshotReader::begin(reader)?;
    while reader.next_records()?.is_some() {}
    Ok(reader.summary())
}

impl StateMachine {
    /// Loads a snapshot into an empty engine. The head is written last, after all else has been checked: an
    /// interrupted load leaves records without a head, which do not open.
    pub fn load(engine: Arc<dyn Engine>, reader: impl Read) -> Result<StateMachine, SnapshotError> {
        if engine.scan(&[], &Key::end()).next().transpose()?.is_some() {
            return Err(SnapshotError::NotEmpty);
        }
        let mut reader = SnapshotReader::begin(reader)?;
        let added = load_records(&*engine, &mut reader)?;
        let mut batch = Batch::default();
        if let Some(membership) = &reader.header.membership {
            put_membership(&mut batch, membership);
        }
        let mut journal = Journal::default();
        journal.rewrite(&reader.leases, &mut batch);
        let inventory = Inventory { added, journal: journal.sealed };
        put_head(&mut batch, &reader.header.head(), inventory);
        engine.write(&batch)?;
        engine.flush()?;
        Ok(StateMachine::open(engine)?)
    }
}

fn load_records(engine: &dyn Engine, reader: &mut SnapshotReader<impl Read>) -> Result<Tally, SnapshotError> {
    let (mut packer, mut added) = (Packer::new(BLOCK_BYTES), Tally::default());
    let (mut batch, mut bytes, mut batches) = (Batch::default(), 0, 0);
    while let Some(records) = reader.next_records()? {
        for record in &records {
            packer.push(record);
            added.add(record.entry.id());
        }
        for (name, block) in packer.take_full() {
            bytes += block.len();
            batch.put(name.key().encode(), block);
        }
        if bytes >= LOAD_BATCH_BYTES {
            engine.write(&std::mem::take(&mut batch))?;
            (bytes, batches) = (0, batches + 1);
            if batches % LOAD_FLUSH_BATCHES == 0 {
                engine.flush()?;
            }
        }
    }
    for (name, block) in packer.finish() {
        batch.put(name.key().encode(), block);
    }
    engine.write(&batch)?;
    Ok(added)
}

/// Reads a snapshot from front to back.
struct SnapshotReader<R> {
    source: R,
    hasher: Xxh3,
    offset: u64,
    frames: u64,
    records: u64,
    last: RecordId,
    header: SnapshotHeader,
    leases: Leases,
}

impl<R: Read> SnapshotReader<R> {
    fn begin(source: R) -> Result<Self, SnapshotError> {
        let header = SnapshotHeader { applied: None, membership: None, revision: 0, compact_revision: 0 };
        let (last, hasher) = (RecordId::default(), Xxh3::new());
        let leases = Leases::default();
        let mut reader =
            SnapshotReader { source, hasher, offset: 0, frames: 0, records: 0, last, header, leases };
        if reader.take(MAGIC.len())? != MAGIC[..] {
            return Err(reader.damaged("this is not a snapshot"));
        }
        let format = reader.u32()?;
        if format != FORMAT {
            return Err(SnapshotError::UnknownFormat { format });
        }
        let (kind, body) = reader.frame()?;
        if kind != KIND_HEADER {
            return Err(reader.damaged("no header"));
        }
        reader.header =
            decode_header(&body).map_err(|why| SnapshotError::malformed(reader.offset, "header", why))?;
        Ok(reader)
    }

    /// The records of the next frame that has any; `None` once the footer has been checked.
    fn next_records(&mut self) -> Result<Option<Vec<Record>>, SnapshotError> {
        let checksum = self.hasher.digest128();
        match self.frame()? {
            (KIND_RECORDS, body) => self.records_of(body).map(Some),
            (KIND_LEASES, body) => self.leases_of(&body).map(|()| Some(Vec::new())),
            (KIND_FOOTER, body) => self.check_footer(&body, checksum).map(|()| None),
            (kind, _) => Err(self.damaged(&format!("unknown kind of frame {kind}"))),
        }
    }

    fn records_of(&mut self, body: Bytes) -> Result<Vec<Record>, SnapshotError> {
        let Some((Key::Block { main, sub }, block)) = name_and_block(&body) else {
            return Err(self.damaged("a frame without a block"));
        };
        let records = Block::open(RecordId { main, sub }, block)?.records()?;
        for record in &records {
            let id = record.entry.id();
            if id <= self.last || id.main > self.header.revision {
                return Err(self.damaged(&format!("record {}.{} out of order", id.main, id.sub)));
            }
            self.last = id;
        }
        self.records += records.len() as u64;
        Ok(records)
    }

    fn leases_of(&mut self, body: &[u8]) -> Result<(), SnapshotError> {
        let mut input = Input::new(body);
        while !input.is_empty() {
            let change = Change::decode(&mut input, body)
                .map_err(|why| SnapshotError::malformed(self.offset, "leases", why))?;
            self.leases.apply(&change);
        }
        Ok(())
    }

    fn check_footer(&mut self, body: &[u8], checksum: u128) -> Result<(), SnapshotError> {
        let footer =
            decode_footer(body).map_err(|why| SnapshotError::malformed(self.offset, "footer", why))?;
        if footer != (self.records, self.frames - 1, checksum) {
            return Err(self.damaged("footer does not fit: records, frames or checksum differ"));
        }
        let mut rest = [0];
        loop {
            match self.source.read(&mut rest) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(self.damaged("bytes behind the footer")),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn frame(&mut self) -> Result<(u8, Bytes), SnapshotError> {
        let kind = self.take(1)?[0];
        let (length, expected) = (self.u32()?, self.u32()?);
        if length > FRAME_BYTES_MAX {
            return Err(self.damaged("a frame that is too long"));
        }
        let body = self.take(length as usize)?;
        if frame_checksum(kind, length, [&body, &[]]) != expected {
            return Err(self.damaged("wrong checksum"));
        }
        self.frames += 1;
        Ok((kind, body))
    }

    fn u32(&mut self) -> Result<u32, SnapshotError> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.take(4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    /// The next bytes. Memory grows with what arrives, not with what a damaged length claims.
    fn take(&mut self, length: usize) -> Result<Bytes, SnapshotError> {
        let mut bytes = Vec::new();
        (&mut self.source).take(length as u64).read_to_end(&mut bytes)?;
        self.offset += bytes.len() as u64;
        if bytes.len() < length {
            return Err(self.damaged("cut short"));
        }
        self.hasher.update(&bytes);
        Ok(bytes.into())
    }

    fn damaged(&self, what: &str) -> SnapshotError {
        SnapshotError::Damaged { offset: self.offset, what: what.to_owned() }
    }

    fn summary(self) -> SnapshotSummary {
        SnapshotSummary { header: self.header, records: self.records, bytes: self.offset }
    }
}

fn name_and_block(body: &Bytes) -> Option<(Key, Bytes)> {
    let (main, rest) = body.split_first_chunk::<8>()?;
    let (sub, _) = rest.split_first_chunk::<4>()?;
    let name = Key::Block { main: u64::from_be_bytes(*main), sub: u32::from_be_bytes(*sub) };
    Some((name, body.slice(BLOCK_NAME_BYTES..)))
}

fn decode_header(body: &Bytes) -> Result<SnapshotHeader, Malformed> {
    let mut input = Input::new(body);
    let applied = read_position(&mut input)?;
    let membership_at = read_position(&mut input)?;
    let membership = body.slice(input.span()?);
    let (revision, compact_revision) = (input.varint()?, input.varint()?);
    input.end()?;
    if revision == 0 || compact_revision == 0 || compact_revision > revision {
        return Err(Malformed("impossible revisions"));
    }
    let membership = membership_at.map(|at| (at, Bytes::copy_from_slice(&membership)));
    Ok(SnapshotHeader { applied, membership, revision, compact_revision })
}

fn decode_footer(body: &[u8]) -> Result<(u64, u64, u128), Malformed> {
    let mut input = Input::new(body);
    let (records, frames) = (input.varint()?, input.varint()?);
    let checksum = u128::from_le_bytes(input.array()?);
    input.end()?;
    Ok((records, frames, checksum))
}
