//! The client against scripted members on real sockets: what it repeats, what it does not, and what it says.

use std::{
    collections::VecDeque,
    net::{SocketAddr, TcpListener as StdListener},
};

use futures::stream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tonic::{Request, Response, Status, transport::Server};

use super::*;
use crate::{
    error::LeaderHint,
    pb::{
        convert::to_status,
        v1::{
            self,
            kv_server::{Kv, KvServer},
            session_server::{Session, SessionServer},
        },
    },
    recipes::KvApi,
    types::{
        CallOptions, Evidence, Header, KeyRange, Level, Mechanism, MemberRole, Put, Range, RangeAnswer,
        RangeResult, Scan, SessionSeq, Waited, WriteAnswer,
    },
};

/// What a scripted member does with a call.
enum Act {
    Answer,
    Fail(Error),
    /// Never answers.
    Hang,
}

/// What a scripted member was asked.
#[derive(Clone, Debug, Default)]
struct Seen {
    request_id: String,
    timeout: String,
    level: i32,
    session: Option<v1::SessionSeq>,
}

/// A member that follows a script, and answers when it has come to its end.
#[derive(Clone)]
struct Member {
    id: u64,
    script: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Member {
    /// A member that listens, and its address.
    async fn start(id: u64, script: impl IntoIterator<Item = Act>) -> (Member, String) {
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        let member = Member { id, script, seen: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = Server::builder().add_service(KvServer::new(member.clone()));
        let server = server.add_service(SessionServer::new(Unheard));
        tokio::spawn(server.serve_with_incoming(incoming));
        (member, address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    async fn act<M>(
        &self,
        request: &Request<M>,
        (level, session): (i32, Option<v1::SessionSeq>),
    ) -> Result<Header, Status> {
        let text = |name: &str| {
            let value = request.metadata().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (request_id, timeout) = (text("x-request-id"), text("grpc-timeout"));
        self.seen.lock().expect("no panic").push(Seen { request_id, timeout, level, session });
        let act = self.script.lock().expect("no panic").pop_front();
        match act {
            Some(Act::Fail(error)) => Err(to_status(&error, "")),
            Some(Act::Hang) => {
                sleep(Duration::from_secs(600)).await;
                Err(Status::internal("the test hangs"))
            }
            Some(Act::Answer) | None => Ok(Header { member_id: self.id, term: 1, ..Header::default() }),
        }
    }
}

fn evidence(served_by: u64, level: Level) -> Evidence {
    Evidence {
        level_asked: level,
        level_served: level,
        mechanism: Mechanism::Local,
        served_by,
        role: MemberRole::Follower,
        leader_id: None,
        read_index: None,
        staleness_bound: None,
        leader_contact_age: None,
        waited: Waited::default(),
    }
}

#[tonic::async_trait]
impl Kv for Member {
    type ScanStream = stream::Empty<Result<v1::ScanResponse, Status>>;
    type PipelineStream = stream::Empty<Result<v1::PipelineResponse, Status>>;

    async fn range(&self, request: Request<v1::RangeRequest>) -> Result<Response<v1::RangeResponse>, Status> {
        let level = request.get_ref().consistency.as_ref().map_or(0, |consistency| consistency.level);
        let header = self.act(&request, (level, None)).await?;
        let evidence = evidence(self.id, Level::Linearizable);
        Ok(Response::new(RangeAnswer { header, result: RangeResult::default(), evidence }.into()))
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        let session = request.get_ref().exactness.as_ref().and_then(|exactness| exactness.session);
        let header = self.act(&request, (0, session)).await?;
        Ok(Response::new(WriteAnswer { header, result: None, write: Default::default() }.into()))
    }

    async fn scan(&self, _: Request<v1::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        Ok(Response::new(stream::empty()))
    }

    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn txn(&self, _: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn compact(&self, _: Request<v1::CompactRequest>) -> Result<Response<v1::CompactResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn pipeline(
        &self,
        _: Request<tonic::Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        Err(Status::unimplemented("of an earlier version"))
    }
}

/// Sessions whose answers are lost on the way.
struct Unheard;

#[tonic::async_trait]
impl Session for Unheard {
    type KeepAliveStream = stream::Empty<Result<v1::LeaseKeepAliveResponse, Status>>;

    async fn open(
        &self,
        _: Request<v1::SessionOpenRequest>,
    ) -> Result<Response<v1::SessionOpenResponse>, Status> {
        Err(Status::unavailable("lost"))
    }

    async fn keep_alive(
        &self,
        _: Request<tonic::Streaming<v1::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::KeepAliveStream>, Status> {
        Ok(Response::new(stream::empty()))
    }

    async fn close(
        &self,
        _: Request<v1::SessionCloseRequest>,
    ) -> Result<Response<v1::SessionCloseResponse>, Status> {
        Err(Status::unavailable("lost"))
    }
}

/// An address where nobody listens.
fn closed_port() -> String {
    let listener = StdListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

const MARK: &[u8] = b"the request has arrived";

/// In front of a member: drops the connection as soon as a request with [`MARK`] comes in.
async fn dropper() -> String {
    let (_, member) = Member::start(9, []).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.expect("a connection");
            let behind = TcpStream::connect(&member).await.expect("the member");
            tokio::spawn(pass_until_mark(connection, behind));
        }
    });
    address.to_string()
}

async fn pass_until_mark(mut client: TcpStream, mut member: TcpStream) {
    let (mut bytes, mut asked, mut answered) = (Vec::new(), [0; 4096], [0; 4096]);
    while !bytes.windows(MARK.len()).any(|window| window == MARK) {
        tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(0) | Err(_) => return,
                Ok(read) => {
                    bytes.extend_from_slice(&asked[..read]);
                    member.write_all(&asked[..read]).await.expect("the member reads");
                }
            },
            read = member.read(&mut answered) => {
                let read = read.expect("the member answers");
                client.write_all(&answered[..read]).await.expect("the client reads");
            }
        }
    }
}

/// A member that is frozen: the kernel accepts connections for it, and nobody answers.
fn frozen() -> (StdListener, String) {
    let listener = StdListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, address)
}

/// A client that asks the endpoints in this order.
fn client(endpoints: &[&str]) -> Client {
    let client = ClientBuilder::new(endpoints.iter().copied()).sessions(false).build().expect("a client");
    *client.view() = View::new(endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect(), 0);
    client
}

fn put() -> Put {
    Put { key: "k".into(), value: MARK.into(), ..Put::default() }
}

fn range() -> Range {
    Range::new(KeyRange::key(MARK))
}

fn within(millis: u64) -> CallOptions {
    let timeout = Some(Duration::from_millis(millis));
    CallOptions { timeout, request_id: Some("the-id".into()), ..CallOptions::default() }
}

#[tokio::test]
async fn a_write_that_was_not_sent_is_sent_elsewhere() {
    let (member, address) = Member::start(1, []).await;
    let client = client(&[&closed_port(), &address]);
    client.put(put(), within(5000)).await.expect("written");
    assert_eq!(member.seen().len(), 1);
}

#[tokio::test]
async fn a_member_without_pipelines_gets_calls_of_their_own() {
    let (member, address) = Member::start(1, []).await;
    let builder = ClientBuilder::new([address]).sessions(false).retry_budget(0).pipeline_above(0);
    let client = builder.build().expect("a client");
    client.put(put(), within(5000)).await.expect("written");
    client.range(range(), Level::Linearizable.into(), within(5000)).await.expect("read");
    assert_eq!(member.seen().len(), 2);
}

#[tokio::test]
async fn a_write_that_was_sent_and_lost_is_not_repeated() {
    let (member, address) = Member::start(1, []).await;
    let client = client(&[&dropper().await, &address]);
    let error = client.put(put(), within(5000)).await.expect_err("lost");
    assert!(matches!(error, Error::Connection { maybe_committed: true, .. }), "{error:?}");
    assert_eq!(member.seen().len(), 0, "nobody else was asked");
}

/// A write with a number in a session.
fn numbered(millis: u64) -> CallOptions {
    CallOptions { session: Some(SessionSeq { id: 7, seq: 3, ack_below: 2 }), ..within(millis) }
}

#[tokio::test]
async fn a_write_of_a_session_that_was_sent_and_lost_is_repeated_under_its_number() {
    let (member, address) = Member::start(1, []).await;
    let client = client(&[&dropper().await, &address]);
    client.put(put(), numbered(5000)).await.expect("written");
    let named: Vec<_> = member.seen().iter().map(|seen| seen.session).collect();
    let number = v1::SessionSeq { session_id: 7, seq: 3, ack_below: 2 };
    assert_eq!(named, [Some(number)]);
}

#[tokio::test]
async fn a_write_of_a_session_is_repeated_after_any_error_and_what_it_is_answered_is_final() {
    let unknown = || Act::Fail(Error::UnknownOutcome("the leader changed".into()));
    let lost = Error::LockLost { owner_key: "k".into(), token: 3, current_token: 5 };
    let (member, address) = Member::start(1, [unknown(), unknown()]).await;
    client(&[&address]).put(put(), numbered(5000)).await.expect("written");
    assert_eq!(member.seen().len(), 3);
    let (_, address) = Member::start(1, [unknown(), Act::Fail(lost.clone())]).await;
    assert_eq!(client(&[&address]).put(put(), numbered(5000)).await, Err(lost), "not an unknown outcome");
}

#[tokio::test]
async fn a_refusal_before_anything_was_applied_does_not_hide_an_unknown_outcome() {
    let unknown = || Error::UnknownOutcome("the leader changed".into());
    let too_large = Error::TooLarge { what: "limits.value_bytes_max".into(), limit: 1, actual: 2 };
    for refusal in [Error::Invalid("the key is empty".into()), too_large] {
        let (_, address) = Member::start(1, [Act::Fail(unknown()), Act::Fail(refusal.clone())]).await;
        let answer = client(&[&address]).put(put(), numbered(5000)).await;
        assert_eq!(answer, Err(unknown()), "another member's limits said {refusal}");
        let (_, address) = Member::start(1, [Act::Fail(refusal.clone())]).await;
        assert_eq!(client(&[&address]).put(put(), numbered(5000)).await, Err(refusal));
    }
}

#[tokio::test]
async fn a_session_whose_opening_was_lost_says_that_nothing_was_written() {
    let (member, address) = Member::start(1, []).await;
    let client = ClientBuilder::new([address]).retry_budget(0).build().expect("a client");
    let error = client.put(put(), within(5000)).await.expect_err("no session");
    assert!(!error.maybe_committed(), "the write was not sent: {error:?}");
    assert_eq!(member.seen().len(), 0);
}

#[tokio::test]
async fn a_session_that_ended_under_a_write_leaves_its_outcome_unknown() {
    let unknown = || Error::UnknownOutcome("the leader changed".into());
    let ended = || Act::Fail(Error::SessionExpired(7));
    let (_, address) = Member::start(1, [Act::Fail(unknown()), ended()]).await;
    assert_eq!(client(&[&address]).put(put(), numbered(5000)).await, Err(unknown()));
    let (_, address) = Member::start(1, [ended()]).await;
    let error = client(&[&address]).put(put(), numbered(5000)).await;
    assert_eq!(error, Err(Error::SessionExpired(7)), "nothing was done");
}

#[tokio::test]
async fn a_write_is_not_sent_to_a_member_that_shows_no_life() {
    let (member, address) = Member::start(1, []).await;
    let (_listener, frozen) = frozen();
    client(&[&frozen, &address]).put(put(), within(1000)).await.expect("written elsewhere");
    assert_eq!(member.seen().len(), 1);
    let error = client(&[&frozen]).put(put(), within(300)).await.expect_err("nobody there");
    assert!(matches!(error, Error::Connection { maybe_committed: false, .. }), "{error:?}");
}

#[tokio::test]
async fn a_definite_refusal_is_not_traded_for_an_unknown_outcome() {
    let refusals = || std::iter::repeat_with(|| Act::Fail(Error::NoQuorum)).take(100);
    let (_, address) = Member::start(1, refusals()).await;
    let client = client(&[&closed_port(), &address, &closed_port()]);
    assert_eq!(client.put(put(), within(400)).await, Err(Error::NoQuorum), "not the dead members");
}

#[tokio::test]
async fn a_read_that_was_lost_is_repeated_elsewhere_at_the_same_level() {
    let (member, address) = Member::start(1, []).await;
    let client = client(&[&dropper().await, &address]);
    client.range(range(), Level::Linearizable.into(), within(5000)).await.expect("read");
    let levels: Vec<_> = member.seen().iter().map(|seen| seen.level).collect();
    assert_eq!(levels, [i32::from(v1::Level::Linearizable)]);
}

#[tokio::test]
async fn an_unknown_outcome_is_not_repeated() {
    let unknown = || Error::UnknownOutcome("the leader changed".into());
    let (member, address) = Member::start(1, [Act::Fail(unknown())]).await;
    let error = client(&[&address]).put(put(), within(5000)).await.expect_err("unknown");
    assert_eq!(error, unknown());
    assert_eq!(member.seen().len(), 1);
}

#[tokio::test]
async fn a_hint_leads_to_the_leader_with_the_same_request_id() {
    let (leader, leader_address) = Member::start(2, []).await;
    let hint = LeaderHint { id: 2, client_addr: leader_address.clone() };
    let refusal = Error::NotLeader { leader: Some(hint) };
    let (follower, follower_address) = Member::start(1, [Act::Fail(refusal)]).await;
    let client = client(&[&follower_address, &closed_port(), &leader_address]);
    client.put(put(), within(5000)).await.expect("written");
    client.put(put(), CallOptions::default()).await.expect("written");
    assert_eq!(follower.seen().len(), 1, "the second write went to the leader at once");
    let seen = leader.seen();
    assert_eq!((seen.len(), seen[0].request_id.as_str()), (2, "the-id"));
    assert_eq!(follower.seen()[0].request_id, "the-id");
    assert_eq!(seen[1].request_id.len(), 16, "a fresh one");
}

#[tokio::test]
async fn a_leaderless_time_is_waited_out() {
    let script = || [Act::Fail(Error::NoLeader), Act::Fail(Error::NoQuorum), Act::Answer];
    let (member, address) = Member::start(1, script()).await;
    client(&[&address]).put(put(), within(5000)).await.expect("written");
    assert_eq!(member.seen().len(), 3);

    let (_, address) = Member::start(1, script()).await;
    let never = ClientBuilder::new([address]).sessions(false).retry_budget(0).build().expect("a client");
    assert_eq!(never.put(put(), within(5000)).await, Err(Error::NoLeader));
}

#[tokio::test]
async fn who_is_too_stale_is_not_asked_again_and_again() {
    let stale = || Error::TooStale { have: None, want: Duration::from_millis(5) };
    let (first, first_address) = Member::start(1, [Act::Fail(stale())]).await;
    let (second, second_address) = Member::start(2, [Act::Fail(stale())]).await;
    let client = client(&[&first_address, &closed_port(), &second_address]);
    let answer = client.range(range(), Level::Linearizable.into(), within(5000)).await;
    assert_eq!(answer, Err(stale()));
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1), "each was asked once");
}

