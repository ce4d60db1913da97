//! A history to lines.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    VERSION,
    row::{
        CancelledRow, ConditionRow, DeliveryRow, End, EventRow, FaultRow, FinalRow, FoundRow, Function,
        LeaderRow, LevelName, MechanismName, OpenedRow, OperationRow, PairRow, ProgressRow, RoleName,
        StepRow,
    },
};
use crate::{
    check::history::{
        About, Action, Condition, Delivery, DeliveryKind, Event, Expected, Fault, FinalState, Found, History,
        Leadership, Operation, Outcome, Seen, Step, Text,
    },
    types::{Level, Mechanism, MemberRole},
};

/// Writes a history row by row, while it is recorded. Rows may come in any order. It does not buffer: the
/// caller's `out` should.
pub struct Writer<W: Write> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Writes the first line. The version in `about` is ours, whatever it says.
    ///
    /// # Errors
    /// `out` does not take it.
    pub fn new(out: W, about: &About) -> io::Result<Writer<W>> {
        let mut writer = Writer { out };
        writer.line(&About { quorate_history: VERSION, ..about.clone() })?;
        Ok(writer)
    }

    /// Writes an operation, when it is known what came of it.
    ///
    /// # Errors
    /// `out` does not take it.
    pub fn operation(&mut self, operation: &Operation) -> io::Result<()> {
        self.line(&operation_row(operation))
    }

    /// Writes what arrived on a watch.
    ///
    /// # Errors
    /// `out` does not take it.
    pub fn delivery(&mut self, delivery: &Delivery) -> io::Result<()> {
        self.line(&delivery_row(delivery))
    }

    /// Writes a fault, when it is over.
    ///
    /// # Errors
    /// `out` does not take it.
    pub fn fault(&mut self, fault: &Fault) -> io::Result<()> {
        self.line(&FaultRow { fault })
    }

    /// Writes who was seen to lead.
    ///
    /// # Errors
    /// `out` does not take it.
    pub fn leader(&mut self, leader: &Leadership) -> io::Result<()> {
        self.line(&LeaderRow { leader })
    }

    /// Writes what a member held in the end.
    ///
    /// # Errors
    /// `out` does not take it.
    pub fn final_state(&mut self, state: &FinalState) -> io::Result<()> {
        self.line(&FinalRow { state })
    }

    /// Flushes, and gives `out` back.
    ///
    /// # Errors
    /// `out` does not take it.
    pub fn end(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn line(&mut self, row: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, row)?;
        self.out.write_all(b"\n")
    }
}

/// Writes a whole history.
///
/// # Errors
/// `out` does not take it.
pub fn write(history: &History, out: impl Write) -> io::Result<()> {
    let mut writer = Writer::new(out, &history.about)?;
    history.operations.iter().try_for_each(|operation| writer.operation(operation))?;
    history.deliveries.iter().try_for_each(|delivery| writer.delivery(delivery))?;
    history.faults.iter().try_for_each(|fault| writer.fault(fault))?;
    history.leaders.iter().try_for_each(|leader| writer.leader(leader))?;
    history.finals.iter().try_for_each(|state| writer.final_state(state))?;
    writer.end().map(|_| ())
}

/// An operation as its row, without a line's end.
///
/// # Errors
/// Never in practice: numbers and texts always have a form in JSON.
pub fn operation_line(operation: &Operation) -> serde_json::Result<String> {
    serde_json::to_string(&operation_row(operation))
}

fn operation_row(operation: &Operation) -> OperationRow<'_> {
    let (outcome, error) = match &operation.outcome {
        Outcome::Ok => (End::Ok, None),
        Outcome::Fail(why) => (End::Fail, Some(&**why)),
        Outcome::Unknown(why) => (End::Info, Some(&**why)),
    };
    let mut row = OperationRow {
        index: Some(operation.index),
        process: Some(operation.process),
        session: Some(operation.session),
        part: operation.part.as_deref().map(Into::into),
        call: Some(operation.call),
        ret: Some(operation.ret),
        outcome: Some(outcome),
        error: error.filter(|why| !why.is_empty()).map(Into::into),
        ..OperationRow::default()
    };
    key_action(&operation.action, &mut row);
    lock_action(&operation.action, &mut row);
    lease_action(&operation.action, &mut row);
    level(operation.level, &mut row);
    if let Some(seen) = &operation.seen {
        header(seen, &mut row);
    }
    row
}

