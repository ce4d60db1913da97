//! What the state says of itself: positions, views, events, and how it fails.

use bytes::Bytes;

use super::{block::Record, codec::Malformed};
use crate::{
    error::Error,
    storage::EngineError,
    types::{FIRST_REVISION, KeyValue, Revision},
};

/// A position in the replicated log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The term of the entry.
    pub term: u64,
    /// Its index; the first entry of a log has index 0.
    pub index: u64,
}

/// A membership as the layer above encodes it, with the position of the entry that set it.
pub type Membership = (Position, Bytes);

/// What one commit changes at once besides data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub applied: Option<Position>,
    pub revision: Revision,
    pub compact_revision: Revision,
}

impl Default for Head {
    fn default() -> Self {
        Head { applied: None, revision: FIRST_REVISION, compact_revision: FIRST_REVISION }
    }
}

/// Where the state stood at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The newest revision.
    pub revision: Revision,
    /// The oldest readable revision.
    pub compact_revision: Revision,
    /// The last log entry applied.
    pub applied: Option<Position>,
    /// Keys that exist at the newest revision.
    pub keys: u64,
}

/// How an event changed its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Set.
    Put,
    /// Deleted: the pair has key and `mod_revision` only.
    Delete,
}

/// One change of one key, as a watcher sees it. Several of one revision belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision that made it.
    pub revision: Revision,
    /// How the key changed.
    pub kind: EventKind,
    /// The pair as it is from then on.
    pub kv: KeyValue,
}

impl Event {
    /// The event that a record tells of. What was there before can be read at the revision before, as long as
    /// that is not compacted.
    pub(super) fn of(record: Record) -> Event {
        let Record { entry, key, value } = record;
        let kind = if entry.tombstone { EventKind::Delete } else { EventKind::Put };
        Event { revision: entry.main, kind, kv: entry.with(key, value) }
    }
}

/// The state cannot go on: its data is damaged, its engine failed, or the layer above broke the rules. It
/// stops the member; it is never skipped.
#[derive(Debug, thiserror::Error)]
pub enum Corruption {
    /// Stored data is not what was written.
    #[error("state is damaged: {0}")]
    Damaged(String),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An entry was applied that does not follow the last one.
    #[error("log hole: entry {index} of term {term} does not follow {applied:?}")]
    LogHole {
        /// The term of the entry.
        term: u64,
        /// Its index.
        index: u64,
        /// What was applied last.
        applied: Option<Position>,
    },
    /// A batch was committed that does not continue what is there.
    #[error("a batch that began at {begun:?} was committed at {applied:?}")]
    StaleBatch {
        /// Where it began.
        begun: Option<Position>,
        /// What was applied last.
        applied: Option<Position>,
    },
}

impl Corruption {
    pub(super) fn damaged(what: &str, why: Malformed) -> Corruption {
        Corruption::Damaged(format!("{what}: {why}"))
    }
}

/// Why a read was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The revision is older than the oldest readable one.
    #[error("revision {requested} is compacted: the oldest readable one is {compacted}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest that can be read.
        compacted: Revision,
    },
    /// The revision does not exist yet.
    #[error("revision {requested} is in the future: the newest is {current}")]
    FutureRevision {
        /// What was asked for.
        requested: Revision,
        /// What there is.
        current: Revision,
    },
    /// The state is broken: stop the member.
    #[error(transparent)]
    Broken(#[from] Corruption),
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Error {
        match error {
            ReadError::Compacted { requested, compacted } => Error::Compacted { requested, compacted },
            ReadError::FutureRevision { requested, current } => Error::FutureRevision { requested, current },
            ReadError::Broken(corruption) => Error::Stopped(corruption.to_string()),
        }
    }
}
