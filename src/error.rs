//! The error that callers see, of a [`crate::Node`] and of a client alike: it says what the caller can do.

use std::{any::Any, time::Duration};

use bytes::Bytes;

use crate::types::{NodeId, Revision};

/// Where the leader is, as far as the refusing member knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader's id.
    pub id: NodeId,
    /// Where it listens for clients; may be empty.
    pub client_addr: String,
}

/// Why a request was not answered as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request makes no sense. Do not repeat it.
    #[error("{0}")]
    Invalid(String),
    /// The request exceeds a limit. Ask for less.
    #[error("{} {actual}{}; the limit {what} is {limit}", of(.what).0, of(.what).1)]
    TooLarge {
        /// What exceeds, by the limit's name in the configuration.
        what: String,
        /// The limit.
        limit: u64,
        /// What was asked for.
        actual: u64,
    },
    /// The history asked for is gone.
    #[error("revision {requested} is compacted: the oldest readable one is {compacted}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest that can be read.
        compacted: Revision,
    },
    /// The revision asked for does not exist yet, here.
    #[error("revision {requested} is in the future: this member is at {current}")]
    FutureRevision {
        /// What was asked for.
        requested: Revision,
        /// What there is.
        current: Revision,
    },
    /// The lease named in the request does not exist (any more).
    #[error("lease {0} does not exist")]
    LeaseNotFound(u64),
    /// The lease id that was chosen is taken. Choose another, or let one be drawn.
    #[error("lease {0} exists already")]
    LeaseExists(u64),
    /// The exactly-once session has ended. Nothing was done: open another. What earlier attempts of the same
    /// request did is unknown.
    #[error("session {0} has ended; nothing was done")]
    SessionExpired(u64),
    /// A request of the session with this number was acknowledged as answered: it is not applied any more.
    #[error("request {seq} of the session is not applied: all below {acknowledged_below} are acknowledged")]
    SessionSeq {
        /// The number.
        seq: u64,
        /// The least that is not acknowledged.
        acknowledged_below: u64,
    },
    /// A guard did not hold: the lock is no longer held with that token. Nothing was done. Stop what the lock
    /// protects.
    #[error("lock lost: {} is not held with token {token}{}", shown(.owner_key), holder(*.current_token))]
    LockLost {
        /// The key of the grant.
        owner_key: Bytes,
        /// The token that was carried.
        token: Revision,
        /// That of the present holder; 0: nobody's, or too many keys lie below the lock's name to look for
        /// one.
        current_token: Revision,
    },
    /// Only the leader can do that, and this member is not. Nothing was done: ask the leader.
    #[error("member is not the leader{}", hint(.leader))]
    NotLeader {
        /// Who is, if known.
        leader: Option<LeaderHint>,
    },
    /// The member asked is not one that the route allows. Ask another.
    #[error("route {asked} is not served here: member {member} is {role}")]
    WrongRoute {
        /// The route asked for.
        asked: String,
        /// Who refuses.
        member: NodeId,
        /// What it is.
        role: String,
        /// Who leads, if known.
        leader: Option<LeaderHint>,
    },
    /// No leader is known. Nothing was done; try again.
    #[error("no leader is known")]
    NoLeader,
    /// The leader cannot reach a quorum. Nothing was done; try again.
    #[error("the leader has no quorum")]
    NoQuorum,
    /// The member is starting and has not recovered its state. Try another.
    #[error("member is not ready: {0}")]
    NotReady(String),
    /// The member is shutting down. Nothing was done; try another.
    #[error("member is shutting down")]
    ShuttingDown,
    /// The leader's lease ran out (or its clock was suspended), so that a `lease` read proves nothing. Try
    /// again or ask for `lease-or-index`.
    #[error("the leader's lease has run out")]
    LeaseExpired,
    /// The member cannot prove that it is as fresh as asked.
    #[error("too stale: {} is provable, {} ms were asked for", have_text(.have), .want.as_millis())]
    TooStale {
        /// The bound that it could prove; `None`: none at all.
        have: Option<Duration>,
        /// The bound asked for.
        want: Duration,
    },
    /// The revision that the session demands was not applied here in time.
    #[error("revision {want} was not applied here within the deadline: this member is at {have}")]
    WaitTimeout {
        /// What there is.
        have: Revision,
        /// What was asked for.
        want: Revision,
    },
    /// The deadline passed.
    #[error("deadline exceeded while waiting for {waiting_for}{}", maybe(*.maybe_committed))]
    Deadline {
        /// For what.
        waiting_for: String,
        /// Whether a write may yet happen.
        maybe_committed: bool,
    },
    /// A write was sent on its way, and nobody knows what became of it. It may or may not be applied, now
    /// or later.
    #[error("the outcome of the write is unknown: {0}")]
    UnknownOutcome(String),
    /// The member has too much to do. Nothing was done; try again after a while.
    #[error("overloaded: {what} is at its limit of {limit}")]
    Overloaded {
        /// Which bound was reached.
        what: String,
        /// The bound.
        limit: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// The member's disk is nearly full: writes that add are refused; reads, deletes and compaction go on.
    #[error("disk space is low: {free} bytes are free, {needed} are kept in reserve")]
    NoSpace {
        /// Free bytes.
        free: u64,
        /// The reserve.
        needed: u64,
    },
    /// The member has failed and serves nothing until it is restarted.
    #[error("member has stopped: {0}")]
    Stopped(String),
    /// No member could be reached, or the connection was lost. For a write that was sent, the outcome is
    /// unknown.
    #[error("{} {endpoint}: {why}{}", unreached(*.maybe_committed), maybe(*.maybe_committed))]
    Connection {
        /// Whom.
        endpoint: String,
        /// What happened.
        why: String,
        /// Whether a write may yet happen.
        maybe_committed: bool,
    },
    /// The other side said something that this version does not understand.
    #[error("unexpected answer: {0}")]
    Protocol(String),
    /// A peer of another cluster, or a call meant for another member.
    #[error("wrong cluster or member: {0}")]
    WrongCluster(String),
}

