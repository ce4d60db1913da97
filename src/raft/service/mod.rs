//! The receiving side of the peer protocol.
//!
//! It listens before Raft exists, since founding a cluster is a conversation too; until then Raft's calls are
//! answered `UNAVAILABLE`. A call of another cluster, or meant for another member, never reaches Raft.

mod snapshot;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::Server};
use tower::util::MapResponseLayer;
use tracing::{error, warn};

use super::{
    codec::{self, CodecError},
    envelope::{Envelope, request_id},
    links::{Identification, MESSAGE_BYTES_MAX, Question},
    log_store::LogStore,
    snapshots::SnapshotStore,
    state_machine::Applier,
    types::{Peer, Raft},
};
use crate::{
    env::{Env, Incoming, Moment, undated},
    error::Error,
    pb::{
        convert::to_status,
        internal::{self as pb, peer_server},
    },
    state::Applied,
    types::{CallOptions, ClusterId, LeaseId, NodeId},
};

/// Between two lines in the log about calls that are not for this member.
const STRANGERS_QUIET: Duration = Duration::from_secs(10);

/// What the node answers to its peers before Raft runs.
pub trait FoundingHandler: Send + Sync + 'static {
    /// Who this member is.
    fn identify(&self) -> Identification;

    /// Becomes a founding member of a cluster, durably, or says why not.
    fn found(&self, cluster_id: ClusterId, members: BTreeMap<NodeId, Peer>) -> Result<(), Error>;
}

/// What the node answers once Raft runs.
pub trait LeaderHandler: Send + Sync + 'static {
    /// A read index for the member `from`, by quorum or by lease: term and index.
    fn read_index(
        &self,
        from: NodeId,
        question: Question,
    ) -> impl Future<Output = Result<(u64, u64), Error>> + Send;

    /// Proposes an encoded command that a follower forwarded; never forwards it again.
    fn propose(
        &self,
        command: Bytes,
        options: CallOptions,
    ) -> impl Future<Output = Result<Applied, Error>> + Send;

    /// Renews a lease, as the leader or not at all: the term, and the time to live from when it was asked.
    fn keep_alive(
        &self,
        lease: LeaseId,
        options: CallOptions,
    ) -> impl Future<Output = Result<(u64, Duration), Error>> + Send;

    /// What is left of a lease, as the leader or not at all, and an index that must be applied before
    /// the rest is read.
    fn lease_time(
        &self,
        lease: LeaseId,
        options: CallOptions,
    ) -> impl Future<Output = Result<(u64, Duration), Error>> + Send;
}

/// Everything of a running member that its peers' calls touch.
pub struct RaftSide<L> {
    /// openraft.
    pub raft: Raft<Applier>,
    /// The log, for the barrier behind a snapshot (S1).
    pub log: LogStore,
    /// Where received snapshots go.
    pub snapshots: Arc<SnapshotStore>,
    /// For how long this member elects nobody else after it heard from its leader.
    pub promise: Duration,
    /// Until then no vote is granted: this voter may have promised a lease before it restarted (H2).
    pub vote_guard_until: Moment,
    /// Told of each message from a leader.
    pub leader_contact: Box<dyn Fn() + Send + Sync>,
    /// The node.
    pub leader: L,
}

impl<L> RaftSide<L> {
    fn promise_ms(&self) -> u64 {
        self.promise.as_millis() as u64
    }
}

/// The service of one member.
pub struct PeerService<F, L> {
    /// This member.
    pub me: NodeId,
    /// Its cluster; empty until it has one.
    pub cluster_id: Arc<OnceLock<ClusterId>>,
    /// The world.
    pub env: Env,
    /// Who answers while there is no Raft.
    pub founding: Arc<F>,
    /// Raft, once it runs.
    pub side: Arc<OnceLock<RaftSide<L>>>,
    /// Speaks up about calls that are not for this member.
    pub strangers: Strangers,
    /// The end of it, and of the streams of appends and questions, which have none of their own.
    pub stop: CancellationToken,
}

/// Notes calls that are not for this member: one line in a while, since a peer that is set up wrongly calls
/// many times a second.
#[derive(Default)]
pub struct Strangers {
    noted: Mutex<Option<Moment>>,
}

impl Strangers {
    /// Refuses a call of `claimed`, at `now`.
    fn refuse(&self, now: Moment, claimed: Option<Envelope>, error: Error) -> Status {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_none_or(|at| now.since(at) >= STRANGERS_QUIET) {
            *noted = Some(now);
            let (from, cluster) = (claimed.map(|who| who.from), claimed.map(|who| who.cluster_id));
            warn!(from, cluster, %error, "refused a call at the port for peers; more like it are not noted");
        }
        refuse(error)
    }
}

