//! What both a node and a client can do: recipes (locks, elections) are written once over it.

use std::future::Future;

use crate::{
    error::Error,
    types::{
        CallOptions, Consistency, Delete, DeleteResult, KeyValue, Put, Range, RangeAnswer, Revision, Txn,
        TxnResult, WriteAnswer,
    },
};

/// The store, as an embedded [`crate::Node`] and a remote client both offer it.
pub trait KvApi: Send + Sync {
    /// Reads keys with the consistency asked for, or fails; never weakens it silently.
    fn range(
        &self,
        range: Range,
        consistency: Consistency,
        options: CallOptions,
    ) -> impl Future<Output = Result<RangeAnswer, Error>> + Send;

    /// Sets a key. Result: the pair that was replaced, if asked for.
    fn put(
        &self,
        put: Put,
        options: CallOptions,
    ) -> impl Future<Output = Result<WriteAnswer<Option<KeyValue>>, Error>> + Send;

    /// Deletes keys.
    fn delete(
        &self,
        delete: Delete,
        options: CallOptions,
    ) -> impl Future<Output = Result<WriteAnswer<DeleteResult>, Error>> + Send;

    /// Compares, then one of two lists of operations, as one revision.
    fn txn(
        &self,
        txn: Txn,
        options: CallOptions,
    ) -> impl Future<Output = Result<WriteAnswer<TxnResult>, Error>> + Send;

    /// Forgets what was superseded at or below `revision`.
    fn compact(
        &self,
        revision: Revision,
        options: CallOptions,
    ) -> impl Future<Output = Result<WriteAnswer<()>, Error>> + Send;
}
