//! The sending side of Raft: openraft's network over the peer protocol.
//!
//! Absent on purpose: retries, which openraft does, and several appends under way to one follower: they are
//! sequential and batched, on a stream (`exchange`).

use std::{
    fs::File,
    future::Future,
    io::{self, Read},
    mem,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::TryFutureExt;
use openraft::{
    OptionalSend,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use tokio::{
    sync::mpsc::{self, error::SendTimeoutError},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tracing::warn;

use super::{
    codec::{self, CodecError},
    exchange::Exchange,
    links::{Link, Links},
    promises::Promises,
    snapshots::{SnapshotFile, SnapshotStore},
    state_machine::{check_snapshot, inspect},
    types::{Peer, Snapshot, TypeConfig, Vote},
};
use crate::{env::blocking, pb::internal as pb, types::NodeId};

/// Bytes of a snapshot in one message.
const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// Chunks read ahead of the network.
const SNAPSHOT_CHUNKS_AHEAD: usize = 2;
/// A snapshot transfer that moves no chunk for this long is given up and begun anew. The transfer as a whole
/// has no deadline: however large a snapshot is, and however slow the line, it arrives if it moves.
const SNAPSHOT_IDLE: Duration = Duration::from_secs(15);
/// After the last byte: for the receiver to check, load and answer, whatever the size.
const SNAPSHOT_INSTALL: Duration = Duration::from_secs(300);
/// And a second more for so many bytes: a rate that a slow disk is still expected to reach.
const SNAPSHOT_INSTALL_RATE: u64 = 2 << 20;

/// Makes a [`PeerNetwork`] for each member that openraft wants to talk to.
pub struct Network {
    /// The connections.
    pub links: Arc<Links>,
    /// Who speaks.
    pub me: NodeId,
    /// What is sent to those who are far behind.
    pub snapshots: Arc<SnapshotStore>,
    /// Where it is noted what the others promise.
    pub promises: Arc<Promises>,
    /// How long an append may take. openraft would give it one heartbeat interval, which a slow sync exceeds
    /// (hazard H6), and keeps to that for heartbeats.
    pub append_timeout: Duration,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: NodeId, peer: &Peer) -> PeerNetwork {
        let link = self.links.to(target, &peer.peer_addr);
        let (snapshots, promises) = (self.snapshots.clone(), self.promises.clone());
        let (appends, append_timeout) = (Exchange::default(), self.append_timeout);
        PeerNetwork { me: self.me, target, link, appends, append_timeout, snapshots, promises }
    }
}

/// Raft's way to one member.
pub struct PeerNetwork {
    me: NodeId,
    target: NodeId,
    link: Result<Link, String>,
    appends: Exchange<pb::AppendRequest, pb::AppendReply>,
    append_timeout: Duration,
    snapshots: Arc<SnapshotStore>,
    promises: Arc<Promises>,
}

impl PeerNetwork {
    fn link(&self) -> Result<Link, RPCError<TypeConfig>> {
        self.link.clone().map_err(|why| unreachable(&why))
    }

    /// Waits for an answer, at most `limit`.
    async fn within<T>(
        &self,
        kind: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, RPCError<TypeConfig>> {
        let late =
            || RPCError::Timeout(Timeout { action: kind, id: self.me, target: self.target, timeout: limit });
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) if status.code() == Code::DeadlineExceeded => Err(late()),
            Ok(Err(status)) => Err(unreachable(&refusal(&status))),
            Err(_) => Err(late()),
        }
    }

    /// Notes what was promised with an acknowledgement, before Raft counts that.
    fn promised(&self, promise_ms: u64, sent: Instant) {
        self.promises.note(self.target, Duration::from_millis(promise_ms), sent);
    }

    /// Waits for the answer to a request for a vote, or for a promise of one.
    async fn voted(
        &self,
        option: RPCOption,
        call: impl Future<Output = Result<tonic::Response<pb::VoteReply>, Status>>,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let call = call.map_ok(tonic::Response::into_inner);
        let reply = self.within(RPCTypes::Vote, option.hard_ttl(), call).await?;
        codec::vote_reply(reply).map_err(garbled)
    }
}

fn refusal(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn unreachable(why: &str) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(why))
}

fn garbled(error: CodecError) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::new(&error))
}

