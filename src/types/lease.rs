//! Leases, exactly-once sessions and guards: what ties keys and writes to the life of a client.

use std::{fmt, time::Duration};

use bytes::Bytes;

use super::{Header, KeyValue, LeaseId, Revision};

/// Ask for a lease, or for a session: a lease that also makes retries safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The id; 0: one is made by the cluster, and that of a session always is.
    pub id: LeaseId,
    /// How long it lives without a keep-alive, within `Limits::lease_ttl_min` and `Limits::lease_ttl_max`.
    pub ttl: Duration,
    /// Whether it keeps responses for exactly-once writes.
    pub session: bool,
}

/// A lease that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its id.
    pub id: LeaseId,
    /// How long it lives without a keep-alive.
    pub ttl: Duration,
}

/// What ending a lease did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// How many keys went with it, all in one revision.
    pub deleted: u64,
}

/// The answer to a keep-alive: the leader, confirmed by a quorum, has renewed the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAlive {
    /// Who answered.
    pub header: Header,
    /// The lease.
    pub id: LeaseId,
    /// Its time to live, counted by the leader from a moment after the keep-alive was sent.
    pub ttl: Duration,
}

/// A lease as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Who answered.
    pub header: Header,
    /// The lease.
    pub id: LeaseId,
    /// As it was granted.
    pub ttl: Duration,
    /// What is left of it, by the leader's clock.
    pub remaining: Duration,
    /// Whether it is a session.
    pub session: bool,
    /// How many keys are attached.
    pub key_count: u64,
    /// The attached keys, if asked for.
    pub keys: Vec<Bytes>,
}

/// A lease in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSummary {
    /// Its id.
    pub id: LeaseId,
    /// As it was granted.
    pub ttl: Duration,
    /// Whether it is a session.
    pub session: bool,
    /// How many keys are attached.
    pub key_count: u64,
}

/// A part of all leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseList {
    /// Who answered.
    pub header: Header,
    /// In order of id.
    pub leases: Vec<LeaseSummary>,
    /// Whether there are more behind the last.
    pub more: bool,
}

/// Responses that one session may keep unacknowledged.
pub const SESSION_RESPONSES_MAX: usize = 1024;

/// Names one mutating request of an exactly-once session: a retry with the same `seq` gets the stored
/// response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSeq {
    /// The session, as it was granted.
    pub id: LeaseId,
    /// The request within the session: positive, used once.
    pub seq: u64,
    /// Every request below this is answered for good: its response is forgotten, and it is never applied
    /// any more. At most `seq`.
    pub ack_below: u64,
}

/// A write that carries it is refused (`LOCK_LOST`) unless the key exists and was created at exactly this
/// revision: of a lock, unless it is still held by this grant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// The key that stands for the grant.
    pub owner_key: Bytes,
    /// Its create revision.
    pub fencing_token: Revision,
}

/// How many holders a lock has at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockMode {
    /// One.
    #[default]
    Exclusive,
    /// Any number of those who share, or one exclusive.
    Shared,
    /// At most so many; users of one lock should agree on the number.
    Permits(u32),
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockMode::Exclusive => f.write_str("exclusive"),
            LockMode::Shared => f.write_str("shared"),
            LockMode::Permits(permits) => write!(f, "permits({permits})"),
        }
    }
}

/// Ask for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquire {
    /// The lock: a key prefix, without the `/` behind it.
    pub name: Bytes,
    /// The lease that the grant lives by.
    pub session: LeaseId,
    /// How many hold it at once.
    pub mode: LockMode,
    /// Kept with the place in the queue, for whoever inspects it; of an election, the candidate's value.
    pub value: Bytes,
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The key that stands for this grant.
    pub owner_key: Bytes,
    /// Its create revision: strictly increasing per lock, in the order of the queue.
    pub fencing_token: Revision,
    /// Who confirmed it, and at which revision nobody was before it any more.
    pub header: Header,
}

impl Held {
    /// What a write carries to be refused once this grant is lost.
    pub fn guard(&self) -> Guard {
        Guard { owner_key: self.owner_key.clone(), fencing_token: self.fencing_token }
    }
}

/// On the way to a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockProgress {
    /// In the queue.
    Queued {
        /// The key that stands for the place.
        owner_key: Bytes,
        /// So many are before it.
        position: u64,
    },
    /// Held.
    Granted(Held),
}

/// One place in a lock's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockPlace {
    /// The key with the value, the session (`lease`) and the token (`create_revision`).
    pub kv: KeyValue,
    /// How it wants to hold.
    pub mode: LockMode,
    /// Whether it holds.
    pub holds: bool,
}

/// Who holds a lock, and who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockState {
    /// Who answered, and at which revision.
    pub header: Header,
    /// The queue, first come first; holders come first.
    pub places: Vec<LockPlace>,
}

/// Who leads an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionLeader {
    /// Who answered; `revision` is where to resume observing, plus one.
    pub header: Header,
    /// The leader's key: value, session (`lease`), token (`create_revision`). `None`: nobody leads.
    pub leader: Option<KeyValue>,
}