fn key_action<'a>(action: &'a Action, row: &mut OperationRow<'a>) {
    match action {
        Action::Read { key, found } => {
            (row.f, row.key) = (Some(Function::Read), text(key));
            row.found = found.as_ref().map(|found| found.as_ref().map(found_row));
        }
        Action::Write { key, value } => {
            (row.f, row.key, row.value) = (Some(Function::Write), text(key), text(value));
        }
        Action::Delete { key, existed } => {
            (row.f, row.key, row.existed) = (Some(Function::Delete), text(key), *existed);
        }
        Action::Cas { key, old, new, swapped } => {
            (row.f, row.key, row.new) = (Some(Function::Cas), text(key), text(new));
            (row.old, row.swapped) = (Some(old.as_deref().map(Into::into)), *swapped);
        }
        Action::Range { prefix, found } => {
            (row.f, row.prefix) = (Some(Function::Range), text(prefix));
            row.pairs = found.as_ref().map(|pairs| pairs.iter().map(pair_row).collect());
        }
        Action::Txn { when, steps, applied } => {
            (row.f, row.done) = (Some(Function::Txn), *applied);
            row.when =
                Some(when.iter().map(condition_row).collect()).filter(|when: &Vec<_>| !when.is_empty());
            row.steps = Some(steps.iter().map(step_row).collect());
        }
        _ => {}
    }
}

fn lock_action<'a>(action: &'a Action, row: &mut OperationRow<'a>) {
    match action {
        Action::Acquire { lock, token, sure_until } => {
            (row.f, row.lock, row.token) = (Some(Function::Acquire), text(lock), *token);
            row.sure_until = *sure_until;
        }
        Action::Renew { lock, token, sure_until } => {
            (row.f, row.lock, row.token) = (Some(Function::Renew), text(lock), Some(*token));
            row.sure_until = *sure_until;
        }
        Action::Release { lock, token } => {
            (row.f, row.lock, row.token) = (Some(Function::Release), text(lock), Some(*token));
        }
        Action::Guarded { lock, token, key, value, done } => {
            (row.f, row.lock, row.token) = (Some(Function::Guarded), text(lock), Some(*token));
            (row.key, row.value, row.done) = (text(key), text(value), *done);
        }
        _ => {}
    }
}

fn lease_action<'a>(action: &'a Action, row: &mut OperationRow<'a>) {
    match action {
        Action::Grant { ttl, lease } => {
            (row.f, row.ttl, row.lease) = (Some(Function::Grant), Some(*ttl), *lease);
        }
        Action::KeepAlive { lease, ttl } => {
            (row.f, row.lease, row.ttl) = (Some(Function::KeepAlive), Some(*lease), *ttl);
        }
        Action::Revoke { lease } => (row.f, row.lease) = (Some(Function::Revoke), Some(*lease)),
        Action::Attach { lease, key, value } => {
            (row.f, row.lease) = (Some(Function::Attach), Some(*lease));
            (row.key, row.value) = (text(key), text(value));
        }
        _ => {}
    }
}

fn text(text: &Text) -> Option<super::row::Str<'_>> {
    Some((&**text).into())
}

fn found_row(found: &Found) -> FoundRow<'_> {
    let Found { value, mod_revision, create_revision, version } = found;
    FoundRow {
        value: (&**value).into(),
        mod_revision: *mod_revision,
        create_revision: *create_revision,
        version: *version,
    }
}

fn pair_row((key, found): &(Text, Found)) -> PairRow<'_> {
    let FoundRow { value, mod_revision, create_revision, version } = found_row(found);
    PairRow { key: (&**key).into(), value, mod_revision, create_revision, version }
}

