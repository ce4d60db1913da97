//! Transactions: compares and operations, nested.

use super::{all, each, enumerated, kv::key_range, required};
use crate::{
    error::Error,
    pb::v1,
    types::{Compare, CompareTarget, Op, Operator, Txn},
};

impl From<Operator> for v1::compare::Operator {
    fn from(operator: Operator) -> Self {
        match operator {
            Operator::Equal => Self::Equal,
            Operator::NotEqual => Self::NotEqual,
            Operator::Greater => Self::Greater,
            Operator::Less => Self::Less,
        }
    }
}

impl From<v1::compare::Operator> for Operator {
    fn from(operator: v1::compare::Operator) -> Self {
        use v1::compare::Operator as Wire;
        match operator {
            Wire::Equal => Operator::Equal,
            Wire::NotEqual => Operator::NotEqual,
            Wire::Greater => Operator::Greater,
            Wire::Less => Operator::Less,
        }
    }
}

impl From<CompareTarget> for v1::compare::Target {
    fn from(target: CompareTarget) -> Self {
        match target {
            CompareTarget::Value(value) => Self::Value(value),
            CompareTarget::Version(version) => Self::Version(version),
            CompareTarget::CreateRevision(revision) => Self::CreateRevision(revision),
            CompareTarget::ModRevision(revision) => Self::ModRevision(revision),
            CompareTarget::Lease(lease) => Self::Lease(lease),
        }
    }
}

impl From<v1::compare::Target> for CompareTarget {
    fn from(target: v1::compare::Target) -> Self {
        use v1::compare::Target as Wire;
        match target {
            Wire::Value(value) => CompareTarget::Value(value),
            Wire::Version(version) => CompareTarget::Version(version),
            Wire::CreateRevision(revision) => CompareTarget::CreateRevision(revision),
            Wire::ModRevision(revision) => CompareTarget::ModRevision(revision),
            Wire::Lease(lease) => CompareTarget::Lease(lease),
        }
    }
}

impl From<Compare> for v1::Compare {
    fn from(compare: Compare) -> Self {
        v1::Compare {
            keys: Some(compare.keys.into()),
            operator: v1::compare::Operator::from(compare.operator).into(),
            target: Some(compare.target.into()),
        }
    }
}

impl TryFrom<v1::Compare> for Compare {
    type Error = Error;

    fn try_from(compare: v1::Compare) -> Result<Self, Error> {
        Ok(Compare {
            keys: key_range(compare.keys)?,
            operator: enumerated::<v1::compare::Operator>("operator", compare.operator)?.into(),
            target: required("target (what to compare)", compare.target)?.into(),
        })
    }
}

impl From<Op> for v1::Op {
    fn from(op: Op) -> Self {
        let op = match op {
            Op::Put(put) => v1::op::Op::Put(put.into()),
            Op::Delete(delete) => v1::op::Op::Delete(delete.into()),
            Op::Range(range) => v1::op::Op::Range(range.into()),
            Op::Txn(txn) => v1::op::Op::Txn(txn.into()),
        };
        v1::Op { op: Some(op) }
    }
}

impl From<Txn> for v1::Txn {
    fn from(txn: Txn) -> Self {
        v1::Txn { compares: each(txn.compares), then_ops: each(txn.then_ops), else_ops: each(txn.else_ops) }
    }
}

/// A transaction from the wire. One without nested transactions has depth 1.
///
/// # Errors
/// `Invalid` naming the field that is missing or unknown; `TooLarge` if it nests deeper than `depth_max`.
pub fn txn(txn: v1::Txn, depth_max: usize) -> Result<Txn, Error> {
    nested(txn, Depth { now: 1, max: depth_max })
}

/// Where the conversion is.
#[derive(Clone, Copy)]
struct Depth {
    now: usize,
    max: usize,
}

fn nested(txn: v1::Txn, depth: Depth) -> Result<Txn, Error> {
    if depth.now > depth.max {
        let (limit, actual) = (depth.max as u64, depth.now as u64);
        return Err(Error::TooLarge { what: "limits.txn_depth_max".into(), limit, actual });
    }
    let ops = |ops: Vec<v1::Op>| ops.into_iter().map(|each| op(each, depth)).collect::<Result<_, _>>();
    Ok(Txn { compares: all(txn.compares)?, then_ops: ops(txn.then_ops)?, else_ops: ops(txn.else_ops)? })
}

fn op(op: v1::Op, depth: Depth) -> Result<Op, Error> {
    Ok(match required("op (put, delete, range or txn)", op.op)? {
        v1::op::Op::Put(put) => Op::Put(put.into()),
        v1::op::Op::Delete(delete) => Op::Delete(delete.try_into()?),
        v1::op::Op::Range(range) => Op::Range(range.try_into()?),
        v1::op::Op::Txn(txn) => Op::Txn(nested(txn, Depth { now: depth.now + 1, ..depth })?),
    })
}
