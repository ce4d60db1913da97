//! Checks on requests that need no state. Done before a command enters the log, where a refusal is cheap;
//! apply itself stays correct for commands that were never checked.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;

use super::command::{Command, GrantLease, Operation};
use crate::{
    error::{Error, shown},
    types::{Compare, CompareTarget, Delete, Guard, KeyRange, Limits, Op, Put, Range, SessionSeq, Txn},
};

/// Checks a command. Errors: `Invalid`, `TooLarge`.
pub fn validate_command(command: &Command, limits: &Limits) -> Result<(), Error> {
    if let Some(request) = &command.session {
        validate_session(request)?;
    }
    within("limits.guards_max", limits.guards_max, command.guards.len())?;
    command.guards.iter().try_for_each(|guard| validate_guard(guard, limits))?;
    validate(&command.op, limits)
}

fn validate_session(request: &SessionSeq) -> Result<(), Error> {
    let SessionSeq { id, seq, ack_below } = *request;
    match (id, seq) {
        (0, _) => invalid("session_id is 0: open a session first"),
        (_, 0) => invalid("seq is 0: the requests of a session are numbered from 1"),
        _ if ack_below > seq => {
            invalid(format!("ack_below is {ack_below}: it must be at most seq, which is {seq}"))
        }
        _ => Ok(()),
    }
}

fn validate_guard(guard: &Guard, limits: &Limits) -> Result<(), Error> {
    if guard.fencing_token == 0 {
        return invalid("a guard's fencing_token is 0: carry the one that came with the lock");
    }
    validate_key(&guard.owner_key, limits)
}

fn validate_grant(grant: &GrantLease, limits: &Limits) -> Result<(), Error> {
    let (least, most) = (limits.lease_ttl_min, limits.lease_ttl_max);
    let ttl = Duration::from_millis(grant.ttl_ms);
    if ttl < least {
        return invalid(format!("ttl is {ttl:?}: it must be at least limits.lease_ttl_min, {least:?}"));
    }
    if ttl > most {
        return invalid(format!("ttl is {ttl:?}: it must be at most limits.lease_ttl_max, {most:?}"));
    }
    Ok(())
}

/// Checks an operation. Errors: `Invalid`, `TooLarge`.
pub fn validate(op: &Operation, limits: &Limits) -> Result<(), Error> {
    match op {
        Operation::Put(put) => validate_put(put, limits),
        Operation::Delete(delete) => validate_keys(&delete.keys, limits),
        Operation::Txn(txn) => {
            let ops = count(txn, 1, limits)?;
            within("limits.txn_ops_max", limits.txn_ops_max, ops)?;
            validate_txn(txn, limits)
        }
        Operation::Compact(0) => invalid("revision 0 cannot be compacted: the first revision is 1"),
        Operation::Revoke(0) => invalid("lease id is 0: ids are positive"),
        Operation::Grant(grant) => validate_grant(grant, limits),
        Operation::Compact(_) | Operation::Marker | Operation::Revoke(_) | Operation::Expire(_) => Ok(()),
    }
}

/// Checks a read. Errors: `Invalid`, `TooLarge`.
pub fn validate_range(range: &Range, limits: &Limits) -> Result<(), Error> {
    validate_keys(&range.keys, limits)
}

fn validate_put(put: &Put, limits: &Limits) -> Result<(), Error> {
    validate_key(&put.key, limits)?;
    within("limits.value_bytes_max", limits.value_bytes_max, put.value.len())
}

fn validate_key(key: &Bytes, limits: &Limits) -> Result<(), Error> {
    if key.is_empty() {
        return invalid("key is empty");
    }
    within("limits.key_bytes_max", limits.key_bytes_max, key.len())
}

fn validate_keys(keys: &KeyRange, limits: &Limits) -> Result<(), Error> {
    if let Some(key) = keys.single() {
        return validate_key(key, limits);
    }
    if keys.is_empty() {
        return invalid("range is empty: its end is not above its start");
    }
    within("limits.key_bytes_max", limits.key_bytes_max, keys.start.len())?;
    // The end is exclusive: that of the longest key is one byte longer.
    let end = keys.end.as_ref().map_or(0, |end| end.len());
    if end > limits.key_bytes_max + 1 {
        within("limits.key_bytes_max", limits.key_bytes_max, end)
    } else {
        Ok(())
    }
}