#[tokio::test]
async fn one_deadline_covers_all_attempts_and_is_sent_along() {
    let script = [Act::Fail(Error::NoLeader), Act::Hang];
    let (member, address) = Member::start(1, script).await;
    let client = client(&[&address]);
    let call = client.put(put(), within(300));
    let error = timeout(Duration::from_secs(5), call).await.expect("does not hang").expect_err("late");
    assert!(matches!(error, Error::Deadline { maybe_committed: true, .. }), "{error:?}");
    let micros = |text: &str| text.trim_end_matches('u').parse::<u64>().expect("microseconds");
    let sent: Vec<_> = member.seen().iter().map(|seen| micros(&seen.timeout)).collect();
    assert!(sent[1] < sent[0] && sent[0] <= 300_000, "{sent:?}");
}

#[tokio::test]
async fn a_member_that_hangs_does_not_hold_up_reads() {
    let (_, hangs) = Member::start(1, [Act::Hang]).await;
    let (_, answers) = Member::start(2, []).await;
    let client = client(&[&hangs, &answers]);
    let answer = client.range(range(), Level::Linearizable.into(), within(1000)).await.expect("read");
    assert_eq!(answer.header.member_id, 2);
}

#[tokio::test]
async fn nobody_there_is_said_within_the_deadline() {
    let dead = [closed_port(), closed_port()];
    let client = client(&[&dead[0], &dead[1]]);
    let call = client.range(range(), Level::Eventual.into(), within(300));
    let error = timeout(Duration::from_secs(5), call).await.expect("does not hang").expect_err("nobody");
    assert!(matches!(error, Error::Connection { maybe_committed: false, .. }), "{error:?}");
    let text = error.to_string();
    assert!(dead.iter().all(|address| text.contains(address)), "each is named: {text}");
    assert_eq!(text.matches("refused").count(), 1, "the reason once: {text}");
}

