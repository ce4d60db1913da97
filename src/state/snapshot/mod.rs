//! Snapshots: the whole state as one stream of bytes, self-describing and checksummed.
//!
//! ```text
//! snapshot  "QUORSNAP" format:u32le=1 frame*
//! frame     kind:u8 length:u32le crc32:u32le(kind, length, body) body
//! header    kind 1, the first: applied position, membership and its position, revision, compact revision
//! records   kind 2, any number: main:u64be sub:u32be, and a block of records that begins with that one
//! leases    kind 3, any number: changes of leases and sessions, from the empty table on (`leases`)
//! footer    kind 255, the last: records:varint frames:varint xxh3-128:u128le of everything before the footer
//! ```
//! A reader refuses kinds it does not know: leaving a section
//! out would be a different state. Records are in order of revision, so that a reader needs no memory but for
//! one frame. A frame is at most about 256 KiB, or one record if that is larger.
//!
//! Records superseded below the compact revision may be among them, as far as compaction has not removed them
//! yet: two snapshots of equal states need not be equal bytes.

mod read;
mod write;

pub use self::{
    read::{SnapshotSummary, read_header, verify},
    write::PinnedSnapshot,
};

use std::io;

use super::{Corruption, Head, Membership, Position, codec::Malformed};
use crate::{storage::EngineError, types::Revision};

const MAGIC: &[u8; 8] = b"QUORSNAP";
const FORMAT: u32 = 1;

const KIND_HEADER: u8 = 1;
const KIND_RECORDS: u8 = 2;
const KIND_LEASES: u8 = 3;
const KIND_FOOTER: u8 = 255;

/// The id in front of a frame's block of records.
const BLOCK_NAME_BYTES: usize = 12;

/// Kind, length, checksum.
const FRAME_HEAD_BYTES: usize = 9;

/// Bytes of a block of records in a snapshot.
const SNAPSHOT_BLOCK_BYTES: usize = 256 << 10;

/// A longer frame is damage: no record comes near it.
const FRAME_BYTES_MAX: u32 = 64 << 20;

/// What a snapshot holds besides records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The last log entry that is in it.
    pub applied: Option<Position>,
    /// The membership in force there.
    pub membership: Option<Membership>,
    /// The newest revision.
    pub revision: Revision,
    /// The oldest readable revision.
    pub compact_revision: Revision,
}

impl SnapshotHeader {
    fn head(&self) -> Head {
        let SnapshotHeader { applied, revision, compact_revision, .. } = *self;
        Head { applied, revision, compact_revision }
    }
}

/// Why a snapshot could not be written, read or loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The stream failed.
    #[error("snapshot: {0}")]
    Io(#[from] io::Error),
    /// The bytes are not what was written. Throw the snapshot away.
    #[error("snapshot is damaged at byte {offset}: {what}")]
    Damaged {
        /// How far the stream was read.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// It was written by a version that this one does not understand.
    #[error("snapshot has format {format}, this version reads {FORMAT}")]
    UnknownFormat {
        /// Its format.
        format: u32,
    },
    /// A snapshot can only be loaded into an empty engine.
    #[error("the engine to load into is not empty")]
    NotEmpty,
    /// The state that it was taken from or loaded into is broken.
    #[error(transparent)]
    State(#[from] Corruption),
}

impl From<EngineError> for SnapshotError {
    fn from(error: EngineError) -> SnapshotError {
        SnapshotError::State(error.into())
    }
}

/// Of a frame whose body is in two parts.
fn frame_checksum(kind: u8, length: u32, parts: [&[u8]; 2]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(&length.to_le_bytes());
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

impl SnapshotError {
    fn malformed(offset: u64, what: &str, why: Malformed) -> SnapshotError {
        SnapshotError::Damaged { offset, what: format!("{what}: {why}") }
    }
}
