//! A row to an operation.

use std::time::Duration;

use super::{Wrong, action};
use crate::{
    check::{
        format::{
            jsonl::row::{End, LevelName, MechanismName, OperationRow, RoleName},
            text::Texts,
        },
        history::{Operation, Outcome, Seen},
    },
    types::{Level, Mechanism, MemberRole},
};

/// The operation that a row tells.
pub(super) fn operation(mut row: OperationRow, texts: &mut Texts) -> Result<Operation, Wrong> {
    let index = need(row.index, "index")?;
    let process = need(row.process, "process")?;
    let (call, ret) = (need(row.call, "call")?, need(row.ret, "ret")?);
    if ret < call {
        return Err(Wrong::new("ret", format!("expected {call}, the call, or later, found {ret}")));
    }
    let outcome = outcome(&row, texts)?;
    let level = level(&mut row)?;
    let seen = seen(&row, level);
    let part = row.part.take().map(|part| texts.get(&part.0));
    let session = row.session.unwrap_or(process);
    let action = action::action(&mut row, outcome == Outcome::Ok, texts)?;
    Ok(Operation { index, process, session, part, call, ret, action, outcome, level, seen })
}

/// A field that every such row has.
pub(super) fn need<T>(field: Option<T>, name: &'static str) -> Result<T, Wrong> {
    field.ok_or_else(|| Wrong::new(name, format!("expected a field \"{name}\", found none")))
}

fn outcome(row: &OperationRow, texts: &mut Texts) -> Result<Outcome, Wrong> {
    let error = row.error.as_ref().map(|error| texts.get(&error.0));
    match (need(row.outcome, "outcome")?, error) {
        (End::Ok, None) => Ok(Outcome::Ok),
        (End::Ok, Some(_)) => Err(Wrong::new("error", "expected no \"error\" of an operation that is ok")),
        (End::Fail, error) => Ok(Outcome::Fail(error.unwrap_or_default())),
        (End::Info, error) => Ok(Outcome::Unknown(error.unwrap_or_default())),
    }
}

fn level(row: &mut OperationRow) -> Result<Option<Level>, Wrong> {
    let (name, age, revision) = (row.level, row.max_age_ms.take(), row.min_revision.take());
    if age.is_some() && name != Some(LevelName::Bounded) {
        return Err(Wrong::new("max_age_ms", "expected \"max_age_ms\" with the level bounded alone"));
    }
    if revision.is_some() && name != Some(LevelName::Session) {
        return Err(Wrong::new("min_revision", "expected \"min_revision\" with the level session alone"));
    }
    if name == Some(LevelName::Bounded) && age.is_none() {
        return Err(Wrong::new("level", "expected \"max_age_ms\" with the level bounded"));
    }
    let age = match age.map(|ms| Duration::try_from_secs_f64(ms / 1e3)) {
        Some(Err(_)) => return Err(Wrong::new("max_age_ms", "expected milliseconds, 0 or more")),
        Some(Ok(age)) => age,
        None => Duration::ZERO,
    };
    Ok(name.map(|name| with_parameter(name, age, revision.unwrap_or(0))))
}

fn with_parameter(name: LevelName, max_age: Duration, min_revision: u64) -> Level {
    match name {
        LevelName::Linearizable => Level::Linearizable,
        LevelName::Log => Level::Log,
        LevelName::Lease => Level::Lease,
        LevelName::LeaseOrIndex => Level::LeaseOrIndex,
        LevelName::LeaderLocal => Level::LeaderLocal,
        LevelName::Bounded => Level::Bounded { max_age },
        LevelName::Session => Level::Session { min_revision },
        LevelName::Eventual => Level::Eventual,
    }
}

/// The header: there is one if any of its fields is there.
fn seen(row: &OperationRow, asked: Option<Level>) -> Option<Seen> {
    let numbers = [row.node, row.term, row.revision, row.applied, row.staleness_bound];
    let words = row.role.is_some() || row.mechanism.is_some() || row.served.is_some() || row.stored.is_some();
    if numbers.iter().all(Option::is_none) && !words {
        return None;
    }
    // The parameter of a level that was served is that of the one that was asked for.
    let served = row.served.map(|name| match asked {
        Some(level) if level.name() == name.text() => level,
        _ => with_parameter(name, Duration::ZERO, 0),
    });
    Some(Seen {
        node: row.node.unwrap_or(0),
        term: row.term.unwrap_or(0),
        revision: row.revision.unwrap_or(0),
        applied: row.applied.unwrap_or(0),
        role: row.role.map(role),
        mechanism: row.mechanism.map(mechanism),
        served,
        staleness_bound: row.staleness_bound,
        stored: row.stored.unwrap_or(false),
    })
}

fn role(name: RoleName) -> MemberRole {
    match name {
        RoleName::Leader => MemberRole::Leader,
        RoleName::Follower => MemberRole::Follower,
        RoleName::Candidate => MemberRole::Candidate,
        RoleName::Learner => MemberRole::Learner,
        RoleName::Stopped => MemberRole::Stopped,
    }
}

fn mechanism(name: MechanismName) -> Mechanism {
    match name {
        MechanismName::ReadIndex => Mechanism::ReadIndex,
        MechanismName::LogEntry => Mechanism::LogEntry,
        MechanismName::LeaderLease => Mechanism::LeaderLease,
        MechanismName::Local => Mechanism::Local,
        MechanismName::Certificate => Mechanism::Certificate,
    }
}
