//! Levels, routes, headers and evidence.

use std::time::Duration;

use super::{enumerated, micros, millis_ceil, millis_floor, required};
use crate::{
    error::Error,
    pb::v1,
    types::{Consistency, Evidence, Header, Level, Mechanism, MemberRole, Route, Waited, WriteEvidence},
};

impl From<Level> for v1::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Linearizable => Self::Linearizable,
            Level::Log => Self::Log,
            Level::Lease => Self::Lease,
            Level::LeaseOrIndex => Self::LeaseOrIndex,
            Level::LeaderLocal => Self::LeaderLocal,
            Level::Bounded { .. } => Self::Bounded,
            Level::Session { .. } => Self::Session,
            Level::Eventual => Self::Eventual,
        }
    }
}

impl From<Route> for v1::Route {
    fn from(route: Route) -> Self {
        use v1::route::{Role, To};
        let to = match route {
            Route::Any => To::Role(Role::Any.into()),
            Route::Leader => To::Role(Role::Leader.into()),
            Route::Follower => To::Role(Role::Follower.into()),
            Route::Member(id) => To::MemberId(id),
        };
        v1::Route { to: Some(to) }
    }
}

impl TryFrom<v1::Route> for Route {
    type Error = Error;

    fn try_from(route: v1::Route) -> Result<Self, Error> {
        use v1::route::{Role, To};
        Ok(match required("consistency.route.to (a role or a member's id)", route.to)? {
            To::Role(role) => match enumerated("consistency.route.role", role)? {
                Role::Any => Route::Any,
                Role::Leader => Route::Leader,
                Role::Follower => Route::Follower,
            },
            To::MemberId(0) => {
                return Err(Error::Invalid("consistency.route.member_id is 0: ids are positive".into()));
            }
            To::MemberId(id) => Route::Member(id),
        })
    }
}

impl From<Consistency> for v1::Consistency {
    fn from(consistency: Consistency) -> Self {
        let (max_age_ms, min_revision) = match consistency.level {
            Level::Bounded { max_age } => (millis_floor(max_age), 0),
            Level::Session { min_revision } => (0, min_revision),
            _ => (0, 0),
        };
        v1::Consistency {
            level: v1::Level::from(consistency.level).into(),
            max_age_ms,
            min_revision,
            route: Some(consistency.route.into()),
        }
    }
}

impl TryFrom<v1::Consistency> for Consistency {
    type Error = Error;

    fn try_from(wire: v1::Consistency) -> Result<Self, Error> {
        let level = match enumerated("consistency.level", wire.level)? {
            v1::Level::Unspecified | v1::Level::Linearizable => Level::Linearizable,
            v1::Level::Log => Level::Log,
            v1::Level::Lease => Level::Lease,
            v1::Level::LeaseOrIndex => Level::LeaseOrIndex,
            v1::Level::LeaderLocal => Level::LeaderLocal,
            v1::Level::Bounded if wire.max_age_ms == 0 => {
                return Err(Error::Invalid("consistency.max_age_ms is 0: BOUNDED needs at least 1".into()));
            }
            v1::Level::Bounded => Level::Bounded { max_age: Duration::from_millis(wire.max_age_ms) },
            v1::Level::Session => Level::Session { min_revision: wire.min_revision },
            v1::Level::Eventual => Level::Eventual,
        };
        let route = wire.route.map_or(Ok(Route::Any), Route::try_from)?;
        Ok(Consistency { level, route })
    }
}

/// The consistency of a request; the default (linearizable, any route) if it names none.
///
/// # Errors
/// `Invalid` naming the field.
pub fn consistency(wire: Option<v1::Consistency>) -> Result<Consistency, Error> {
    wire.map_or(Ok(Consistency::default()), Consistency::try_from)
}

impl From<Mechanism> for v1::Mechanism {
    fn from(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::ReadIndex => Self::ReadIndex,
            Mechanism::LogEntry => Self::LogEntry,
            Mechanism::LeaderLease => Self::LeaderLease,
            Mechanism::Local => Self::Local,
            Mechanism::Certificate => Self::Certificate,
        }
    }
}

impl TryFrom<v1::Mechanism> for Mechanism {
    type Error = Error;

    fn try_from(mechanism: v1::Mechanism) -> Result<Self, Error> {
        Ok(match mechanism {
            v1::Mechanism::Unspecified => return required("mechanism", None),
            v1::Mechanism::ReadIndex => Mechanism::ReadIndex,
            v1::Mechanism::LogEntry => Mechanism::LogEntry,
            v1::Mechanism::LeaderLease => Mechanism::LeaderLease,
            v1::Mechanism::Local => Mechanism::Local,
            v1::Mechanism::Certificate => Mechanism::Certificate,
        })
    }
}

impl From<MemberRole> for v1::MemberRole {
    fn from(role: MemberRole) -> Self {
        match role {
            MemberRole::Leader => Self::RoleLeader,
            MemberRole::Follower => Self::RoleFollower,
            MemberRole::Candidate => Self::RoleCandidate,
            MemberRole::Learner => Self::RoleLearner,
            MemberRole::Stopped => Self::RoleStopped,
        }
    }
}