impl Error {
    /// Whether a write that got this error may have been, or may yet be, applied.
    pub fn maybe_committed(&self) -> bool {
        match self {
            Error::UnknownOutcome(_) => true,
            Error::Deadline { maybe_committed, .. } | Error::Connection { maybe_committed, .. } => {
                *maybe_committed
            }
            _ => false,
        }
    }

    /// Whether repeating the same request is safe and may succeed.
    pub fn retryable(&self) -> bool {
        match self {
            Error::NotLeader { .. }
            | Error::WrongRoute { .. }
            | Error::NoLeader
            | Error::NoQuorum
            | Error::NotReady(_)
            | Error::ShuttingDown
            | Error::LeaseExpired
            | Error::TooStale { .. }
            | Error::FutureRevision { .. }
            | Error::Overloaded { .. }
            | Error::Stopped(_) => true,
            Error::Connection { maybe_committed, .. } => !maybe_committed,
            _ => false,
        }
    }

    /// The reason's name, in snake case: stable, for scripts.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::Invalid(_) => "invalid",
            Error::TooLarge { .. } => "too_large",
            Error::Compacted { .. } => "compacted",
            Error::FutureRevision { .. } => "future_revision",
            Error::LeaseNotFound(_) => "lease_not_found",
            Error::LeaseExists(_) => "lease_exists",
            Error::SessionExpired(_) => "session_expired",
            Error::SessionSeq { .. } => "session_seq",
            Error::LockLost { .. } => "lock_lost",
            Error::NotLeader { .. } => "not_leader",
            Error::WrongRoute { .. } => "wrong_route",
            Error::NoLeader => "no_leader",
            Error::NoQuorum => "no_quorum",
            Error::NotReady(_) => "not_ready",
            Error::ShuttingDown => "shutting_down",
            Error::LeaseExpired => "lease_expired",
            Error::TooStale { .. } => "too_stale",
            Error::WaitTimeout { .. } => "wait_timeout",
            Error::Deadline { .. } => "deadline",
            Error::UnknownOutcome(_) => "unknown_outcome",
            Error::Overloaded { .. } => "overloaded",
            Error::NoSpace { .. } => "no_space",
            Error::Stopped(_) => "stopped",
            Error::Connection { .. } => "connection",
            Error::Protocol(_) => "protocol",
            Error::WrongCluster(_) => "wrong_cluster",
        }
    }
}

/// What a limit bounds, by its name: the words before the actual number, and behind it.
fn of(limit: &str) -> (&'static str, &'static str) {
    match limit {
        "limits.key_bytes_max" => ("the key has", " bytes"),
        "limits.value_bytes_max" => ("the value has", " bytes"),
        "limits.request_bytes_max" => ("the request has", " bytes"),
        "limits.txn_ops_max" => ("the transaction has", " operations"),
        "limits.txn_depth_max" => ("the transaction is nested", " deep"),
        "x-request-id" => ("the request id has", " bytes"),
        "of a watch without fragment" | "of a watch with prev_kv" => ("one revision has at least", " bytes"),
        _ => ("it is", ""),
    }
}

fn hint(leader: &Option<LeaderHint>) -> String {
    leader.as_ref().map_or(String::new(), |leader| format!("; member {} is", leader.id))
}

/// Bytes of a key that an error shows.
const SHOWN_BYTES: usize = 64;

/// What a panic said, if it was text.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// A key in printable form, cut when it is long.
pub(crate) fn shown(key: &[u8]) -> String {
    let more = if key.len() > SHOWN_BYTES { "…" } else { "" };
    format!("\"{}{more}\"", key[..key.len().min(SHOWN_BYTES)].escape_ascii())
}

fn holder(token: Revision) -> String {
    if token == 0 {
        "; nobody is known to hold it".to_owned()
    } else {
        format!("; the holder has token {token}")
    }
}

fn have_text(have: &Option<Duration>) -> String {
    have.map_or("no bound".to_owned(), |age| format!("{} ms", age.as_millis()))
}

/// What was sent was not kept from its receiver.
fn unreached(maybe_committed: bool) -> &'static str {
    if maybe_committed { "lost the connection to" } else { "cannot reach" }
}

fn maybe(maybe_committed: bool) -> &'static str {
    if maybe_committed { "; the write may have been applied" } else { "" }
}
