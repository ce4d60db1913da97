//! The sending side of a snapshot: what it asks of the receiver, and what it makes of the answer.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex},
};

use openraft::{
    errors::StreamingError,
    network::{RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::SnapshotResponse,
};
use quorate::{
    env::Env,
    log::Position,
    pb::internal::peer_server::PeerServer,
    raft::{
        links::Links,
        network::Network,
        snapshots::{SnapshotFile, SnapshotStore},
        types::{Peer, Snapshot, TypeConfig, Vote},
    },
};
use tempfile::TempDir;
use tonic::{Request, Status};

use super::{
    bench::{config, promises},
    members::Recorder,
    snapshots::Image,
};
use crate::support::{SOON, eventually, ports};

/// Member 1, leader of this term, with a snapshot up to entry 9.
const TERM: u64 = 3;

struct Sender {
    image: Image,
    snapshots: Arc<SnapshotStore>,
    _dir: TempDir,
}

type Sent = Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>>;

impl Sender {
    fn new() -> Sender {
        let dir = tempfile::tempdir().expect("a directory");
        let snapshots = Arc::new(SnapshotStore::open(dir.path().join("snapshots")).expect("a directory"));
        let sender = Sender { image: Image::of(&config(), TERM, 9), snapshots, _dir: dir };
        sender.publish(&sender.image.bytes);
        sender
    }

    fn publish(&self, bytes: &[u8]) {
        let path = self.snapshots.unfinished();
        std::fs::write(&path, bytes).expect("a file");
        self.snapshots.publish(&path, Position { term: TERM, index: 9 }).expect("it is published");
    }

    fn file(&self) -> Option<SnapshotFile> {
        self.snapshots.newest().expect("a directory")
    }

    /// Sends what it has to member 2 at `addr`.
    async fn send(&self, addr: &str) -> Sent {
        let links = Links::new(1, 7, Env::real().net(), BTreeMap::new());
        let (snapshots, promises) = (self.snapshots.clone(), promises(&config()));
        let mut network =
            Network { links: Arc::new(links), me: 1, snapshots, promises, append_timeout: SOON };
        let peer = Peer { peer_addr: addr.to_owned(), client_addr: String::new() };
        let mut peer = network.new_client(2, &peer).await;
        let snapshot = Snapshot { meta: self.image.meta(), snapshot: self.file().expect("a snapshot") };
        let vote = Vote::new_committed(TERM, 1);
        peer.full_snapshot(vote, snapshot, pending(), RPCOption::new(SOON)).await
    }
}

/// The deadlines that a member was given, call by call.
type Deadlines = Arc<Mutex<Vec<Option<String>>>>;

/// A member that answers every call with `answer`; its address, and the deadlines of the calls.
async fn answering(answer: Status) -> (String, Deadlines) {
    let (addr, deadlines) = (ports::free_addr(), Deadlines::default());
    let noted = deadlines.clone();
    let note = move |request: Request<()>| {
        let deadline = request.metadata().get("grpc-timeout").map(|value| format!("{value:?}"));
        noted.lock().expect("no panic").push(deadline);
        Err::<Request<()>, _>(answer.clone())
    };
    let service = PeerServer::with_interceptor(Recorder::default(), note);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve(addr.parse().expect("an address")));
    let listening = async || tokio::net::TcpStream::connect(&addr).await.map_err(|error| error.to_string());
    eventually("it listens", SOON, listening).await;
    (addr, deadlines)
}

/// It was 300 s for transfer and installation together: a snapshot that takes longer never arrived.
#[tokio::test]
async fn a_snapshot_is_sent_without_a_deadline_for_the_whole() {
    let sender = Sender::new();
    let (addr, deadlines) = answering(Status::unavailable("not now")).await;
    let error = sender.send(&addr).await.expect_err("a refusal");
    assert!(error.to_string().contains("not now"), "the answer counts, not that the stream broke: {error}");
    assert_eq!(*deadlines.lock().expect("no panic"), [None], "one call, without a deadline");
}

#[tokio::test]
async fn a_snapshot_that_a_peer_calls_damaged_is_set_aside_if_it_is() {
    let sender = Sender::new();
    let (addr, _) = answering(Status::data_loss("damaged snapshot")).await;
    sender.send(&addr).await.expect_err("a refusal");
    assert!(sender.file().is_some() && !sender.snapshots.wanting(), "the line was bad, the file is not");

    let mut bytes = sender.image.bytes.clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    sender.publish(&bytes);
    let (other, _) = answering(Status::unavailable("not now")).await;
    sender.send(&other).await.expect_err("a refusal");
    assert!(sender.file().is_some(), "nobody has complained");
    sender.send(&addr).await.expect_err("a refusal");
    assert!(sender.file().is_none() && sender.snapshots.wanting(), "it would be sent for ever");
    sender.publish(&sender.image.bytes);
    assert!(!sender.snapshots.wanting(), "a new one takes its place");
}
