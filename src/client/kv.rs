//! Keys and values: [`KvApi`] over gRPC. Each call: route, convert, send, learn, convert back.

use std::future::Future;

use tonic::{Request, Response, Status, transport::Channel};

use super::{
    ANSWER_BYTES_MAX, Client, call::Answered, pipeline::Way, retry::Kind, routing::Target, session::Ticket,
};
use crate::{
    error::Error,
    pb::{
        convert::{self, answer},
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
        let plan = self.plan(Kind::Read, Target::of_read(&consistency), options)?;
        let request = v1::RangeRequest { query: Some(range.into()), consistency: Some(consistency.into()) };
        let entered = self.enter();
        let send = |way: Way, request| way.send(request, entered.pipelined);
        let answered = self.call(&plan, request, send).await?;
        let answer = answer::range(answered.message, consistency.level)?;
        self.learn_from_read(&answered.endpoint, &answer.header, answer.evidence.leader_id)?;
        Ok(answer)
    }

    async fn put(&self, put: Put, options: CallOptions) -> Result<WriteAnswer<Option<KeyValue>>, Error> {
        let entered = self.enter();
        let send = |way: Way, request| way.send(request, entered.pipelined);
        let message = |exactness| v1::PutRequest { exactness, ..put.clone().into() };
        let answered = self.write(options, message, send).await?;
        self.learn_from_write(&answered.endpoint, answer::put(answered.message))
    }

    async fn delete(&self, delete: Delete, options: CallOptions) -> Result<WriteAnswer<DeleteResult>, Error> {
        let entered = self.enter();
        let send = |way: Way, request| way.send(request, entered.pipelined);
        let message = |exactness| v1::DeleteRequest { exactness, ..delete.clone().into() };
        let answered = self.write(options, message, send).await?;
        self.learn_from_write(&answered.endpoint, answer::delete(answered.message))
    }

    async fn txn(&self, txn: Txn, options: CallOptions) -> Result<WriteAnswer<TxnResult>, Error> {
        let entered = self.enter();
        let send = |way: Way, request| way.send(request, entered.pipelined);
        let message = |exactness| v1::TxnRequest { txn: Some(txn.clone().into()), exactness };
        let answered = self.write(options, message, send).await?;
        self.learn_from_write(&answered.endpoint, answer::txn(answered.message))
    }

    async fn compact(&self, revision: Revision, options: CallOptions) -> Result<WriteAnswer<()>, Error> {
        let send = |way: Way, request| async move { service(way.channel).compact(request).await };
        let message = |exactness| v1::CompactRequest { revision, exactness };
        let answered = self.write(options, message, send).await?;
        self.learn_from_write(&answered.endpoint, answer::compact(answered.message))
    }
}

impl Client {
    /// Makes a write: with a number of the client's session, unless the caller gave one or wants none.
    pub(super) async fn write<M, A, S, F>(
        &self,
        options: CallOptions,
        message: impl Fn(Option<v1::Exactness>) -> M,
        send: S,
    ) -> Result<Answered<A>, Error>
    where
        S: Fn(Way, Request<M>) -> F,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let own = self.inner.settings.sessions && options.session.is_none();
        let kind = if own || options.session.is_some() { Kind::ExactlyOnce } else { Kind::Write };
        let plan = self.plan(kind, Target::Leader, options.clone())?;
        loop {
            let ticket = match own {
                true => Some(self.ticket(plan.deadline).await?),
                false => None,
            };
            let attempt = || {
                let session = ticket.as_ref().map(Ticket::name).or(options.session);
                message(convert::exactness(&CallOptions { session, ..options.clone() }))
            };
            match (self.call_anew(&plan, attempt, &send).await, ticket) {
                // No attempt of this write had an unknown outcome, else that would be the error.
                (Err(Error::SessionExpired(_)), Some(ticket)) => ticket.session_has_ended(),
                (answer, _) => return answer,
            }
        }
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
    pub(super) fn learn_from_write<T>(
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
