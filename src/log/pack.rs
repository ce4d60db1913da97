//! Several entries as one value, for stores whose cost is per record; and votes and positions as bytes.

use std::io;

use bytes::{Buf, Bytes};

use super::{Position, Record, Vote, damaged};

/// Cuts a run of entries into slices of at most `bytes_max` (or one entry).
pub(super) fn split(records: &[Record], bytes_max: usize) -> Vec<&[Record]> {
    let mut slices = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, record) in records.iter().enumerate() {
        let size = HEAD_BYTES + record.payload.len();
        if i > start && bytes + size > bytes_max {
            slices.push(&records[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += size;
    }
    if start < records.len() {
        slices.push(&records[start..]);
    }
    slices
}

/// Bytes before each payload.
const HEAD_BYTES: usize = 20;

/// `crc32:u32 { term:u64 index:u64 length:u32 payload }*`, big endian; the CRC is of all that follows it.
pub(super) fn encode(records: &[Record]) -> io::Result<Vec<u8>> {
    let size = records.iter().map(|record| HEAD_BYTES + record.payload.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(4 + size);
    bytes.extend_from_slice(&[0; 4]);
    for Record { at, payload } in records {
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "payload is too long");
        bytes.extend_from_slice(&position(*at));
        bytes.extend_from_slice(&u32::try_from(payload.len()).map_err(too_long)?.to_be_bytes());
        bytes.extend_from_slice(payload);
    }
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_be_bytes());
    Ok(bytes)
}

/// The entries of a pack. Their payloads share its memory.
pub(super) fn decode(bytes: Bytes) -> io::Result<Vec<Record>> {
    let mut reader = Reader::new(bytes);
    let crc = reader.u32()?;
    if crc != crc32fast::hash(&reader.bytes) {
        return Err(damaged("a pack of entries has the wrong checksum".into()));
    }
    let mut records = Vec::new();
    while reader.bytes.has_remaining() {
        let at = reader.position()?;
        let length = reader.u32()?;
        records.push(Record { at, payload: reader.take(length as usize)? });
    }
    Ok(records)
}

/// A position: term, index.
pub(super) fn position(at: Position) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&at.term.to_be_bytes());
    bytes[8..].copy_from_slice(&at.index.to_be_bytes());
    bytes
}

/// A vote: term, node, whether committed.
pub(super) fn vote(vote: Vote) -> [u8; 17] {
    let mut bytes = [0; 17];
    bytes[..8].copy_from_slice(&vote.term.to_be_bytes());
    bytes[8..16].copy_from_slice(&vote.node_id.to_be_bytes());
    bytes[16] = vote.committed.into();
    bytes
}

/// Reads what the functions above wrote; short input is an error.
pub(super) struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub fn new(bytes: Bytes) -> Self {
        Reader { bytes }
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn take(&mut self, length: usize) -> io::Result<Bytes> {
        if length > self.bytes.len() {
            return Err(damaged("a stored record is cut off".into()));
        }
        Ok(self.bytes.split_to(length))
    }

    pub fn u8(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?.get_u8())
    }

    pub fn u32(&mut self) -> io::Result<u32> {
        Ok(self.take(4)?.get_u32())
    }

    pub fn u64(&mut self) -> io::Result<u64> {
        Ok(self.take(8)?.get_u64())
    }

    pub fn position(&mut self) -> io::Result<Position> {
        Ok(Position { term: self.u64()?, index: self.u64()? })
    }

    pub fn vote(&mut self) -> io::Result<Vote> {
        Ok(Vote { term: self.u64()?, node_id: self.u64()?, committed: self.u8()? != 0 })
    }
}
