//! Connections to the other members: one channel each, shared by all that is said to it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tonic::{Request, transport::Channel};

use super::{
    codec,
    envelope::{Envelope, with_request_id},
    exchange::Exchange,
    types::Peer,
};
use crate::{
    env::Net,
    error::Error,
    pb::{
        convert::{RequestKind, from_status},
        internal::{self as pb, peer_client::PeerClient},
    },
    state::Applied,
    types::{ClusterId, LeaseId, NodeId},
};

/// Bytes of one peer message. Far above what a batch of entries is cut to, so that a single entry of the
/// largest request always fits.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// All connections of one member.
pub struct Links {
    me: NodeId,
    cluster_id: ClusterId,
    net: Arc<dyn Net>,
    /// Members that are dialled elsewhere than they publish.
    detours: BTreeMap<NodeId, String>,
    /// By member and address, since a member may move. Bounded by the members of the cluster.
    channels: Mutex<BTreeMap<(NodeId, String), Channel>>,
}

/// A connection to one member.
#[derive(Clone)]
pub struct Link {
    /// The generated client.
    pub client: PeerClient<Channel>,
    envelope: Envelope,
}

/// A question for a read index.
#[derive(Clone, Debug)]
pub struct Question {
    /// The leader's lease is proof enough.
    pub by_lease: bool,
    /// The term in which the asker has voted for the leader that it asks, and in no later one; 0: it has not.
    /// With it, the question itself acknowledges the leader.
    pub follows_in: u64,
    /// Names the client's read behind it; empty: there is none.
    pub request_id: String,
}

impl From<Question> for pb::ReadIndexRequest {
    fn from(question: Question) -> Self {
        let Question { by_lease: lease, follows_in, request_id } = question;
        pb::ReadIndexRequest { lease, follows_in, request_id }
    }
}

impl From<pb::ReadIndexRequest> for Question {
    fn from(question: pb::ReadIndexRequest) -> Self {
        let pb::ReadIndexRequest { lease: by_lease, follows_in, request_id } = question;
        Question { by_lease, follows_in, request_id }
    }
}

/// Questions for read indexes, and their answers.
pub type Questions = Exchange<pb::ReadIndexRequest, pb::ReadIndexReply>;

/// Who a member says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identification {
    /// Its id.
    pub member_id: NodeId,
    /// Its cluster; 0: none yet.
    pub cluster_id: ClusterId,
    /// Whether Raft has begun there.
    pub initialized: bool,
}

impl From<Identification> for pb::IdentifyReply {
    fn from(who: Identification) -> Self {
        pb::IdentifyReply {
            member_id: who.member_id,
            cluster_id: who.cluster_id,
            initialized: who.initialized,
        }
    }
}

impl Links {
    /// No connection is made before it is needed.
    pub fn new(
        me: NodeId,
        cluster_id: ClusterId,
        net: Arc<dyn Net>,
        detours: BTreeMap<NodeId, String>,
    ) -> Links {
        Links { me, cluster_id, net, detours, channels: Mutex::default() }
    }

    /// The connection to a member; the error says why its address is none.
    pub fn to(&self, target: NodeId, addr: &str) -> Result<Link, String> {
        let addr = self.detours.get(&target).map_or(addr, String::as_str);
        let channel = self.channel(target, addr)?;
        let client = PeerClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Link { client, envelope: Envelope { cluster_id: self.cluster_id, from: self.me, to: target } })
    }

    fn channel(&self, target: NodeId, addr: &str) -> Result<Channel, String> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (target, addr.to_owned());
        if let Some(channel) = channels.get(&key) {
            return Ok(channel.clone());
        }
        let channel = self.net.clone().channel(addr)?;
        channels.insert(key, channel.clone());
        Ok(channel)
    }
}

impl Link {
    /// A request to this member.
    pub fn request<T>(&self, message: T, timeout: Duration) -> Request<T> {
        self.envelope.wrap(message, timeout)
    }

    /// A request to this member without a deadline: a stream, whose sender watches that it moves.
    pub fn stream<T>(&self, chunks: T) -> Request<T> {
        self.envelope.wrap_untimed(chunks)
    }

    /// Asks the leader for a read index: term and index.
    pub async fn read_index(&self, through: &mut Questions, question: Question) -> Result<(u64, u64), Error> {
        let open = async |questions| self.client.clone().read_index(self.stream(questions)).await;
        let reply = through.send(question.into(), open).await;
        let reply = reply.map_err(|status| self.failed(&status, RequestKind::Read))?;
        Ok((reply.term, reply.index))
    }

    /// Has the leader propose an encoded command.
    pub async fn propose(
        &mut self,
        command: Bytes,
        request_id: &str,
        timeout: Duration,
    ) -> Result<Applied, Error> {
        let request = with_request_id(self.request(pb::ProposeRequest { command }, timeout), request_id);
        let reply =
            self.client.propose(request).await.map_err(|status| self.failed(&status, RequestKind::Write))?;
        codec::decode_applied(reply.into_inner().applied)
            .map_err(|error| Error::UnknownOutcome(error.to_string()))
    }

    /// Has the leader renew a lease: its term, and the time to live.
    pub async fn keep_alive(
        &mut self,
        lease: LeaseId,
        request_id: &str,
        timeout: Duration,
    ) -> Result<(u64, Duration), Error> {
        let request = with_request_id(self.request(pb::KeepAliveRequest { lease }, timeout), request_id);
        let reply = self.client.keep_alive(request).await;
        let reply = reply.map_err(|status| self.failed(&status, RequestKind::Read))?.into_inner();
        Ok((reply.term, Duration::from_millis(reply.ttl_ms)))
    }

    /// Asks the leader which index must be applied before a lease is read, and what is left of its time.
    pub async fn lease_time(
        &mut self,
        lease: LeaseId,
        request_id: &str,
        timeout: Duration,
    ) -> Result<(u64, Duration), Error> {
        let request = with_request_id(self.request(pb::LeaseTimeRequest { lease }, timeout), request_id);
        let reply = self.client.lease_time(request).await;
        let reply = reply.map_err(|status| self.failed(&status, RequestKind::Read))?.into_inner();
        Ok((reply.index, Duration::from_millis(reply.remaining_ms)))
    }

    /// Asks a member who it is.
    pub async fn identify(&mut self, timeout: Duration) -> Result<Identification, Error> {
        let request = self.request(pb::IdentifyRequest {}, timeout);
        let reply =
            self.client.identify(request).await.map_err(|status| self.failed(&status, RequestKind::Read))?;
        let pb::IdentifyReply { member_id, cluster_id, initialized } = reply.into_inner();
        Ok(Identification { member_id, cluster_id, initialized })
    }

    /// Makes a member a founding member of `cluster_id`.
    pub async fn found(
        &mut self,
        cluster_id: ClusterId,
        members: &BTreeMap<NodeId, Peer>,
        timeout: Duration,
    ) -> Result<(), Error> {
        let message = pb::FoundRequest { cluster_id, members: codec::nodes_to_pb(members) };
        let request = self.request(message, timeout);
        self.client.found(request).await.map(|_| ()).map_err(|status| self.failed(&status, RequestKind::Read))
    }

    fn failed(&self, status: &tonic::Status, kind: RequestKind) -> Error {
        from_status(status, &format!("member {}", self.envelope.to), kind)
    }
}
