//! The services `Lock` and `Election`, as a client without the recipes sees them.

use std::time::Duration;

use quorate::{
    error::Error,
    pb::{
        convert::{RequestKind, from_status},
        v1::{
            self, election_client::ElectionClient, lease_client::LeaseClient,
            lock_acquire_response::Progress, lock_client::LockClient, session_client::SessionClient,
        },
    },
};
use tonic::{Request, Status, transport::Channel};

use crate::support::{SOON, cluster::Cluster, eventually};

async fn session(channel: &Channel) -> u64 {
    let grant = v1::LeaseGrantRequest { ttl_ms: 600_000, ..Default::default() };
    let granted = LeaseClient::new(channel.clone()).grant(grant).await.expect("a lease");
    granted.into_inner().id
}

fn acquire(session_id: u64) -> v1::LockAcquireRequest {
    v1::LockAcquireRequest { name: "wire".into(), session_id, ..Default::default() }
}

async fn next<T>(stream: &mut tonic::Streaming<T>) -> T {
    let next = tokio::time::timeout(SOON, stream.message()).await.expect("told in time");
    next.expect("no error").expect("it goes on")
}

fn error(status: &Status) -> Error {
    from_status(status, "member", RequestKind::Read)
}

async fn places(lock: &mut LockClient<Channel>) -> Vec<v1::lock_inspect_response::Place> {
    let inspect = v1::LockInspectRequest { name: "wire".into() };
    lock.inspect(inspect).await.expect("an answer").into_inner().places
}