impl RaftNetworkV2<TypeConfig> for PeerNetwork {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (link, sent, limit) = (self.link()?, Instant::now(), option.hard_ttl().max(self.append_timeout));
        // Taken out, since `within` borrows the rest; what is given up takes the stream with it (`exchange`).
        let mut appends = mem::take(&mut self.appends);
        let open = async |requests| link.client.clone().append(link.stream(requests)).await;
        let reply = self.within(RPCTypes::AppendEntries, limit, appends.send(rpc.into(), open)).await?;
        self.appends = appends;
        self.promised(reply.promise_ms, sent);
        codec::append_reply(reply).map_err(garbled)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut link = self.link()?;
        let request = link.request(rpc.into(), option.hard_ttl());
        self.voted(option, link.client.vote(request)).await
    }

    /// openraft's own default grants without asking (hazard H4).
    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut link = self.link()?;
        let request = link.request(rpc.into(), option.hard_ttl());
        self.voted(option, link.client.pre_vote(request)).await
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut link = self.link()?;
        let request = link.request(rpc.into(), option.hard_ttl());
        let call = link.client.transfer_leader(request).map_ok(tonic::Response::into_inner);
        let reply = self.within(RPCTypes::TransferLeader, option.hard_ttl(), call).await?;
        codec::transfer_reply(reply).map_err(garbled)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let unreachable = |why| StreamingError::Unreachable(Unreachable::from_string(why));
        let (link, sent_at) = (self.link.clone().map_err(unreachable)?, Instant::now());
        let file = snapshot.snapshot.clone();
        let sent = tokio::select! {
            closed = pin!(cancel) => return Err(StreamingError::Closed(closed)),
            sent = send_snapshot(link, vote, snapshot) => sent,
        };
        if let Err(status) = &sent
            && status.code() == Code::DataLoss
        {
            doubt(self.snapshots.clone(), file).await;
        }
        let reply = sent.map_err(|status| unreachable(refusal(&status)))?;
        self.promised(reply.promise_ms, sent_at);
        let vote = reply.vote.ok_or_else(|| unreachable("the answer has no vote".to_owned()))?;
        Ok(SnapshotResponse::new(vote.into()))
    }
}

/// The receiver says that what it got is damaged. If so is the file here, it would be sent for ever: it is
/// set aside, and Raft, which asks again, gets a new one.
async fn doubt(snapshots: Arc<SnapshotStore>, file: SnapshotFile) {
    let inspected = blocking(move || inspect(&snapshots, &file, check_snapshot)).await;
    if let Err(error) = inspected.map_err(io::Error::other).flatten() {
        warn!(%error, "cannot read the snapshot that the receiver calls damaged");
    }
}

/// Streams a snapshot file and waits for the answer.
async fn send_snapshot(
    mut link: Link,
    vote: Vote,
    snapshot: Snapshot<SnapshotFile>,
) -> Result<pb::SnapshotReply, Status> {
    let path = snapshot.snapshot.path().to_owned();
    let file = blocking(move || File::open(path)).await.map_err(io::Error::other).flatten();
    let file = file.map_err(|e| Status::unavailable(format!("cannot open the snapshot: {e}")))?;
    let size = snapshot.snapshot.size();
    let head = codec::snapshot_head(vote, &snapshot.meta, size);
    let (chunks, stream) = mpsc::channel(SNAPSHOT_CHUNKS_AHEAD);
    let request = link.stream(ReceiverStream::new(stream));
    let mut answer = pin!(link.client.snapshot(request));
    let reply = tokio::select! {
        // It may come early: a refusal.
        reply = &mut answer => reply,
        fed = feed(file, head, chunks) => {
            fed.map_err(Status::unavailable)?;
            let limit = install_limit(size);
            let late = |_| Status::unavailable(format!("the snapshot was not answered for {limit:?}"));
            tokio::time::timeout(limit, answer).await.map_err(late)?
        }
    };
    reply.map(tonic::Response::into_inner)
}

/// How long the receiver of `size` bytes may take after the last one.
fn install_limit(size: u64) -> Duration {
    SNAPSHOT_INSTALL + Duration::from_secs(size / SNAPSHOT_INSTALL_RATE)
}

/// Feeds a file into the stream; gives up when nothing moves. Ends early if the receiver has answered
/// already.
async fn feed(
    file: File,
    head: pb::SnapshotHead,
    chunks: mpsc::Sender<pb::SnapshotChunk>,
) -> Result<(), String> {
    use pb::snapshot_chunk::Part;
    let mut part = Part::Head(head);
    let mut file = file;
    loop {
        match chunks.send_timeout(pb::SnapshotChunk { part: Some(part) }, SNAPSHOT_IDLE).await {
            Ok(()) => {}
            Err(SendTimeoutError::Closed(_)) => return Ok(()),
            Err(SendTimeoutError::Timeout(_)) => return Err(format!("nothing moved for {SNAPSHOT_IDLE:?}")),
        }
        let data;
        (file, data) = read_chunk(file).await.map_err(|e| format!("cannot read the snapshot: {e}"))?;
        if data.is_empty() {
            return Ok(());
        }
        part = Part::Data(data.into());
    }
}

/// The next bytes of a file; none at its end.
async fn read_chunk(file: File) -> io::Result<(File, Vec<u8>)> {
    let reading = blocking(move || {
        let mut data = Vec::with_capacity(SNAPSHOT_CHUNK_BYTES);
        (&file).take(SNAPSHOT_CHUNK_BYTES as u64).read_to_end(&mut data)?;
        Ok((file, data))
    });
    reading.await.map_err(io::Error::other)?
}
