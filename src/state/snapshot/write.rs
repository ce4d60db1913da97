//! Writing a snapshot of a pinned state, while apply goes on.

use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
};

use xxhash_rust::xxh3::Xxh3;

use super::{
    BLOCK_NAME_BYTES, FORMAT, FRAME_HEAD_BYTES, KIND_FOOTER, KIND_HEADER, KIND_LEASES, KIND_RECORDS, MAGIC,
    SNAPSHOT_BLOCK_BYTES, SnapshotError, SnapshotHeader, frame_checksum,
};
use crate::{
    state::{
        block::{self, BLOCK_BYTES, Block, PackedBlock, Packer, RecordId},
        codec::{put_bytes, put_varint},
        core::{Core, put_position},
        leases::Leases,
    },
    storage::EngineError,
};

/// The state as it was at one instant. While it lives, compaction pauses: do not keep it longer than needed.
pub struct PinnedSnapshot {
    core: Arc<Core>,
    header: SnapshotHeader,
    leases: Leases,
}

impl PinnedSnapshot {
    pub(in crate::state) fn new(core: Arc<Core>) -> PinnedSnapshot {
        core.progress().pins += 1;
        let (header, leases) = {
            let published = core.read();
            let head = published.head;
            let header = SnapshotHeader {
                applied: head.applied,
                membership: published.membership.clone(),
                revision: head.revision,
                compact_revision: head.compact_revision,
            };
            (header, published.leases.clone())
        };
        PinnedSnapshot { core, header, leases }
    }

    /// Position, membership and revisions of the snapshot.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Hands the state, up to what is pinned at least, to the operating system. Slow, as [`Self::write`] is.
    pub fn flush(&self) -> Result<(), EngineError> {
        self.core.engine.flush()
    }

    /// Writes the snapshot; the caller makes it durable. Gives the number of bytes. Slow: not on the apply
    /// path.
    pub fn write(&self, out: &mut impl Write) -> Result<u64, SnapshotError> {
        let mut frames = Frames::begin(BufWriter::with_capacity(SNAPSHOT_BLOCK_BYTES, out))?;
        frames.put(KIND_HEADER, &encode_header(&self.header))?;
        let mut packer = Packer::new(SNAPSHOT_BLOCK_BYTES);
        let end = RecordId { main: self.header.revision.saturating_add(1), sub: 0 }.key().encode();
        for block in block::scan(&*self.core.engine, RecordId::default(), &end) {
            self.take(block?, &mut packer, &mut frames)?;
        }
        packer.finish().iter().try_for_each(|block| frames.put_block(block))?;
        self.write_leases(&mut frames)?;
        Ok(frames.end()?)
    }

    /// A full block goes in as it is, the records of others are packed anew.
    fn take(
        &self,
        block: Block,
        packer: &mut Packer,
        frames: &mut Frames<impl Write>,
    ) -> Result<(), SnapshotError> {
        let whole = self.whole(&block)?;
        match whole {
            Some(_) => packer.close(),
            None => {
                let records = block.records()?.into_iter();
                for record in records.filter(|record| record.entry.main <= self.header.revision) {
                    frames.records += 1;
                    packer.push(&record);
                }
            }
        }
        packer.take_full().iter().try_for_each(|packed| frames.put_block(packed))?;
        if let Some(records) = whole {
            frames.records += records;
            frames.put_block(&block.packed())?;
        }
        Ok(())
    }

    /// How many records a block holds that is full, and of which all belongs to the snapshot.
    fn whole(&self, block: &Block) -> Result<Option<u64>, SnapshotError> {
        if block.size() < BLOCK_BYTES / 2 {
            return Ok(None);
        }
        let (records, last) = block.extent()?;
        Ok((last.main <= self.header.revision).then_some(records))
    }

    fn write_leases(&self, frames: &mut Frames<impl Write>) -> io::Result<()> {
        let mut body = Vec::new();
        for change in self.leases.changes().filter(|change| !change.is_forgotten()) {
            change.encode(&mut body);
            if body.len() >= SNAPSHOT_BLOCK_BYTES {
                frames.put(KIND_LEASES, &body)?;
                body.clear();
            }
        }
        if body.is_empty() { Ok(()) } else { frames.put(KIND_LEASES, &body) }
    }
}

impl Drop for PinnedSnapshot {
    fn drop(&mut self) {
        self.core.progress().pins -= 1;
    }
}

fn encode_header(header: &SnapshotHeader) -> Vec<u8> {
    let mut out = Vec::new();
    put_position(&mut out, header.applied);
    put_position(&mut out, header.membership.as_ref().map(|(at, _)| *at));
    put_bytes(&mut out, header.membership.as_ref().map_or(&[][..], |(_, bytes)| bytes));
    put_varint(&mut out, header.revision);
    put_varint(&mut out, header.compact_revision);
    out
}

/// Writes frames, and keeps count.
struct Frames<W> {
    out: W,
    hasher: Xxh3,
    written: u64,
    frames: u64,
    records: u64,
}

impl<W: Write> Frames<W> {
    fn begin(out: W) -> io::Result<Self> {
        let mut frames = Frames { out, hasher: Xxh3::new(), written: 0, frames: 0, records: 0 };
        frames.write(MAGIC)?;
        frames.write(&FORMAT.to_le_bytes())?;
        Ok(frames)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn put(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        self.put_parts(kind, [body, &[]])
    }

    /// A frame whose body is in two parts.
    fn put_parts(&mut self, kind: u8, parts: [&[u8]; 2]) -> io::Result<()> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let length = u32::try_from(length).map_err(|_| io::Error::other("frame too long"))?;
        let mut head = [0; FRAME_HEAD_BYTES];
        head[0] = kind;
        head[1..5].copy_from_slice(&length.to_le_bytes());
        head[5..].copy_from_slice(&frame_checksum(kind, length, parts).to_le_bytes());
        self.frames += 1;
        self.write(&head)?;
        parts.iter().try_for_each(|part| self.write(part))
    }

    fn put_block(&mut self, (name, block): &PackedBlock) -> io::Result<()> {
        let mut head = [0; BLOCK_NAME_BYTES];
        head[..8].copy_from_slice(&name.main.to_be_bytes());
        head[8..].copy_from_slice(&name.sub.to_be_bytes());
        self.put_parts(KIND_RECORDS, [&head, block])
    }

    fn end(mut self) -> io::Result<u64> {
        let mut body = Vec::new();
        put_varint(&mut body, self.records);
        put_varint(&mut body, self.frames);
        body.extend_from_slice(&self.hasher.digest128().to_le_bytes());
        self.put(KIND_FOOTER, &body)?;
        self.out.flush()?;
        Ok(self.written)
    }
}
