//! Transactions: compares, then one of two branches. Everything sees what came before it in the same command,
//! the compares of a nested transaction included.

use std::cmp::Ordering;

use super::{
    Corruption,
    apply::{Execution, Stop},
    block::{Entry, RecordId, Records},
    overlay::{ApplyBatch, Found},
};
use crate::types::{Compare, CompareTarget, Op, OpResult, Operator, Txn, TxnResult};

impl Execution<'_> {
    pub(super) fn txn(&mut self, txn: &Txn) -> Result<TxnResult, Stop> {
        let mut succeeded = true;
        for compare in &txn.compares {
            succeeded = succeeded && holds(self.batch, compare)?;
        }
        let ops = if succeeded { &txn.then_ops } else { &txn.else_ops };
        let results = ops.iter().map(|op| self.op(op)).collect::<Result<_, _>>()?;
        Ok(TxnResult { succeeded, results })
    }

    fn op(&mut self, op: &Op) -> Result<OpResult, Stop> {
        match op {
            Op::Put(put) => self.put(put).map(OpResult::Put),
            Op::Delete(delete) => self.delete(delete).map(OpResult::Delete),
            Op::Range(range) => self.range(range).map(OpResult::Range),
            Op::Txn(txn) => self.txn(txn).map(OpResult::Txn),
        }
    }
}

/// Whether a compare holds for every existing key of its range; where there is none, for a key that does not
/// exist.
fn holds(batch: &ApplyBatch, compare: &Compare) -> Result<bool, Corruption> {
    let mut records = batch.records();
    let mut any = false;
    let mut all = true;
    batch.for_each(&compare.keys, |found| {
        any = true;
        all = all && accepts(compare.operator, order(batch, &mut records, &compare.target, Some(&found))?);
        Ok::<_, Corruption>(())
    })?;
    if any {
        return Ok(all);
    }
    Ok(accepts(compare.operator, order(batch, &mut records, &compare.target, None)?))
}

/// What is stored against the operand; `None` if there is no value to compare.
fn order(
    batch: &ApplyBatch,
    records: &mut Records,
    target: &CompareTarget,
    found: Option<&Found>,
) -> Result<Option<Ordering>, Corruption> {
    // A key that does not exist: all numbers are 0.
    let entry = found.map_or(Entry::tombstone(RecordId::default()), |found| found.entry);
    let order = match (target, found) {
        (CompareTarget::Value(_), None) => return Ok(None),
        (CompareTarget::Value(operand), Some(found)) => batch.record(records, found)?.value.cmp(operand),
        (CompareTarget::Version(operand), _) => entry.version.cmp(operand),
        (CompareTarget::CreateRevision(operand), _) => entry.create.cmp(operand),
        (CompareTarget::ModRevision(operand), _) => entry.main.cmp(operand),
        (CompareTarget::Lease(operand), _) => entry.lease.cmp(operand),
    };
    Ok(Some(order))
}

fn accepts(operator: Operator, order: Option<Ordering>) -> bool {
    order.is_some_and(|order| match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Greater => order.is_gt(),
        Operator::Less => order.is_lt(),
    })
}
