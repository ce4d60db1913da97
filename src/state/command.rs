//! What the replicated state machine is told, and what it answers.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    error::Error,
    types::{
        Delete, DeleteResult, Granted, Guard, KeyValue, LeaseId, Put, Revision, Revoked, SessionSeq, Txn,
        TxnResult,
    },
};

/// One entry of the replicated log, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// For the logs of the members that apply it; no effect on the state.
    pub request_id: String,
    /// Exactly once: repeated, it gives the stored response.
    pub session: Option<SessionSeq>,
    /// All must hold, else it is refused.
    pub guards: Vec<Guard>,
    /// What to do.
    pub op: Operation,
}

impl From<Operation> for Command {
    /// Without a name, a session or guards.
    fn from(op: Operation) -> Command {
        Command { request_id: String::new(), session: None, guards: Vec::new(), op }
    }
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
    /// Grant a lease.
    Grant(GrantLease),
    /// End a lease.
    Revoke(LeaseId),
    /// End leases whose time has run out.
    Expire(Expire),
}

/// A lease to grant. The bounds are the proposer's: members may be configured differently, and must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantLease {
    /// Its id; 0: one is made of the entry's index, and so never was another's.
    pub lease: LeaseId,
    /// How long it lives without a keep-alive; not used here.
    pub ttl_ms: u64,
    /// Whether it keeps responses.
    pub session: bool,
    /// Leases that there may be.
    pub leases_max: u64,
    /// Sessions that there may be.
    pub sessions_max: u64,
}

/// Leases to end, because the leader of `term` has counted their time down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expire {
    /// Which; those that do not exist any more are passed over.
    pub leases: Vec<Doomed>,
    /// Ignored unless the entry's own term is this: another leader has given them their time again.
    pub term: u64,
}

/// A lease whose time has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// Its id.
    pub lease: LeaseId,
    /// The index of the entry that granted it: a client may have ended it and granted another of the same id
    /// meanwhile, which is not meant. 0: whichever there is.
    pub granted_at: u64,
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
    /// Whether it is the stored response of an earlier attempt.
    pub deduplicated: bool,
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
    /// The lease.
    Grant(Granted),
    /// What went with the lease.
    Revoke(Revoked),
    /// How many leases ended, and how many keys went with them.
    Expire {
        /// Leases.
        leases: u64,
        /// Keys.
        deleted: u64,
    },
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
    /// The lease named does not exist.
    LeaseNotFound(LeaseId),
    /// The lease to grant exists.
    LeaseExists(LeaseId),
    /// A bound is reached.
    TooMany {
        /// Its name in the configuration.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// The session does not exist (any more).
    SessionExpired(LeaseId),
    /// The request was acknowledged: it is not applied any more.
    SessionSeq {
        /// Its number.
        seq: u64,
        /// The least that is not acknowledged.
        acknowledged_below: u64,
    },
    /// A guard does not hold.
    LockLost {
        /// The key of the grant.
        owner_key: Bytes,
        /// The token that was carried.
        token: Revision,
        /// The present holder's; 0: nobody holds it, or too many keys were in the way to look.
        current_token: Revision,
    },
    /// The pairs to answer with (`prev_kv`) are too many: ask for fewer, or delete without.
    AnswerTooLarge {
        /// Bytes that one answer may hold.
        limit: u64,
        /// Bytes that it would have held, at least.
        actual: u64,
    },
}

/// When to try again after a bound was reached: somebody's lease has to end first.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal {
            Refusal::Compacted { requested, compacted } => Error::Compacted { requested, compacted },
            Refusal::FutureRevision { requested, current } => Error::FutureRevision { requested, current },
            Refusal::LeaseNotFound(lease) => Error::LeaseNotFound(lease),
            Refusal::LeaseExists(lease) => Error::LeaseExists(lease),
            Refusal::TooMany { what, limit } => Error::Overloaded { what, limit, retry_after: RETRY_AFTER },
            Refusal::SessionExpired(session) => Error::SessionExpired(session),
            Refusal::SessionSeq { seq, acknowledged_below } => Error::SessionSeq { seq, acknowledged_below },
            Refusal::LockLost { owner_key, token, current_token } => {
                Error::LockLost { owner_key, token, current_token }
            }
            Refusal::AnswerTooLarge { limit, actual } => {
                Error::TooLarge { what: "the answer with prev_kv".to_owned(), limit, actual }
            }
        }
    }
}
