//! Writes of a session whose connections are cut after sending: each is applied once, across leader
//! changes and snapshot installs. Every write puts the writer's own key once more, so that the key's
//! version counts how often it was applied. 600 writes by default; `QUORATE_RETRIED_WRITES=10000` is the
//! long run.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use quorate::{
    client::{Client, ClientBuilder},
    env::{BoxIo, Env, Listening, Net, SystemClock, Tcp},
    error::Error,
    recipes::{KvApi, LeaseApi},
    types::{CallOptions, Put, SessionSeq},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::JoinSet,
};

use crate::support::{
    SOON,
    cluster::{Cluster, Spec},
    eventually, setting,
};

/// One in so many writes to a connection is its last: what it carried arrives, and no answer comes back.
const CUT_ONE_IN: u64 = 40;

const WRITERS: u64 = 16;

/// A network whose connections break after they have sent something.
struct Breaking {
    cuts: Arc<AtomicU64>,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Net for Breaking {
    fn dial(&self, addr: String) -> BoxFuture<io::Result<BoxIo>> {
        let cuts = self.cuts.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            Ok(BoxIo::new(Brittle { stream, broken: AtomicBool::new(false), cuts }))
        })
    }

    fn listen(&self, addr: String) -> BoxFuture<io::Result<Listening>> {
        Tcp.listen(addr)
    }
}

struct Brittle {
    stream: TcpStream,
    broken: AtomicBool,
    cuts: Arc<AtomicU64>,
}

impl AsyncWrite for Brittle {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if matches!(written, Poll::Ready(Ok(_))) && rand::random_ratio(1, CUT_ONE_IN as u32) {
            self.broken.store(true, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Brittle {
    /// The next answer finds the connection broken.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let broken = self.broken.load(Ordering::Relaxed);
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if broken && read.is_ready() {
            self.cuts.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}

/// A client over a breaking network, and how often it broke.
fn brittle_client(cluster: &Cluster, pipeline_above: usize) -> (Client, Arc<AtomicU64>) {
    let cuts = Arc::new(AtomicU64::new(0));
    let net = Arc::new(Breaking { cuts: cuts.clone() });
    let env = Env::new(Arc::new(SystemClock), net, Arc::new(rand::random));
    let builder = ClientBuilder::new(cluster.endpoints()).retry_budget(u32::MAX).env(env);
    let client = builder.pipeline_above(pipeline_above).build();
    (client.expect("a client"), cuts)
}

/// Puts the writer's key so many times; how many answers were stored ones.
async fn write(client: Client, writer: u64, times: u64) -> u64 {
    let mut stored = 0;
    for _ in 0..times {
        let put = Put { key: format!("counter/{writer}").into(), value: "x".into(), ..Put::default() };
        let options = CallOptions { timeout: Some(Duration::from_secs(60)), ..CallOptions::default() };
        let answer = client.put(put, options).await.expect("a write of a session is repeated until answered");
        stored += u64::from(answer.write.deduplicated);
    }
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_whose_connections_are_cut_are_applied_once() {
    cut_and_count(usize::MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_whose_pipelines_are_cut_are_applied_once() {
    cut_and_count(0).await;
}

/// Calls above that number go through pipelines.
async fn cut_and_count(pipeline_above: usize) {
    let each = setting("QUORATE_RETRIED_WRITES", 600) / WRITERS;
    let flags = ["--snapshot-log-bytes", "16384", "--log-entries-kept", "20"];
    let flags = flags.map(str::to_owned).to_vec();
    let mut cluster = Cluster::start(Spec { flags, ..Spec::default() }).await;
    let (client, cuts) = brittle_client(&cluster, pipeline_above);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(client.clone(), writer, each));
    }
    let (mut stored, mut kills) = (0, 0);
    while !writers.is_empty() {
        tokio::select! {
            ended = writers.join_next() => {
                stored += ended.map_or(0, |ended| ended.expect("a writer does not panic"));
            }
            () = tokio::time::sleep(Duration::from_secs(3)) => {
                // Away for long enough that the others may have purged what it lacks.
                let leader = cluster.leader().await;
                cluster.kill(leader);
                kills += 1;
                cluster.leader_other_than(leader).await;
                cluster.launch(leader, &[]);
                cluster.wait_ready(leader).await;
            }
        }
    }
    let cuts = cuts.load(Ordering::Relaxed);
    println!("{} writes, {cuts} cuts, {kills} leaders killed, {stored} stored answers", each * WRITERS);
    assert!(cuts > 0 && stored > 0, "nothing was cut after sending: {cuts} cuts, {stored} stored answers");
    for id in cluster.ids() {
        for writer in 0..WRITERS {
            let key = format!("counter/{writer}");
            eventually(&format!("member {id} has all of {key}"), SOON, async || {
                let node = cluster.node(id);
                let read = node.get(&key, quorate::types::Level::Linearizable).await;
                let version =
                    read.map_err(|error| error.to_string())?.result.kvs.first().map_or(0, |kv| kv.version);
                assert!(version <= each, "{key} was applied {version} times, for {each} writes");
                if version == each { Ok(()) } else { Err(format!("{version} of {each}")) }
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_an_error_and_nothing_is_applied() {
    let cluster = Cluster::three().await;
    let client = crate::support::load::connect(&cluster);
    let lease = client
        .grant(
            quorate::types::Grant { id: 0, ttl: Duration::from_secs(60), session: false },
            CallOptions::default(),
        )
        .await
        .expect("a lease")
        .result
        .id;
    let put = || Put { key: "never".into(), value: "x".into(), ..Put::default() };
    // A lease that is no session, and a session that never was.
    for id in [lease, 4711] {
        let session = Some(SessionSeq { id, seq: 1, ack_below: 1 });
        let refused = client.put(put(), CallOptions { session, ..CallOptions::default() }).await;
        assert_eq!(refused, Err(Error::SessionExpired(id)));
    }
    // The client's own session ends from outside: the next write goes on in another.
    client.put(put(), CallOptions::default()).await.expect("in a session");
    let sessions = client.leases(0, 0, CallOptions::default()).await.expect("a list").leases;
    for session in sessions.iter().filter(|lease| lease.session) {
        let revoke = CallOptions { session: None, ..CallOptions::default() };
        let other = ClientBuilder::new(cluster.endpoints()).sessions(false).build().expect("a client");
        other.revoke(session.id, revoke).await.expect("revoked");
    }
    let again = client.put(put(), CallOptions::default()).await.expect("in another session");
    assert!(!again.write.deduplicated);
}
