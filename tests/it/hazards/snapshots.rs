//! H8: a snapshot that is damaged, cut off, too long or wrongly announced is refused with a reason, and never
//! reaches Raft, which would end the member over it.

use std::{sync::Arc, time::Duration};

use futures::stream;
use quorate::{
    Config,
    pb::internal::{
        self as pb, SnapshotReply, entry::Payload, peer_client::PeerClient, snapshot_chunk::Part,
    },
    raft::{
        codec::{encode_membership, snapshot_head},
        envelope::Envelope,
        types::{EntryPayload, LogId, SnapshotMeta, StoredMembership, Vote},
    },
    recipes::KvApi,
    state::{Command, Operation, Position, StateMachine},
    storage::MemoryEngine,
    types::{CallOptions, Consistency, KeyRange, Level, Put, Range},
};
use tonic::{Code, Status, transport::Channel};

use super::{bench::founding, members::Members};
use crate::support::{SOON, eventually};

/// Bytes of one message.
const CHUNK: usize = 100;

/// A snapshot of a state with one key, and what is said about it.
#[derive(Clone)]
pub struct Image {
    pub bytes: Vec<u8>,
    pub head: pb::SnapshotHead,
    meta: SnapshotMeta,
}

impl Image {
    /// Up to entry `index` of `term`: a membership, a put, and nothing.
    pub fn of(config: &Config, term: u64, index: u64) -> Image {
        let mut machine = StateMachine::open(Arc::new(MemoryEngine::new())).expect("an empty state");
        let EntryPayload::Membership(membership) = founding(config).payload else { unreachable!() };
        let mut batch = machine.begin();
        let first = Position { term: 0, index: 0 };
        machine.set_membership(&mut batch, first, encode_membership(&membership)).expect("a membership");
        let put = Put { key: "from".into(), value: "snapshot".into(), ..Put::default() };
        let command = Command::from(Operation::Put(put));
        machine.apply(&mut batch, Position { term, index: 1 }, &command).expect("a put");
        for index in 2..=index {
            machine.note(&mut batch, Position { term, index }).expect("a blank entry");
        }
        machine.commit(batch).expect("a commit");
        let mut bytes = Vec::new();
        machine.pin().write(&mut bytes).expect("a snapshot");
        let last_membership = StoredMembership::new(Some(LogId::new_term_index(0, 0)), membership);
        let meta = SnapshotMeta { last_log_id: Some(LogId::new_term_index(term, index)), last_membership };
        let head = snapshot_head(Vote::new_committed(term, 2), &meta, bytes.len() as u64);
        Image { bytes, head, meta }
    }

    pub fn meta(&self) -> SnapshotMeta {
        self.meta.clone()
    }

    fn stream(&self) -> Vec<Part> {
        let data = self.bytes.chunks(CHUNK).map(|chunk| Part::Data(chunk.to_vec().into()));
        std::iter::once(Part::Head(self.head.clone())).chain(data).collect()
    }
}

/// Member 2, as member 1 hears it.
#[derive(Clone)]
pub struct PeerCaller {
    client: PeerClient<Channel>,
    envelope: Envelope,
}

impl PeerCaller {
    pub fn new(addr: &str, cluster_id: u64) -> PeerCaller {
        PeerCaller::between(addr, Envelope { cluster_id, from: 2, to: 1 })
    }

    pub fn between(addr: &str, envelope: Envelope) -> PeerCaller {
        let channel = Channel::from_shared(format!("http://{addr}")).expect("an address").connect_lazy();
        PeerCaller { client: PeerClient::new(channel), envelope }
    }

