//! What clients saw.

use std::{fmt, time::Duration};

use quorate::{
    Error,
    check::history::Operation,
    types::{Level, Range, RangeAnswer, Revision, Watch, WatchEvent, WriteAnswer},
};

/// Everything that clients did and saw.
#[derive(Default)]
pub struct History {
    pub ops: Vec<Op>,
    /// What was done to the registers, for `quorate check`.
    pub registers: Vec<Operation>,
    pub watched: Vec<Watched>,
    pub tokens: Vec<Token>,
    pub leases: Vec<Leased>,
    /// When the faults had ended.
    pub healed: Duration,
}

/// One request.
pub struct Op {
    pub client: u64,
    pub began: Duration,
    pub ended: Duration,
    pub call: Call,
    pub outcome: Outcome,
}

/// What was asked for.
pub enum Call {
    /// A write whose mark (in its values) is nobody else's, and whether it has a place in a session.
    Write { mark: String, session: bool },
    /// A read.
    Read { range: Range, level: Level },
}

/// What was answered.
pub enum Outcome {
    /// A write was applied.
    Written { revision: Revision, index: u64, stored: bool },
    /// A read was answered.
    Read(Read),
    /// Nothing was done, says the error.
    Failed(Error),
    /// Nobody knows.
    Unknown(Error),
}

/// An answer to a read.
pub struct Read {
    pub member: u64,
    pub revision: Revision,
    pub pairs: Vec<quorate::types::KeyValue>,
    pub count: u64,
    pub more: bool,
    pub bound: Option<Duration>,
}

/// What one watch told.
pub struct Watched {
    pub name: String,
    pub watch: Watch,
    /// Events of this revision and later are told.
    pub from: Revision,
    pub events: Vec<(Revision, Vec<WatchEvent>)>,
    /// Up to which revision it has told everything.
    pub until: Revision,
}

/// A lock was granted.
pub struct Token {
    pub name: String,
    pub token: Revision,
    pub client: u64,
    /// When the client knew.
    pub granted: Duration,
    /// The last moment at which it was sure to hold it; `None`: it was not when it looked.
    pub held_until: Option<Duration>,
}

/// A lease with a key.
pub struct Leased {
    pub id: u64,
    pub ttl: Duration,
    /// It must live for its time from here on, whatever happens: when the last keep-alive that was answered
    /// was sent.
    pub alive_from: Duration,
    /// The last keep-alive, answered or not, was over.
    pub left_at: Duration,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Write { mark, .. } => write!(f, "write {mark}"),
            Call::Read { range, level } => {
                let keys = String::from_utf8_lossy(&range.keys.start).into_owned();
                write!(f, "read {level} {keys}")
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Written { revision, index, stored } => {
                write!(f, "revision {revision} at {index}{}", if *stored { " (stored)" } else { "" })
            }
            Outcome::Read(read) => {
                write!(f, "revision {} by n{}, {} pairs", read.revision, read.member, read.pairs.len())
            }
            Outcome::Failed(error) => write!(f, "failed: {error}"),
            Outcome::Unknown(error) => write!(f, "unknown: {error}"),
        }
    }
}

impl Outcome {
    /// For counting.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Written { stored: true, .. } => "stored",
            Outcome::Written { .. } | Outcome::Read(_) => "ok",
            Outcome::Failed(_) => "failed",
            Outcome::Unknown(_) => "unknown",
        }
    }

    /// What became of a write.
    pub fn written<T>(answer: Result<WriteAnswer<T>, Error>) -> Outcome {
        match answer {
            Ok(WriteAnswer { header, write, .. }) => Outcome::Written {
                revision: header.revision,
                index: write.log_index,
                stored: write.deduplicated,
            },
            Err(error) => Outcome::of(error),
        }
    }

    /// What became of a read.
    pub fn read(answer: Result<RangeAnswer, Error>) -> Outcome {
        match answer {
            Ok(RangeAnswer { header, result, evidence }) => Outcome::Read(Read {
                member: evidence.served_by,
                revision: header.revision,
                pairs: result.kvs,
                count: result.count,
                more: result.more,
                bound: evidence.staleness_bound,
            }),
            Err(error) => Outcome::Failed(error),
        }
    }

    /// The revision that was told.
    pub fn revision(&self) -> Option<Revision> {
        match self {
            Outcome::Written { revision, .. } => Some(*revision),
            Outcome::Read(read) => Some(read.revision),
            Outcome::Failed(_) | Outcome::Unknown(_) => None,
        }
    }

    /// Of a request that was not answered.
    pub fn of(error: Error) -> Outcome {
        if error.maybe_committed() { Outcome::Unknown(error) } else { Outcome::Failed(error) }
    }
}