impl TryFrom<v1::MemberRole> for MemberRole {
    type Error = Error;

    fn try_from(role: v1::MemberRole) -> Result<Self, Error> {
        Ok(match role {
            v1::MemberRole::RoleUnspecified => return required("role", None),
            v1::MemberRole::RoleLeader => MemberRole::Leader,
            v1::MemberRole::RoleFollower => MemberRole::Follower,
            v1::MemberRole::RoleCandidate => MemberRole::Candidate,
            v1::MemberRole::RoleLearner => MemberRole::Learner,
            v1::MemberRole::RoleStopped => MemberRole::Stopped,
        })
    }
}

impl From<Header> for v1::Header {
    fn from(header: Header) -> Self {
        let Header { cluster_id, member_id, term, revision, applied_index, request_id } = header;
        v1::Header { cluster_id, member_id, term, revision, applied_index, request_id }
    }
}

impl From<v1::Header> for Header {
    fn from(header: v1::Header) -> Self {
        let v1::Header { cluster_id, member_id, term, revision, applied_index, request_id } = header;
        Header { cluster_id, member_id, term, revision, applied_index, request_id }
    }
}

impl From<WriteEvidence> for v1::WriteEvidence {
    fn from(write: WriteEvidence) -> Self {
        let WriteEvidence { log_index, log_term, deduplicated } = write;
        v1::WriteEvidence { log_index, log_term, deduplicated }
    }
}

impl From<v1::WriteEvidence> for WriteEvidence {
    fn from(write: v1::WriteEvidence) -> Self {
        let v1::WriteEvidence { log_index, log_term, deduplicated } = write;
        WriteEvidence { log_index, log_term, deduplicated }
    }
}

impl From<Waited> for v1::evidence::Waited {
    fn from(waited: Waited) -> Self {
        let (quorum, apply, queue) = (waited.quorum, waited.apply, waited.queue);
        Self { quorum_us: micros(quorum), apply_us: micros(apply), queue_us: micros(queue) }
    }
}

impl From<v1::evidence::Waited> for Waited {
    fn from(waited: v1::evidence::Waited) -> Self {
        Waited {
            quorum: Duration::from_micros(waited.quorum_us),
            apply: Duration::from_micros(waited.apply_us),
            queue: Duration::from_micros(waited.queue_us),
        }
    }
}

impl From<Evidence> for v1::Evidence {
    fn from(evidence: Evidence) -> Self {
        v1::Evidence {
            level_asked: v1::Level::from(evidence.level_asked).into(),
            level_served: v1::Level::from(evidence.level_served).into(),
            mechanism: v1::Mechanism::from(evidence.mechanism).into(),
            served_by_id: evidence.served_by,
            served_by_role: v1::MemberRole::from(evidence.role).into(),
            leader_id: evidence.leader_id.unwrap_or(0),
            read_index: evidence.read_index,
            staleness_bound_ms: evidence.staleness_bound.map(millis_ceil),
            leader_contact_age_ms: evidence.leader_contact_age.map(millis_ceil),
            waited: Some(evidence.waited.into()),
        }
    }
}

/// The evidence of an answer to a read that asked for `asked`. The wire names levels without their
/// parameters, which the caller knows.
///
/// # Errors
/// `Invalid` naming the field that is missing or unknown, or if the answer is to another level than `asked`.
pub fn evidence(wire: Option<v1::Evidence>, asked: Level) -> Result<Evidence, Error> {
    let wire = required("evidence", wire)?;
    let level_asked = level_of("evidence.level_asked", wire.level_asked, asked)?;
    if level_asked != asked {
        return Err(Error::Invalid(format!("evidence.level_asked is {level_asked}, asked was {asked}")));
    }
    Ok(Evidence {
        level_asked,
        level_served: level_of("evidence.level_served", wire.level_served, asked)?,
        mechanism: enumerated::<v1::Mechanism>("evidence.mechanism", wire.mechanism)?.try_into()?,
        served_by: wire.served_by_id,
        role: enumerated::<v1::MemberRole>("evidence.served_by_role", wire.served_by_role)?.try_into()?,
        leader_id: (wire.leader_id != 0).then_some(wire.leader_id),
        read_index: wire.read_index,
        staleness_bound: wire.staleness_bound_ms.map(Duration::from_millis),
        leader_contact_age: wire.leader_contact_age_ms.map(Duration::from_millis),
        waited: wire.waited.map(Waited::from).unwrap_or_default(),
    })
}

/// The level behind a number, with the parameters of `asked` where it has some.
fn level_of(field: &str, number: i32, asked: Level) -> Result<Level, Error> {
    let level = enumerated::<v1::Level>(field, number)?;
    match level {
        _ if level == v1::Level::from(asked) => Ok(asked),
        v1::Level::Unspecified => required(field, None),
        v1::Level::Bounded | v1::Level::Session => {
            Err(Error::Invalid(format!("{field} is {}, asked was {asked}", level.as_str_name())))
        }
        _ => Ok(Consistency::try_from(v1::Consistency { level: number, ..Default::default() })?.level),
    }
}
