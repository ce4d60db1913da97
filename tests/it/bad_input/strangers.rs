//! Bytes that are no gRPC, and peers that belong elsewhere.

use std::time::Duration;

use futures::stream;
use quorate::pb::internal::{self, peer_client::PeerClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Request};

use super::{is_well, one_member};
use crate::support::cluster::Cluster;

/// Idle connections that one stranger opens.
const IDLE_CONNECTIONS: usize = 100;

async fn throw(addr: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    // The member may hang up at any time.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_millis(300), stream.read_to_end(&mut answer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_either_port_harms_nobody() {
    let cluster = one_member().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let noise: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let broken_frame = [&preface[..], &[0xff; 64]].concat();
    for addr in [cluster.client_addr(1), cluster.peer_addr(1)] {
        for bytes in [&noise[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &preface[..10], &broken_frame, b""] {
            throw(addr, bytes).await;
        }
    }
    is_well(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_idle_connections_do_not_keep_others_out() {
    let cluster = one_member().await;
    let mut idle = Vec::new();
    for addr in [cluster.client_addr(1), cluster.peer_addr(1)] {
        for _ in 0..IDLE_CONNECTIONS {
            idle.push(TcpStream::connect(addr).await.expect("a connection"));
        }
    }
    is_well(&cluster).await;
}

/// Asks for the cluster's vote in a term far ahead, as a peer with these papers.
async fn ask_for_vote(
    cluster: &Cluster,
    cluster_id: u64,
    to: u64,
) -> Result<internal::VoteReply, tonic::Status> {
    let addr = format!("http://{}", cluster.peer_addr(1));
    let mut peer = PeerClient::connect(addr).await.expect("a connection");
    let vote = internal::Vote { term: 1_000_000, node_id: 2, committed: false };
    let last = internal::LogId { term: 1_000_000, index: 1_000_000 };
    let mut request =
        Request::new(internal::VoteRequest { vote: Some(vote), last: Some(last), leadership_transfer: true });
    for (name, value) in [("quorate-cluster-id", cluster_id), ("quorate-from", 2), ("quorate-to", to)] {
        request.metadata_mut().insert(name, value.to_string().parse().expect("digits"));
    }
    peer.vote(request).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_another_cluster_or_for_another_member_is_refused() {
    let cluster = one_member().await;
    let header = cluster.node(1).status().await.expect("a status").header.expect("a header");
    for (cluster_id, to) in [(header.cluster_id ^ 1, 1), (header.cluster_id, 2)] {
        let refused = ask_for_vote(&cluster, cluster_id, to).await.expect_err("papers of another");
        assert_ne!(refused.code(), Code::Unknown, "{refused:?}");
        assert!(!refused.message().is_empty(), "{refused:?}");
    }
    let mut bare =
        PeerClient::connect(format!("http://{}", cluster.peer_addr(1))).await.expect("a connection");
    let append = stream::iter([internal::AppendRequest::default()]);
    bare.append(append).await.expect_err("a peer without papers");
    let said = cluster.log(1);
    let lines = said.lines().filter(|line| line.contains("refused a call at the port for peers"));
    let lines: Vec<_> = lines.collect();
    let claim = "\"from\":2";
    assert!(lines.len() == 1 && lines[0].contains(claim), "one line of three calls: {lines:?}");
    is_well(&cluster).await;
    let after = cluster.node(1).status().await.expect("a status").header.expect("a header");
    assert_eq!(after.term, header.term, "a stranger has moved the term");
}
