//! Keys and values: [`KvApi`] over gRPC. Each call: route, convert, send, learn, convert back.

use tonic::transport::Channel;

use super::{ANSWER_BYTES_MAX, Client, call::Plan, routing::Target};
use crate::{
    error::Error,
    pb::{
        convert::{self, RequestKind, answer},
        v1::{self, kv_client::KvClient},
    },
    recipes::KvApi,
    types::{
        CallOptions, Consistency, Delete, DeleteResult, Header, KeyValue, Put, Range, RangeAnswer, Revision,
        Txn, TxnResult, WriteAnswer,
    },
};

/// The service `Kv` on a connection.
pub(super) fn service(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

impl KvApi for Client {
    async fn range(
        &self,
        range: Range,
        consistency: Consistency,
        options: CallOptions,
    ) -> Result<RangeAnswer, Error> {
        let plan = self.plan(RequestKind::Read, Target::of_read(&consistency), options)?;
        let request = v1::RangeRequest { query: Some(range.into()), consistency: Some(consistency.into()) };
        let send = |channel, request| async move { service(channel).range(request).await };
        let answered = self.call(&plan, request, send).await?;
        let answer = answer::range(answered.message, consistency.level)?;
        self.learn_from_read(&answered.endpoint, &answer.header, answer.evidence.leader_id)?;
        Ok(answer)
    }

    async fn put(&self, put: Put, options: CallOptions) -> Result<WriteAnswer<Option<KeyValue>>, Error> {
        let exactness = convert::exactness(&options);
        let plan = self.write_plan(options)?;
        let send = |channel, request| async move { service(channel).put(request).await };
        let request = v1::PutRequest { exactness, ..put.into() };
        let answered = self.call(&plan, request, send).await?;
        self.learn_from_write(&answered.endpoint, answer::put(answered.message))
    }

    async fn delete(&self, delete: Delete, options: CallOptions) -> Result<WriteAnswer<DeleteResult>, Error> {
        let exactness = convert::exactness(&options);
        let plan = self.write_plan(options)?;
        let send = |channel, request| async move { service(channel).delete(request).await };
        let request = v1::DeleteRequest { exactness, ..delete.into() };
        let answered = self.call(&plan, request, send).await?;
        self.learn_from_write(&answered.endpoint, answer::delete(answered.message))
    }

    async fn txn(&self, txn: Txn, options: CallOptions) -> Result<WriteAnswer<TxnResult>, Error> {
        let exactness = convert::exactness(&options);
        let plan = self.write_plan(options)?;
        let send = |channel, request| async move { service(channel).txn(request).await };
        let request = v1::TxnRequest { txn: Some(txn.into()), exactness };
        let answered = self.call(&plan, request, send).await?;
        self.learn_from_write(&answered.endpoint, answer::txn(answered.message))
    }

    async fn compact(&self, revision: Revision, options: CallOptions) -> Result<WriteAnswer<()>, Error> {
        let exactness = convert::exactness(&options);
        let plan = self.write_plan(options)?;
        let send = |channel, request| async move { service(channel).compact(request).await };
        let request = v1::CompactRequest { revision, exactness };
        let answered = self.call(&plan, request, send).await?;
        self.learn_from_write(&answered.endpoint, answer::compact(answered.message))
    }
}

impl Client {
    fn write_plan(&self, options: CallOptions) -> Result<Plan, Error> {
        self.plan(RequestKind::Write, Target::Leader, options)
    }

    /// The member at `endpoint` served a read itself, and named the leader that it knew.
    ///
    /// # Errors
    /// `WrongCluster`.
    pub(super) fn learn_from_read(
        &self,
        endpoint: &str,
        header: &Header,
        leader: Option<u64>,
    ) -> Result<(), Error> {
        let mut view = self.view();
        view.learn_cluster(endpoint, header.cluster_id)?;
        view.learn_member(endpoint, header.member_id);
        view.learn_leader(header.term, leader);
        Ok(())
    }

    /// A write may have been forwarded, so its answer does not tell who sits at the endpoint; but it tells
    /// the term. One of another cluster was applied there: the sign of life before a write makes that rare.
    fn learn_from_write<T>(
        &self,
        endpoint: &str,
        answer: Result<WriteAnswer<T>, Error>,
    ) -> Result<WriteAnswer<T>, Error> {
        let answer = answer?;
        let mut view = self.view();
        view.learn_cluster(endpoint, answer.header.cluster_id)?;
        view.learn_term(answer.header.term);
        Ok(answer)
    }
}