impl<F: FoundingHandler, L: LeaderHandler> PeerService<F, L> {
    /// Answers calls until it is told to stop.
    pub async fn serve(self, incoming: Incoming) {
        let (keepalive, stop) = (self.env.net().keepalive(), self.stop.clone());
        let service = peer_server::PeerServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let server = Server::builder()
            .http2_keepalive_interval(Some(keepalive))
            .http2_keepalive_timeout(Some(keepalive))
            .layer(MapResponseLayer::new(undated))
            .serve_with_incoming_shutdown(service, incoming, stop.cancelled_owned());
        if let Err(error) = server.await {
            error!(%error, "the listener for peers has ended");
        }
    }

    /// Refuses calls for others.
    fn addressed<T>(&self, request: &Request<T>) -> Result<Envelope, Status> {
        let stranger = |who, error| self.strangers.refuse(self.env.now(), who, error);
        let envelope = Envelope::open(request.metadata());
        let envelope = envelope.map_err(|why| stranger(None, Error::Invalid(why)))?;
        if envelope.to == self.me {
            return Ok(envelope);
        }
        let why = format!("this is member {}, the call is for member {}", self.me, envelope.to);
        Err(stranger(Some(envelope), Error::WrongCluster(why)))
    }

    /// Raft, for a call of a member of this cluster.
    fn admit<T>(&self, request: &Request<T>) -> Result<&RaftSide<L>, Status> {
        self.admit_from(request).map(|(_, side)| side)
    }

    /// The same, and which member it is.
    fn admit_from<T>(&self, request: &Request<T>) -> Result<(NodeId, &RaftSide<L>), Status> {
        let envelope = self.addressed(request)?;
        let own = self.cluster_id.get();
        let own = own.ok_or_else(|| refuse(Error::NotReady("it has not joined a cluster yet".to_owned())))?;
        if *own != envelope.cluster_id {
            let error = Error::WrongCluster(format!(
                "member {} belongs to cluster {own}, the call of member {} comes from cluster {}",
                self.me, envelope.from, envelope.cluster_id
            ));
            return Err(self.strangers.refuse(self.env.now(), Some(envelope), error));
        }
        Ok((envelope.from, running(&self.side)?))
    }

    /// A restarted voter has forgotten the lease that it promised: for one lease it votes for nobody, unless
    /// the leader itself hands over (hazard H2).
    fn may_vote(&self, side: &RaftSide<L>, request: &pb::VoteRequest) -> Result<(), Status> {
        if request.leadership_transfer || self.env.now() >= side.vote_guard_until {
            return Ok(());
        }
        Err(Status::unavailable(format!(
            "member {} restarted less than a lease ago and does not vote yet",
            self.me
        )))
    }
}

/// Raft, once it runs.
fn running<L>(side: &OnceLock<RaftSide<L>>) -> Result<&RaftSide<L>, Status> {
    side.get().ok_or_else(|| refuse(Error::NotReady("it is starting".to_owned())))
}

async fn append<L>(
    side: Arc<OnceLock<RaftSide<L>>>,
    request: pb::AppendRequest,
) -> Result<pb::AppendReply, Status> {
    let side = running(&side)?;
    let append = codec::append_request(request).map_err(garbled)?;
    let response = side.raft.append_entries(append).await.map_err(fatal)?;
    if response.is_success() {
        (side.leader_contact)();
    }
    Ok(pb::AppendReply { promise_ms: side.promise_ms(), ..response.into() })
}

async fn read_index<L: LeaderHandler>(
    side: Arc<OnceLock<RaftSide<L>>>,
    from: NodeId,
    question: pb::ReadIndexRequest,
) -> Result<pb::ReadIndexReply, Status> {
    let side = running(&side)?;
    let (by_lease, id) = (question.lease, question.request_id.clone());
    let index = side.leader.read_index(from, question.into()).await;
    let (term, index) = index.map_err(|error| to_status(&error, &id))?;
    Ok(pb::ReadIndexReply { term, index, by_lease })
}

/// The name of a client's request behind a call, and the options that carry it on.
fn named<T>(request: &Request<T>) -> (String, CallOptions) {
    let id = request_id(request.metadata());
    (id.clone(), CallOptions { request_id: Some(id), ..CallOptions::default() })
}

/// A refusal with its reason: the caller knows that nothing was done.
fn refuse(error: Error) -> Status {
    to_status(&error, "")
}

/// A message that makes no sense.
fn garbled(error: CodecError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Raft has stopped here.
fn fatal(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("raft: {error}"))
}