/// Compares and operations, through nesting; a nested transaction counts as one besides its own.
fn count(txn: &Txn, depth: usize, limits: &Limits) -> Result<usize, Error> {
    within("limits.txn_depth_max", limits.txn_depth_max, depth)?;
    let mut total = txn.compares.len();
    for op in txn.then_ops.iter().chain(&txn.else_ops) {
        total += 1;
        if let Op::Txn(nested) = op {
            total += count(nested, depth + 1, limits)?;
        }
    }
    Ok(total)
}

fn validate_txn(txn: &Txn, limits: &Limits) -> Result<(), Error> {
    txn.compares.iter().try_for_each(|compare| validate_compare(compare, limits))?;
    for branch in [&txn.then_ops, &txn.else_ops] {
        branch.iter().try_for_each(|op| validate_op(op, limits))?;
    }
    effects_of_txn(txn).map(drop)
}

fn validate_compare(compare: &Compare, limits: &Limits) -> Result<(), Error> {
    validate_keys(&compare.keys, limits)?;
    match &compare.target {
        CompareTarget::Value(value) => within("limits.value_bytes_max", limits.value_bytes_max, value.len()),
        _ => Ok(()),
    }
}

fn validate_op(op: &Op, limits: &Limits) -> Result<(), Error> {
    match op {
        Op::Put(put) => validate_put(put, limits),
        Op::Delete(delete) => validate_keys(&delete.keys, limits),
        Op::Range(range) if range.revision != 0 => {
            invalid("a range inside a transaction reads at the transaction's own revision: leave revision 0")
        }
        Op::Range(range) => validate_range(range, limits),
        Op::Txn(nested) => {
            nested.compares.iter().try_for_each(|compare| validate_compare(compare, limits))?;
            nested.then_ops.iter().chain(&nested.else_ops).try_for_each(|op| validate_op(op, limits))
        }
    }
}

/// The keys that a list of operations may change. A key is put at most once in one revision, and not both put
/// and deleted: otherwise its history would need an order within the revision.
#[derive(Default)]
struct Effects {
    puts: BTreeSet<Bytes>,
    deletes: Vec<KeyRange>,
}

impl Effects {
    /// Adds what happens besides; an error if both cannot happen in one revision.
    fn join(&mut self, other: Effects) -> Result<(), Error> {
        if let Some(key) = self.puts.intersection(&other.puts).next() {
            return invalid(format!("key {} is put twice in one branch of a transaction", shown(key)));
        }
        let conflict = self.conflict(&other).or_else(|| other.conflict(self));
        if let Some(key) = conflict {
            return invalid(format!(
                "key {} is both put and deleted in one branch of a transaction",
                shown(key)
            ));
        }
        self.add(other);
        Ok(())
    }

    fn conflict<'a>(&'a self, other: &Effects) -> Option<&'a Bytes> {
        self.puts.iter().find(|key| other.deletes.iter().any(|range| range.contains(key)))
    }

    /// Adds what happens instead: the other branch.
    fn add(&mut self, mut other: Effects) {
        self.puts.append(&mut other.puts);
        self.deletes.append(&mut other.deletes);
    }
}

fn effects_of_txn(txn: &Txn) -> Result<Effects, Error> {
    let mut effects = effects(&txn.then_ops)?;
    effects.add(self::effects(&txn.else_ops)?);
    Ok(effects)
}

fn effects(ops: &[Op]) -> Result<Effects, Error> {
    let mut all = Effects::default();
    for op in ops {
        all.join(match op {
            Op::Put(Put { key, .. }) => Effects { puts: [key.clone()].into(), ..Effects::default() },
            Op::Delete(Delete { keys, .. }) => Effects { deletes: vec![keys.clone()], ..Effects::default() },
            Op::Range(_) => continue,
            Op::Txn(nested) => effects_of_txn(nested)?,
        })?;
    }
    Ok(all)
}

fn within(what: &str, limit: usize, actual: usize) -> Result<(), Error> {
    if actual <= limit {
        return Ok(());
    }
    Err(Error::TooLarge { what: what.to_owned(), limit: limit as u64, actual: actual as u64 })
}

fn invalid<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(text.into()))
}

#[cfg(test)]
mod tests;
