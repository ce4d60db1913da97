//! Levels of consistency, and the evidence that answers carry.

use std::{fmt, str::FromStr, time::Duration};

use super::{RangeResult, Revision};

/// A member's id: positive, chosen by the operator, never used again for another member.
pub type NodeId = u64;

/// A cluster's id: positive, drawn at random when the cluster is founded.
pub type ClusterId = u64;

/// What a read is guaranteed to see. `docs/consistency.md` has the promise, mechanism and failure of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Every write acknowledged before the read began (Herlihy & Wing 1990); no clock is trusted.
    #[default]
    Linearizable,
    /// The same, by sending a marker through the log.
    Log,
    /// Linearizable if clock rates differ by less than the configured bound and no machine was suspended
    /// unnoticed.
    Lease,
    /// `Lease`, falling back to a quorum round when the lease has run out; the evidence says which.
    LeaseOrIndex,
    /// A committed prefix, by whoever believes to be leader.
    LeaderLocal,
    /// Every write acknowledged at least `max_age` before the read began; proved on one clock.
    Bounded {
        /// How old the answer may be.
        max_age: Duration,
    },
    /// At least `min_revision`: read your writes and monotonic reads for a caller that passes the highest it
    /// has seen.
    Session {
        /// The highest revision the caller has seen.
        min_revision: Revision,
    },
    /// A committed prefix, monotonic on one member while it runs; also without a quorum.
    Eventual,
}

impl Level {
    /// The level's name, as the command line spells it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Linearizable => "linearizable",
            Level::Log => "log",
            Level::Lease => "lease",
            Level::LeaseOrIndex => "lease-or-index",
            Level::LeaderLocal => "leader-local",
            Level::Bounded { .. } => "bounded",
            Level::Session { .. } => "session",
            Level::Eventual => "eventual",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who may serve a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// Whoever was asked.
    #[default]
    Any,
    /// The leader.
    Leader,
    /// A member that is not the leader.
    Follower,
    /// This member.
    Member(NodeId),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::Any => f.write_str("any"),
            Route::Leader => f.write_str("leader"),
            Route::Follower => f.write_str("follower"),
            Route::Member(id) => write!(f, "{id}"),
        }
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "any" => Ok(Route::Any),
            "leader" => Ok(Route::Leader),
            "follower" => Ok(Route::Follower),
            id => match id.parse() {
                Ok(0) | Err(_) => {
                    Err(format!("{id:?} is not a route: any, leader, follower or a member's id"))
                }
                Ok(id) => Ok(Route::Member(id)),
            },
        }
    }
}

/// Level and route of one read. The default is linearizable, from whoever was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consistency {
    /// What is guaranteed.
    pub level: Level,
    /// Who serves it.
    pub route: Route,
}

impl From<Level> for Consistency {
    fn from(level: Level) -> Self {
        Consistency { level, route: Route::Any }
    }
}

/// How a read's consistency was established.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// A quorum confirmed the leader after the read arrived (Raft thesis, section 6.4).
    ReadIndex,
    /// A marker went through the log.
    LogEntry,
    /// The leader's lease, by its clock (Raft thesis, section 6.4.1).
    LeaderLease,
    /// What the member had applied.
    Local,
    /// A freshness certificate on the member's own clock.
    Certificate,
}

impl Mechanism {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ReadIndex => "read_index",
            Mechanism::LogEntry => "log",
            Mechanism::LeaderLease => "lease",
            Mechanism::Local => "local",
            Mechanism::Certificate => "certificate",
        }
    }
}

/// What a member is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// Orders writes, as far as it knows.
    Leader,
    /// Votes, and follows a leader.
    Follower,
    /// Is asking for votes.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Has failed and serves nothing.
    Stopped,
}

impl MemberRole {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            MemberRole::Leader => "leader",
            MemberRole::Follower => "follower",
            MemberRole::Candidate => "candidate",
            MemberRole::Learner => "learner",
            MemberRole::Stopped => "stopped",
        }
    }
}

/// What every answer carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The cluster that answered.
    pub cluster_id: ClusterId,
    /// The member that answered.
    pub member_id: NodeId,
    /// Its Raft term.
    pub term: u64,
    /// The store's revision: of a read, at the instant of the data; of a write, after it.
    pub revision: Revision,
    /// The log index up to which the member had applied, at that same instant.
    pub applied_index: u64,
    /// Names the request in the logs of every member it touched.
    pub request_id: String,
}

/// What proves a read's consistency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What was asked for.
    pub level_asked: Level,
    /// What was served: never less.
    pub level_served: Level,
    /// How it was established.
    pub mechanism: Mechanism,
    /// Who served it.
    pub served_by: NodeId,
    /// As what.
    pub role: MemberRole,
    /// The leader, as far as the member knew.
    pub leader_id: Option<NodeId>,
    /// The log index that had to be applied first, for levels which demand one.
    pub read_index: Option<u64>,
    /// Every write acknowledged at least this long before the read was served is visible. `None`: unprovable.
    pub staleness_bound: Option<Duration>,
    /// Since the member heard from its leader (on a leader: from a quorum).
    pub leader_contact_age: Option<Duration>,
    /// Where the time went.
    pub waited: Waited,
}

/// Time that a read waited, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// For proof: a quorum round, the leader's answer, a certificate.
    pub quorum: Duration,
    /// Until this member had applied what the proof demands.
    pub apply: Duration,
    /// For a place.
    pub queue: Duration,
}

/// The answer to a range read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeAnswer {
    /// Who answered, and at which point in history.
    pub header: Header,
    /// The data.
    pub result: RangeResult,
    /// What proves it.
    pub evidence: Evidence,
}

/// What a write proves of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteEvidence {
    /// Its position in the Raft log.
    pub log_index: u64,
    /// The term of its entry.
    pub log_term: u64,
    /// Whether this is the stored response of an earlier attempt.
    pub deduplicated: bool,
}

/// The answer to a mutating request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteAnswer<T> {
    /// Who answered; `revision` is the store's after the write.
    pub header: Header,
    /// What was done.
    pub result: T,
    /// Where it stands in the log.
    pub write: WriteEvidence,
}