#[tokio::test]
async fn a_scan_without_an_answer_is_an_error() {
    let (_, address) = Member::start(1, []).await;
    let scan = Scan { keys: KeyRange::all(), revision: 0, keys_only: false };
    let answer = client(&[&address]).scan(scan, Level::Eventual.into(), within(1000)).await;
    assert!(matches!(answer.map(|answer| answer.header), Err(Error::Protocol(_))));
}

#[tokio::test]
async fn bad_request_ids_are_refused_before_anything_is_sent() {
    for (id, reason) in
        [("", "invalid"), ("a b", "invalid"), ("é", "invalid"), (&"x".repeat(65), "too_large")]
    {
        let options = CallOptions { request_id: Some(id.to_owned()), ..CallOptions::default() };
        let error = client(&["127.0.0.1:1"]).put(put(), options).await.expect_err(id);
        assert_eq!(error.reason(), reason, "{id:?}");
    }
}

#[test]
fn endpoints_are_checked_and_duplicates_dropped() {
    for bad in ["", "host", "host:", ":1", "host:99999", "http://host:1", "ho st:1", "host:1/path"] {
        assert!(matches!(Client::connect([bad]), Err(Error::Invalid(_))), "{bad:?}");
    }
    assert!(Client::connect(Vec::<String>::new()).is_err());
    let many: Vec<_> = (1..=65).map(|port| format!("host:{port}")).collect();
    assert!(matches!(Client::connect(many), Err(Error::TooLarge { limit: 64, actual: 65, .. })));
    let client = Client::connect(["a:1", "b:1", "a:1", "[::1]:2"]).expect("a client");
    assert_eq!(client.endpoints(), ["a:1", "b:1", "[::1]:2"]);
}
