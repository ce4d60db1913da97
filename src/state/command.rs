//! What the replicated state machine is told, and what it answers.

use crate::{
    error::Error,
    types::{Delete, DeleteResult, KeyValue, LeaseId, Put, Revision, Txn, TxnResult},
};

/// One entry of the replicated log, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// For the logs of the members that apply it; no effect on the state.
    pub request_id: String,
    /// What to do.
    pub op: Operation,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Set a key.
    Put(Put),
    /// Delete keys.
    Delete(Delete),
    /// Compare, then one of two lists of operations.
    Txn(Txn),
    /// Forget what was superseded at or below a revision.
    Compact(Revision),
    /// Nothing: reads of level `log` wait for it.
    Marker,
}

/// What applying a command gave. Deterministic: the same on every member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The index of its entry.
    pub log_index: u64,
    /// The term of its entry.
    pub log_term: u64,
    /// The store's revision after it.
    pub revision: Revision,
    /// The answer.
    pub outcome: Outcome,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The pair that a put replaced, if asked for.
    Put(Option<KeyValue>),
    /// What was deleted.
    Delete(DeleteResult),
    /// What a transaction did.
    Txn(TxnResult),
    /// Compacted.
    Compact,
    /// Passed.
    Marker,
    /// Nothing was changed, and this is why.
    Refused(Refusal),
}

/// A deterministic refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The revision to compact to is compacted already.
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest that can be read.
        compacted: Revision,
    },
    /// The revision to compact to does not exist yet.
    FutureRevision {
        /// What was asked for.
        requested: Revision,
        /// What there is.
        current: Revision,
    },
    /// A put names a lease that does not exist.
    LeaseNotFound(LeaseId),
    /// The pairs to answer with (`prev_kv`) are too many: ask for fewer, or delete without.
    AnswerTooLarge {
        /// Bytes that one answer may hold.
        limit: u64,
        /// Bytes that it would have held, at least.
        actual: u64,
    },
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal {
            Refusal::Compacted { requested, compacted } => Error::Compacted { requested, compacted },
            Refusal::FutureRevision { requested, current } => Error::FutureRevision { requested, current },
            Refusal::LeaseNotFound(lease) => Error::LeaseNotFound(lease),
            Refusal::AnswerTooLarge { limit, actual } => {
                Error::TooLarge { what: "the answer with prev_kv".to_owned(), limit, actual }
            }
        }
    }
}
