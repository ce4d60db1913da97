//! The unit of writing: operations under one checksum, in whole sectors of their own.
//!
//! ```text
//! number:u64 group:u64 length:u32 crc(body):u32 crc(head):u32 │ body │ filler up to the next sector
//! ```
//!
//! Big endian. Numbers are consecutive through all segments. `group` is the number of the first frame that is
//! synced together with this one. Because a sector holds one frame only, a write never touches what an
//! earlier one left; because no byte of the filler is zero, a sector never written shows (see `recover`).

use std::io;

use bytes::Bytes;

use crate::log::{LogState, Op, Record, damaged, pack};

/// Devices write a sector whole or not at all.
pub const SECTOR: usize = 512;
/// Bytes before the body.
pub const HEAD_BYTES: usize = 28;
/// The rest of the last sector.
const FILLER: u8 = 0xa5;
/// What this program writes; a segment of a later format is not read.
const FORMAT: u32 = 1;

/// What stands in front of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of this frame.
    pub number: u64,
    /// Of the first frame that is synced with it.
    pub group: u64,
    /// Bytes of the body.
    pub length: u32,
    /// Its CRC.
    pub crc: u32,
}

impl Head {
    /// The head of the frame that `bytes` begins with, if it is one.
    pub fn read(bytes: &[u8]) -> Option<Head> {
        let bytes = bytes.get(..HEAD_BYTES)?;
        let (head, crc) = bytes.split_at(HEAD_BYTES - 4);
        let long = |at: usize| Some(u64::from_be_bytes(head.get(at..at + 8)?.try_into().ok()?));
        let short = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
        (short(crc)? == crc32fast::hash(head)).then_some(())?;
        let (length, crc) = (short(&head[16..20])?, short(&head[20..24])?);
        Some(Head { number: long(0)?, group: long(8)?, length, crc })
    }

    /// Bytes of the whole frame.
    pub fn size(&self) -> usize {
        size(self.length as usize)
    }

    /// Whether this is the body that was written.
    pub fn fits(&self, body: &[u8]) -> bool {
        body.len() == self.length as usize && crc32fast::hash(body) == self.crc
    }
}

/// Bytes of a frame with so many bytes of body.
pub fn size(body: usize) -> usize {
    (HEAD_BYTES + body).next_multiple_of(SECTOR)
}

/// Writes a frame behind `out`.
///
/// # Errors
/// `InvalidInput`: the body has more than 4 GiB.
pub fn write(out: &mut Vec<u8>, number: u64, group: u64, body: &[u8]) -> io::Result<()> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "an entry has more than 4 GiB");
    let length = u32::try_from(body.len()).map_err(too_long)?;
    let (start, end) = (out.len(), out.len() + size(body.len()));
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&group.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(body).to_be_bytes());
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_be_bytes());
    out.extend_from_slice(body);
    out.resize(end, FILLER);
    Ok(())
}

/// What a body holds, one after the other.
#[derive(Clone, Debug)]
pub enum Piece {
    /// The first of every segment: which one it is, and what the log was by then.
    Begin(u64, LogState),
    Entry(Record),
    /// Anything but an append.
    Op(Op),
}

const BEGIN: u8 = 1;
const ENTRY: u8 = 2;
const VOTE: u8 = 3;
const COMMITTED: u8 = 4;
const TRUNCATE: u8 = 5;
const PURGE: u8 = 6;

/// Bytes of an entry besides its payload.
pub const ENTRY_BYTES: usize = 21;

/// Adds an entry to a body.
pub fn put_entry(body: &mut Vec<u8>, record: &Record) -> io::Result<()> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "an entry has more than 4 GiB");
    let length = u32::try_from(record.payload.len()).map_err(too_long)?;
    body.push(ENTRY);
    body.extend_from_slice(&pack::position(record.at));
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(&record.payload);
    Ok(())
}

/// Adds anything but an append to a body.
pub fn put_op(body: &mut Vec<u8>, op: &Op) -> io::Result<()> {
    match op {
        Op::Append(records) => return records.iter().try_for_each(|record| put_entry(body, record)),
        Op::Vote(vote) => {
            body.push(VOTE);
            body.extend_from_slice(&pack::vote(*vote));
        }
        Op::Committed(at) => {
            body.push(COMMITTED);
            body.extend_from_slice(&pack::position(*at));
        }
        Op::Truncate(last) => {
            body.push(TRUNCATE);
            put_option(body, last.map(pack::position));
        }
        Op::Purge(upto) => {
            body.push(PURGE);
            body.extend_from_slice(&pack::position(*upto));
        }
    }
    Ok(())
}

/// The body of a segment's first frame.
pub fn begin(segment: u64, state: &LogState) -> Vec<u8> {
    let mut body = vec![BEGIN];
    body.extend_from_slice(&FORMAT.to_be_bytes());
    body.extend_from_slice(&segment.to_be_bytes());
    put_option(&mut body, state.vote.map(pack::vote));
    for at in [state.committed, state.purged, state.last] {
        put_option(&mut body, at.map(pack::position));
    }
    body
}

fn put_option<const N: usize>(body: &mut Vec<u8>, bytes: Option<[u8; N]>) {
    body.push(bytes.is_some().into());
    body.extend(bytes.into_iter().flatten());
}

/// What a body holds. Payloads share its memory.
pub fn read(body: Bytes) -> io::Result<Vec<Piece>> {
    let mut reader = pack::Reader::new(body);
    let mut pieces = Vec::new();
    while !reader.is_empty() {
        pieces.push(match reader.u8()? {
            BEGIN => read_begin(&mut reader)?,
            ENTRY => {
                let at = reader.position()?;
                let length = reader.u32()?;
                Piece::Entry(Record { at, payload: reader.take(length as usize)? })
            }
            VOTE => Piece::Op(Op::Vote(reader.vote()?)),
            COMMITTED => Piece::Op(Op::Committed(reader.position()?)),
            TRUNCATE => Piece::Op(Op::Truncate(option(&mut reader, pack::Reader::position)?)),
            PURGE => Piece::Op(Op::Purge(reader.position()?)),
            other => return Err(damaged(format!("{other} is no kind of record"))),
        });
    }
    Ok(pieces)
}

fn read_begin(reader: &mut pack::Reader) -> io::Result<Piece> {
    let format = reader.u32()?;
    if format != FORMAT {
        return Err(damaged(format!("the log has format {format}; this program reads {FORMAT}")));
    }
    let segment = reader.u64()?;
    let vote = option(reader, pack::Reader::vote)?;
    let mut position = || option(reader, pack::Reader::position);
    let state = LogState { vote, committed: position()?, purged: position()?, last: position()? };
    Ok(Piece::Begin(segment, state))
}

fn option<T>(
    reader: &mut pack::Reader,
    read: impl FnOnce(&mut pack::Reader) -> io::Result<T>,
) -> io::Result<Option<T>> {
    match reader.u8()? {
        0 => Ok(None),
        _ => read(reader).map(Some),
    }
}