    /// Asks for a vote that nobody could refuse for its log, in a term far ahead.
    pub async fn ask_for_vote(&self, pre: bool, transfer: bool) -> Result<pb::VoteReply, Status> {
        let vote = pb::Vote { term: 1_000, node_id: self.envelope.from, committed: false };
        let last = pb::LogId { term: 999, index: 1_000_000 };
        let request = pb::VoteRequest { vote: Some(vote), last: Some(last), leadership_transfer: transfer };
        let request = self.envelope.wrap(request, Duration::from_secs(10));
        let mut client = self.client.clone();
        let answer = if pre { client.pre_vote(request).await } else { client.vote(request).await };
        answer.map(tonic::Response::into_inner)
    }

    /// Sends so many blank entries of a term, behind the one at `prev` (term, index).
    async fn append(&self, prev: (u64, u64), (term, count): (u64, u64)) -> Result<pb::AppendReply, Status> {
        let id = |(term, index): (u64, u64)| pb::LogId { term, index };
        let blank = |index| pb::Entry { id: Some(id((term, index))), payload: Some(Payload::Blank(true)) };
        let request = pb::AppendRequest {
            vote: Some(pb::Vote { term, node_id: self.envelope.from, committed: true }),
            prev: Some(id(prev)),
            commit: None,
            entries: (prev.1 + 1..=prev.1 + count).map(blank).collect(),
        };
        let request = self.envelope.wrap(stream::iter([request]), Duration::from_secs(10));
        let mut answers = self.client.clone().append(request).await?.into_inner();
        answers.message().await?.ok_or_else(|| Status::unavailable("no answer"))
    }

    /// Sends a snapshot, after `change` had its way with the stream.
    pub async fn send(
        &self,
        image: &Image,
        change: impl FnOnce(&mut Vec<Part>),
    ) -> Result<SnapshotReply, Status> {
        let mut parts = image.stream();
        change(&mut parts);
        let chunks = parts.into_iter().map(|part| pb::SnapshotChunk { part: Some(part) });
        let request = self.envelope.wrap(stream::iter(chunks), Duration::from_secs(20));
        self.client.clone().snapshot(request).await.map(tonic::Response::into_inner)
    }
}

fn head(parts: &mut [Part]) -> &mut pb::SnapshotHead {
    match parts.first_mut() {
        Some(Part::Head(head)) => head,
        _ => panic!("a stream begins with its head"),
    }
}

fn data(parts: &mut [Part], nth: usize) -> Vec<u8> {
    match &parts[nth] {
        Part::Data(data) => data.to_vec(),
        Part::Head(_) => panic!("the head is the first"),
    }
}

type Change = fn(&mut Vec<Part>);

/// What is done to a stream, what it must be refused with, and a word of the reason.
const BAD: [(&str, Change, Code, &str); 11] = [
    ("nothing", Vec::clear, Code::InvalidArgument, "head"),
    ("no head", |parts| drop(parts.remove(0)), Code::InvalidArgument, "head"),
    ("two heads", |parts| parts.insert(1, parts[0].clone()), Code::InvalidArgument, "one head"),
    ("no end", |parts| drop(parts.pop()), Code::DataLoss, "ended after"),
    ("too long", |parts| parts.push(Part::Data(vec![0; 10].into())), Code::InvalidArgument, "exceeds"),
    (
        "a flipped bit",
        |parts| parts[1] = Part::Data(flipped(data(parts, 1)).into()),
        Code::DataLoss,
        "damaged",
    ),
    ("noise", |parts| parts[1] = Part::Data(vec![0xa5; CHUNK].into()), Code::DataLoss, "damaged"),
    ("another place", |parts| head(parts).last = at(head(parts), 1), Code::DataLoss, "disagree"),
    ("no place", |parts| head(parts).last = None, Code::InvalidArgument, "covers nothing"),
    (
        "a candidate",
        |parts| set_vote(head(parts), |vote| vote.committed = false),
        Code::InvalidArgument,
        "elected",
    ),
    (
        "an older leader",
        |parts| set_vote(head(parts), |vote| vote.term -= 1),
        Code::InvalidArgument,
        "later term",
    ),
];