fn condition_row(condition: &Condition) -> ConditionRow<'_> {
    let row = ConditionRow { key: (&*condition.key).into(), ..ConditionRow::default() };
    match &condition.expected {
        Expected::Value(value) => ConditionRow { value: Some(value.as_deref().map(Into::into)), ..row },
        Expected::ModRevision(revision) => ConditionRow { mod_revision: Some(*revision), ..row },
    }
}

fn step_row(step: &Step) -> StepRow<'_> {
    let row = StepRow::default();
    match step {
        Step::Read(key, found) => {
            let found = found.as_ref().map(|found| found.as_ref().map(found_row));
            StepRow { read: text(key), found, ..row }
        }
        Step::Write(key, value) => StepRow { write: text(key), value: text(value), ..row },
        Step::List(key, all) => {
            let elements = all.as_ref().map(|all| all.iter().map(|element| (&**element).into()).collect());
            StepRow { list: text(key), elements, ..row }
        }
        Step::Append(key, element) => StepRow { append: text(key), element: text(element), ..row },
    }
}

fn level(level: Option<Level>, row: &mut OperationRow) {
    row.level = level.map(level_name);
    match level {
        Some(Level::Bounded { max_age }) => row.max_age_ms = Some(max_age.as_secs_f64() * 1e3),
        Some(Level::Session { min_revision }) => row.min_revision = Some(min_revision),
        _ => {}
    }
}

fn level_name(level: Level) -> LevelName {
    match level {
        Level::Linearizable => LevelName::Linearizable,
        Level::Log => LevelName::Log,
        Level::Lease => LevelName::Lease,
        Level::LeaseOrIndex => LevelName::LeaseOrIndex,
        Level::LeaderLocal => LevelName::LeaderLocal,
        Level::Bounded { .. } => LevelName::Bounded,
        Level::Session { .. } => LevelName::Session,
        Level::Eventual => LevelName::Eventual,
    }
}

fn header(seen: &Seen, row: &mut OperationRow) {
    (row.node, row.term) = (Some(seen.node), Some(seen.term));
    (row.revision, row.applied) = (Some(seen.revision), Some(seen.applied));
    row.role = seen.role.map(|role| match role {
        MemberRole::Leader => RoleName::Leader,
        MemberRole::Follower => RoleName::Follower,
        MemberRole::Candidate => RoleName::Candidate,
        MemberRole::Learner => RoleName::Learner,
        MemberRole::Stopped => RoleName::Stopped,
    });
    row.mechanism = seen.mechanism.map(|mechanism| match mechanism {
        Mechanism::ReadIndex => MechanismName::ReadIndex,
        Mechanism::LogEntry => MechanismName::LogEntry,
        Mechanism::LeaderLease => MechanismName::LeaderLease,
        Mechanism::Local => MechanismName::Local,
        Mechanism::Certificate => MechanismName::Certificate,
    });
    row.served = seen.served.map(level_name);
    row.staleness_bound = seen.staleness_bound;
    row.stored = Some(true).filter(|_| seen.stored);
}

fn delivery_row(delivery: &Delivery) -> DeliveryRow<'_> {
    let row = DeliveryRow {
        watch: delivery.watch,
        prefix: (&*delivery.prefix).into(),
        at: delivery.at,
        node: delivery.node,
        ..DeliveryRow::default()
    };
    match &delivery.kind {
        DeliveryKind::Opened { from } => DeliveryRow { opened: Some(OpenedRow { from: *from }), ..row },
        DeliveryKind::Events(events) => {
            DeliveryRow { events: Some(events.iter().map(event_row).collect()), ..row }
        }
        DeliveryKind::Progress { revision } => {
            DeliveryRow { progress: Some(ProgressRow { revision: *revision }), ..row }
        }
        DeliveryKind::Cancelled { why, compacted } => {
            let cancelled = CancelledRow { why: (&**why).into(), compacted: *compacted };
            DeliveryRow { cancelled: Some(cancelled), ..row }
        }
    }
}

fn event_row(event: &Event) -> EventRow<'_> {
    EventRow {
        key: (&*event.key).into(),
        value: event.value.as_deref().map(Into::into),
        revision: event.revision,
        create_revision: event.create_revision,
        version: event.version,
        previous: event.previous.as_ref().map(|previous| previous.as_deref().map(Into::into)),
    }
}