#[tonic::async_trait]
impl<F: FoundingHandler, L: LeaderHandler> peer_server::Peer for PeerService<F, L> {
    type AppendStream = BoxStream<'static, Result<pb::AppendReply, Status>>;
    type ReadIndexStream = BoxStream<'static, Result<pb::ReadIndexReply, Status>>;

    /// One after the other, as the leader sends them. The first that fails ends the stream.
    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        self.admit(&request)?;
        let (requests, side) = (request.into_inner(), self.side.clone());
        let answers = requests.and_then(move |request| append(side.clone(), request));
        Ok(Response::new(answers.take_until(self.stop.clone().cancelled_owned()).boxed()))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteReply>, Status> {
        let side = self.admit(&request)?;
        self.may_vote(side, request.get_ref())?;
        let vote = codec::vote_request(request.into_inner()).map_err(garbled)?;
        Ok(Response::new(side.raft.vote(vote).await.map_err(fatal)?.into()))
    }

    async fn pre_vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteReply>, Status> {
        let side = self.admit(&request)?;
        self.may_vote(side, request.get_ref())?;
        let vote = codec::vote_request(request.into_inner()).map_err(garbled)?;
        Ok(Response::new(side.raft.pre_vote(vote).await.map_err(fatal)?.into()))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotChunk>>,
    ) -> Result<Response<pb::SnapshotReply>, Status> {
        let side = self.admit(&request)?;
        (side.leader_contact)();
        let reply = snapshot::receive(side, request.into_inner()).await?;
        Ok(Response::new(pb::SnapshotReply { promise_ms: side.promise_ms(), ..reply }))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferRequest>,
    ) -> Result<Response<pb::TransferReply>, Status> {
        let side = self.admit(&request)?;
        let transfer = codec::transfer_request(request.into_inner()).map_err(garbled)?;
        let response = side.raft.handle_transfer_leader(transfer).await.map_err(fatal)?;
        Ok(Response::new(codec::transfer_reply_to_pb(response)))
    }

    async fn read_index(
        &self,
        request: Request<Streaming<pb::ReadIndexRequest>>,
    ) -> Result<Response<Self::ReadIndexStream>, Status> {
        let (from, _) = self.admit_from(&request)?;
        let (questions, side) = (request.into_inner(), self.side.clone());
        let answers = questions.and_then(move |question| read_index(side.clone(), from, question));
        Ok(Response::new(answers.take_until(self.stop.clone().cancelled_owned()).boxed()))
    }

    async fn propose(
        &self,
        request: Request<pb::ProposeRequest>,
    ) -> Result<Response<pb::ProposeReply>, Status> {
        let side = self.admit(&request)?;
        let (id, options) = named(&request);
        let applied = side.leader.propose(request.into_inner().command, options).await;
        let applied = applied.map_err(|error| to_status(&error, &id))?;
        Ok(Response::new(pb::ProposeReply { applied: codec::encode_applied(&applied) }))
    }

    async fn keep_alive(
        &self,
        request: Request<pb::KeepAliveRequest>,
    ) -> Result<Response<pb::KeepAliveReply>, Status> {
        let side = self.admit(&request)?;
        let (id, options) = named(&request);
        let renewed = side.leader.keep_alive(request.into_inner().lease, options).await;
        let (term, ttl) = renewed.map_err(|error| to_status(&error, &id))?;
        Ok(Response::new(pb::KeepAliveReply { term, ttl_ms: ttl.as_millis() as u64 }))
    }

    async fn lease_time(
        &self,
        request: Request<pb::LeaseTimeRequest>,
    ) -> Result<Response<pb::LeaseTimeReply>, Status> {
        let side = self.admit(&request)?;
        let (id, options) = named(&request);
        let told = side.leader.lease_time(request.into_inner().lease, options).await;
        let (index, remaining) = told.map_err(|error| to_status(&error, &id))?;
        Ok(Response::new(pb::LeaseTimeReply { remaining_ms: remaining.as_millis() as u64, index }))
    }

    async fn identify(
        &self,
        request: Request<pb::IdentifyRequest>,
    ) -> Result<Response<pb::IdentifyReply>, Status> {
        self.addressed(&request)?;
        Ok(Response::new(self.founding.identify().into()))
    }

    async fn found(&self, request: Request<pb::FoundRequest>) -> Result<Response<pb::FoundReply>, Status> {
        self.addressed(&request)?;
        let request = request.into_inner();
        let members = codec::nodes_from_pb(request.members).map_err(garbled)?;
        self.founding.found(request.cluster_id, members).map_err(|error| to_status(&error, ""))?;
        Ok(Response::new(pb::FoundReply {}))
    }
}