fn flipped(mut data: Vec<u8>) -> Vec<u8> {
    data[CHUNK / 2] ^= 1;
    data
}

fn at(head: &pb::SnapshotHead, further: u64) -> Option<pb::LogId> {
    head.last.map(|last| pb::LogId { index: last.index + further, ..last })
}

fn set_vote(head: &mut pb::SnapshotHead, change: fn(&mut pb::Vote)) {
    head.vote.iter_mut().for_each(change);
}

/// One member of three that is left alone, what its peers would say to it, and how far its log reaches.
async fn lonely() -> (Members, PeerCaller, u64) {
    let mut members = Members::start(|_| ()).await;
    members.stop(2).await;
    members.stop(3).await;
    let node = members.node(1).clone();
    let caller = PeerCaller::new(&members.config(1).members[&1].peer, node.header("").cluster_id);
    (members, caller, node.status().await.last_log_index)
}

async fn what_it_shows(members: &Members) -> Result<String, String> {
    let read = members.node(1).range(
        Range::new(KeyRange::key("from")),
        Consistency::from(Level::Eventual),
        CallOptions::default(),
    );
    let shown = read.await.map_err(|error| error.to_string())?.result.kvs;
    shown.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned()).ok_or("nothing".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn h8_a_bad_snapshot_is_refused_with_its_reason_and_the_member_stays_up() {
    let (members, peer, last) = lonely().await;
    let term = members.node(1).header("").term;
    let image = Image::of(members.config(1), term + 5, last + 10);
    for (what, change, code, word) in BAD {
        let refused = peer.send(&image, change).await.expect_err(what);
        assert_eq!(refused.code(), code, "{what}: {refused:?}");
        assert!(refused.message().contains(word), "{what}: {refused:?}");
        assert_eq!(what_it_shows(&members).await, Err("nothing".to_owned()), "{what}: nothing was installed");
        assert!(members.node(1).header("").term < term + 5, "{what}: Raft has not heard of it");
    }
    peer.send(&image, |_| ()).await.expect("control: the same snapshot unchanged is installed");
    assert_eq!(what_it_shows(&members).await.as_deref(), Ok("snapshot"));
    let leftovers = std::fs::read_dir(members.config(1).data_dir.join("snapshots")).expect("a directory");
    assert_eq!(leftovers.count(), 1, "the refused ones are gone");
}

/// A leader that steps down hangs up. Raft must find the file nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_hangs_up_while_its_snapshot_is_installed_harms_nobody() {
    let (members, peer, last) = lonely().await;
    let term = members.node(1).header("").term + 5;
    for patience in 0..25 {
        let image = Image::of(members.config(1), term, last + 10 + patience);
        let sending = peer.send(&image, |_| ());
        let _ = tokio::time::timeout(Duration::from_millis(patience), sending).await;
    }
    let image = Image::of(members.config(1), term, last + 100);
    peer.send(&image, |_| ()).await.expect("the member is up, and installs the last one");
    eventually("the state is there", SOON, async || what_it_shows(&members).await).await;
}

/// openraft takes its account of the log back when a snapshot replaces one that reaches further, and its own
/// check ends the member. What the snapshot covers is committed here instead, and the log stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_for_a_log_that_reaches_further_commits_what_it_covers() {
    let (members, peer, last) = lonely().await;
    let term = members.node(1).header("").term;
    let later = term + 5;
    peer.append((term, last), (later, 20)).await.expect("entries that nobody knows to be committed");
    let image = Image::of(members.config(1), later, last + 10);
    peer.send(&image, |_| ()).await.expect("the snapshot is answered");
    let status = members.node(1).status().await;
    assert_eq!(status.last_log_index, last + 20, "the log is as long as before");
    assert!(status.commit_index >= last + 10, "{} is committed", status.commit_index);
    peer.append((later, last + 20), (later, 1)).await.expect("the member is up, and goes on");
}