#[tokio::test]
async fn a_lock_is_queued_for_granted_inspected_and_released() {
    let cluster = Cluster::three().await;
    let channels = [1, 2, 3].map(|id| cluster.node(id).channel());
    let mut locks = channels.clone().map(LockClient::new);
    let first = acquire(session(&channels[0]).await);
    let mut stream = locks[0].acquire(first.clone()).await.expect("a stream").into_inner();
    let Some(Progress::Granted(held)) = next(&mut stream).await.progress else { panic!("it is free") };

    let second = acquire(session(&channels[1]).await);
    let tried = locks[1].try_acquire(second.clone()).await.expect("an answer").into_inner();
    assert_eq!(tried.held, None);
    let mut waiting = locks[1].acquire(second).await.expect("a stream").into_inner();
    let Some(Progress::Queued(queued)) = next(&mut waiting).await.progress else { panic!("it is held") };
    assert_eq!(queued.position, 1);
    let third = acquire(session(&channels[2]).await);
    let mut gone = locks[2].acquire(third).await.expect("a stream").into_inner();
    next(&mut gone).await;
    let seen = places(&mut locks[2]).await;
    assert_eq!(seen.iter().map(|place| place.holds).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(seen[0].fencing_token, held.fencing_token);

    // Who goes away gives the place up.
    drop(gone);
    eventually("the place is given up", SOON, async || match places(&mut locks[0].clone()).await.len() {
        2 => Ok(()),
        places => Err(format!("{places} places")),
    })
    .await;
    let release = v1::LockReleaseRequest {
        owner_key: held.owner_key.clone(),
        fencing_token: held.fencing_token,
        exactness: None,
    };
    locks[2].release(release.clone()).await.expect("it is held");
    let Some(Progress::Granted(next_held)) = next(&mut waiting).await.progress else { panic!("it is next") };
    assert!(next_held.fencing_token > held.fencing_token);
    let lost = locks[2].release(release).await.expect_err("twice");
    let (owner_key, token) = (held.owner_key, held.fencing_token);
    assert_eq!(error(&lost), Error::LockLost { owner_key, token, current_token: next_held.fencing_token });
}

/// Under a number in a session, what was done once is told again: also that it was not done again.
#[tokio::test]
async fn a_repeated_release_or_proclamation_is_answered_as_the_first() {
    let cluster = Cluster::three().await;
    let (channel, other) = (cluster.node(1).channel(), cluster.node(2).channel());
    let open = v1::SessionOpenRequest { ttl_ms: 600_000 };
    let opened = SessionClient::new(channel.clone()).open(open).await.expect("a session").into_inner();
    let number = |seq| {
        let session = Some(v1::SessionSeq { session_id: opened.session_id, seq, ack_below: 1 });
        Some(v1::Exactness { session, guards: Vec::new() })
    };
    let held = LockClient::new(channel.clone()).try_acquire(acquire(session(&channel).await)).await;
    let held = held.expect("an answer").into_inner().held.expect("it is free");
    let (owner_key, fencing_token) = (held.owner_key, held.fencing_token);
    let (value, exactness) = ("v".into(), number(1));
    let proclaim = v1::ProclaimRequest { owner_key: owner_key.clone(), fencing_token, value, exactness };
    let release = v1::LockReleaseRequest { owner_key, fencing_token, exactness: number(2) };
    let resign = v1::LockReleaseRequest { exactness: number(2), ..release.clone() };
    let mut told = Vec::new();
    for channel in [&channel, &other] {
        let proclaimed = ElectionClient::new(channel.clone()).proclaim(proclaim.clone()).await;
        told.push(proclaimed.expect("it leads").into_inner().write.expect("evidence"));
    }
    let released = LockClient::new(channel).release(release).await.expect("it is held");
    told.push(released.into_inner().write.expect("evidence"));
    let resigned = ElectionClient::new(other).resign(resign).await.expect("answered before");
    told.push(resigned.into_inner().write.expect("evidence"));
    assert_eq!(told.iter().map(|write| write.deduplicated).collect::<Vec<_>>(), [false, true, false, true]);
    assert!(told[0].log_index > 0 && told[2].log_index > told[0].log_index, "{told:?}");
}

#[tokio::test]
async fn a_wait_is_as_long_as_the_client_says_and_no_shorter() {
    // No call may take longer than two seconds, but a wait may.
    let flags = ["--timeout-max", "2s", "--default-timeout", "1s"].map(str::to_owned).to_vec();
    let spec = crate::support::cluster::Spec { flags, ..Default::default() };
    let cluster = Cluster::start(spec).await;
    let channel = cluster.node(1).channel();
    let mut lock = LockClient::new(channel.clone());
    let holder = acquire(session(&channel).await);
    let held = lock.try_acquire(holder).await.expect("an answer").into_inner().held.expect("it is free");

    let mut request = Request::new(acquire(session(&channel).await));
    request.set_timeout(Duration::from_millis(700));
    let mut short = lock.acquire(request).await.expect("a stream").into_inner();
    next(&mut short).await;
    let late = tokio::time::timeout(SOON, short.message()).await.expect("told").expect_err("too late");
    assert!(matches!(error(&late), Error::Deadline { .. }), "{late:?}");

    let mut long = lock.acquire(acquire(session(&channel).await)).await.expect("a stream").into_inner();
    next(&mut long).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (owner_key, fencing_token) = (held.owner_key, held.fencing_token);
    lock.release(v1::LockReleaseRequest { owner_key, fencing_token, exactness: None }).await.expect("held");
    let Some(Progress::Granted(_)) = next(&mut long).await.progress else { panic!("it is free") };
}

#[tokio::test]
async fn wrong_use_is_refused_with_its_reason() {
    let cluster = Cluster::three().await;
    let channel = cluster.node(2).channel();
    let mut lock = LockClient::new(channel.clone());
    let session = session(&channel).await;
    let permits = |permits| v1::LockMode { kind: v1::lock_mode::Kind::Permits.into(), permits };
    let mode = |mode| v1::LockAcquireRequest { mode: Some(mode), ..acquire(session) };
    for (request, reason) in [
        (acquire(0), "invalid"),
        (acquire(4711), "lease_not_found"),
        (v1::LockAcquireRequest { name: "".into(), ..acquire(session) }, "invalid"),
        (mode(permits(0)), "invalid"),
        (mode(permits(10_000_000)), "too_large"),
        (mode(v1::LockMode { kind: 9, permits: 0 }), "invalid"),
    ] {
        let refused = match lock.acquire(request).await {
            Ok(stream) => stream.into_inner().message().await.expect_err("refused"),
            Err(status) => status,
        };
        assert_eq!(error(&refused).reason(), reason);
    }
}

#[tokio::test]
async fn an_election_is_won_proclaimed_observed_and_resigned() {
    let cluster = Cluster::three().await;
    let channels = [1, 2, 3].map(|id| cluster.node(id).channel());
    let mut elections = channels.clone().map(ElectionClient::new);
    let observe = |after_revision| v1::ObserveRequest { name: "e".into(), after_revision };
    let mut leaders = elections[2].observe(observe(0)).await.expect("a stream").into_inner();
    assert_eq!(next(&mut leaders).await.leader, None);
    let candidate =
        v1::CampaignRequest { name: "e".into(), session_id: session(&channels[0]).await, value: "a".into() };
    let mut campaign = elections[0].campaign(candidate).await.expect("a stream").into_inner();
    let Some(Progress::Granted(held)) = next(&mut campaign).await.progress else { panic!("nobody else") };
    let (owner_key, fencing_token) = (held.owner_key, held.fencing_token);
    let proclaim = v1::ProclaimRequest {
        owner_key: owner_key.clone(),
        fencing_token,
        value: "b".into(),
        exactness: None,
    };
    elections[1].proclaim(proclaim.clone()).await.expect("it leads");
    let leader = v1::LeaderRequest { name: "e".into() };
    let leader = elections[2].leader(leader).await.expect("an answer").into_inner().leader.expect("one");
    assert_eq!((&leader.value[..], leader.create_revision), (&b"b"[..], fencing_token));
    let resign = v1::LockReleaseRequest { owner_key, fencing_token, exactness: None };
    elections[0].resign(resign).await.expect("it leads");
    let lost = elections[1].proclaim(proclaim).await.expect_err("it does not lead");
    assert_eq!(error(&lost).reason(), "lock_lost");

    let mut values = Vec::new();
    let mut resume = 0;
    for _ in 0..3 {
        let told = next(&mut leaders).await;
        resume = if values.is_empty() { told.header.expect("a header").revision } else { resume };
        values.push(told.leader.map(|kv| kv.value));
    }
    assert_eq!(values, [Some("a".into()), Some("b".into()), None]);
    let mut resumed = elections[0].observe(observe(resume)).await.expect("a stream").into_inner();
    assert_eq!(next(&mut resumed).await.leader.map(|kv| kv.value), Some("b".into()));
    assert_eq!(next(&mut resumed).await.leader, None);
}
