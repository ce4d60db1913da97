//! One member as its clients reach it, over the generated gRPC client: no routing, no retries, so that a test
//! knows who answered. The library's own client is tested by the load.

use std::{collections::BTreeSet, time::Duration};

use quorate::{
    error::Error,
    pb::{
        convert::{RequestKind, answer, from_status},
        v1::{
            self, cluster_client::ClusterClient, kv_client::KvClient, maintenance_client::MaintenanceClient,
        },
    },
    types::{Consistency, KeyRange, Level, Range, RangeAnswer, Revision},
};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

/// A connection to one member.
#[derive(Clone)]
pub struct NodeClient {
    addr: String,
    timeout: Duration,
    channel: Channel,
}

impl NodeClient {
    /// Connects when first used. A call takes 5 s at most, on the member's side too.
    pub fn new(addr: &str) -> NodeClient {
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).expect("an address");
        let channel = endpoint.connect_timeout(Duration::from_secs(1)).connect_lazy();
        NodeClient { addr: addr.to_owned(), timeout: Duration::from_secs(5), channel }
    }

    /// The same connection with another deadline for each call.
    pub fn within(&self, timeout: Duration) -> NodeClient {
        NodeClient { timeout, ..self.clone() }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// What the member says to a request that it must refuse.
    pub async fn refusal<T>(
        &self,
        request: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Error {
        match tokio::time::timeout(self.timeout * 2, request).await {
            Ok(Ok(_)) => panic!("the request was accepted"),
            Ok(Err(status)) => from_status(&status, &self.addr, RequestKind::Read),
            Err(_) => panic!("no answer after {:?}", self.timeout * 2),
        }
    }

    /// The connection itself.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn failed(&self, kind: RequestKind) -> impl Fn(tonic::Status) -> Error {
        let addr = self.addr.clone();
        move |status| from_status(&status, &addr, kind)
    }

    /// The generated client of the key-value service, for requests that no decent client would send.
    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_encoding_message_size(16 << 20)
    }

    /// Reads a range.
    pub async fn range(&self, range: Range, level: Level) -> Result<RangeAnswer, Error> {
        let request = v1::RangeRequest {
            query: Some(range.into()),
            consistency: Some(Consistency::from(level).into()),
        };
        let answer = self.kv().range(self.request(request)).await.map_err(self.failed(RequestKind::Read))?;
        answer::range(answer.into_inner(), level)
    }

    /// Reads one key.
    pub async fn get(&self, key: &str, level: Level) -> Result<RangeAnswer, Error> {
        self.range(Range::new(KeyRange::key(key.to_owned())), level).await
    }

    /// Sets a key; the revision of the write.
    pub async fn put(&self, key: &str, value: &str) -> Result<Revision, Error> {
        let request = v1::PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..v1::PutRequest::default()
        };
        let answer = self.kv().put(self.request(request)).await.map_err(self.failed(RequestKind::Write))?;
        Ok(answer::put(answer.into_inner())?.header.revision)
    }

    /// Sends a transaction.
    pub async fn txn(&self, txn: v1::Txn) -> Result<v1::TxnResponse, Error> {
        let request = v1::TxnRequest { txn: Some(txn), ..Default::default() };
        let answer = self.kv().txn(self.request(request)).await.map_err(self.failed(RequestKind::Write))?;
        Ok(answer.into_inner())
    }

    /// The member, as it is now.
    pub async fn status(&self) -> Result<v1::StatusResponse, Error> {
        let mut cluster = ClusterClient::new(self.channel.clone());
        let answer = cluster.status(self.request(v1::StatusRequest {})).await;
        Ok(answer.map_err(self.failed(RequestKind::Read))?.into_inner())
    }

    /// The hash of everything visible at a revision, as text.
    pub async fn hash(&self, revision: Revision) -> Result<String, Error> {
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        let answer = maintenance.state_hash(self.request(v1::StateHashRequest { revision })).await;
        Ok(answer.map_err(self.failed(RequestKind::Read))?.into_inner().hash)
    }

    /// All keys that begin with `prefix`, by what this member has applied.
    pub async fn keys(&self, prefix: &str) -> Result<BTreeSet<String>, Error> {
        let (mut keys, mut rest) = (BTreeSet::new(), KeyRange::prefix(prefix.to_owned()));
        loop {
            let range = Range { keys_only: true, ..Range::new(rest.clone()) };
            let answer = self.range(range, Level::Eventual).await?.result;
            keys.extend(answer.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()));
            let Some(last) = answer.kvs.last().filter(|_| answer.more) else { return Ok(keys) };
            rest.start = KeyRange::key(last.key.clone()).end.expect("a single key has an end");
        }
    }
}
