//! Whole answers: header, data and proof together.
//!
//! Reading one can fail: the other side is another version, or is broken. Of a read that is
//! [`Error::Protocol`]. A write was done all the same, and so its outcome, which cannot be read, is
//! [`Error::UnknownOutcome`].

use super::{each, evidence, required};
use crate::{
    error::Error,
    pb::v1,
    types::{
        DeleteResult, Header, KeyValue, Level, RangeAnswer, RangeResult, TxnResult, WriteAnswer,
        WriteEvidence,
    },
};

/// What a request would do, and so what is lost with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// It changes nothing.
    Read,
    /// It may have been applied.
    Write,
}

impl RequestKind {
    /// The error for an answer that cannot be read.
    pub fn unreadable(self, why: String) -> Error {
        match self {
            RequestKind::Read => Error::Protocol(why),
            RequestKind::Write => Error::UnknownOutcome(format!("the answer cannot be read: {why}")),
        }
    }
}

impl From<RangeAnswer> for v1::RangeResponse {
    fn from(answer: RangeAnswer) -> Self {
        v1::RangeResponse {
            header: Some(answer.header.into()),
            kvs: each(answer.result.kvs),
            count: answer.result.count,
            more: answer.result.more,
            evidence: Some(answer.evidence.into()),
        }
    }
}

impl From<WriteAnswer<Option<KeyValue>>> for v1::PutResponse {
    fn from(answer: WriteAnswer<Option<KeyValue>>) -> Self {
        v1::PutResponse {
            header: Some(answer.header.into()),
            prev_kv: answer.result.map(Into::into),
            write: Some(answer.write.into()),
        }
    }
}

impl From<WriteAnswer<DeleteResult>> for v1::DeleteResponse {
    fn from(answer: WriteAnswer<DeleteResult>) -> Self {
        v1::DeleteResponse {
            header: Some(answer.header.into()),
            deleted: answer.result.deleted,
            prev_kvs: each(answer.result.prev_kvs),
            write: Some(answer.write.into()),
        }
    }
}

impl From<WriteAnswer<TxnResult>> for v1::TxnResponse {
    fn from(answer: WriteAnswer<TxnResult>) -> Self {
        v1::TxnResponse {
            header: Some(answer.header.into()),
            result: Some(answer.result.into()),
            write: Some(answer.write.into()),
        }
    }
}

impl From<WriteAnswer<()>> for v1::CompactResponse {
    fn from(answer: WriteAnswer<()>) -> Self {
        v1::CompactResponse { header: Some(answer.header.into()), write: Some(answer.write.into()) }
    }
}

/// Reads the answer to a range read that asked for `asked`.
///
/// # Errors
/// `Protocol` naming the field.
pub fn range(wire: v1::RangeResponse, asked: Level) -> Result<RangeAnswer, Error> {
    let read = || {
        Ok(RangeAnswer {
            header: header(wire.header)?,
            result: RangeResult { kvs: each(wire.kvs), count: wire.count, more: wire.more },
            evidence: evidence(wire.evidence, asked)?,
        })
    };
    read().map_err(|error: Error| RequestKind::Read.unreadable(error.to_string()))
}

/// Reads the answer to a put.
///
/// # Errors
/// `UnknownOutcome` naming the field.
pub fn put(wire: v1::PutResponse) -> Result<WriteAnswer<Option<KeyValue>>, Error> {
    written(wire.header, wire.write, || Ok(wire.prev_kv.map(Into::into)))
}

/// Reads the answer to a delete.
///
/// # Errors
/// `UnknownOutcome` naming the field.
pub fn delete(wire: v1::DeleteResponse) -> Result<WriteAnswer<DeleteResult>, Error> {
    let result = DeleteResult { deleted: wire.deleted, prev_kvs: each(wire.prev_kvs) };
    written(wire.header, wire.write, || Ok(result))
}

/// Reads the answer to a transaction.
///
/// # Errors
/// `UnknownOutcome` naming the field.
pub fn txn(wire: v1::TxnResponse) -> Result<WriteAnswer<TxnResult>, Error> {
    written(wire.header, wire.write, || required("result", wire.result)?.try_into())
}

/// Reads the answer to a compaction.
///
/// # Errors
/// `UnknownOutcome` naming the field.
pub fn compact(wire: v1::CompactResponse) -> Result<WriteAnswer<()>, Error> {
    written(wire.header, wire.write, || Ok(()))
}

/// The header, which every answer has.
///
/// # Errors
/// `Invalid` if it is missing.
pub fn header(wire: Option<v1::Header>) -> Result<Header, Error> {
    required("header", wire).map(Into::into)
}

pub(super) fn written<T>(
    wire_header: Option<v1::Header>,
    write: Option<v1::WriteEvidence>,
    result: impl FnOnce() -> Result<T, Error>,
) -> Result<WriteAnswer<T>, Error> {
    let read = || {
        let write: WriteEvidence = required("write", write)?.into();
        Ok(WriteAnswer { header: header(wire_header)?, result: result()?, write })
    };
    read().map_err(|error: Error| RequestKind::Write.unreadable(error.to_string()))
}
