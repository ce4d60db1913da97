//! Elections: one leader, its value, and those who observe.

use std::time::Duration;

use futures::StreamExt;
use quorate::{
    Error, Node,
    recipes::{KvApi, Leadership, LockOptions, Recipes, election::LeaderStream},
    types::{CallOptions, ElectionLeader, Revision},
};

use super::fixture::Nodes;
use crate::support::SOON;

fn candidate(value: &str) -> LockOptions {
    LockOptions {
        ttl: Duration::from_secs(5),
        value: value.to_owned().into(),
        ..LockOptions::new("election")
    }
}

async fn elected(node: &Node, value: &str) -> Leadership<Node> {
    tokio::time::timeout(SOON, node.campaign(candidate(value))).await.expect("in time").expect("elected")
}

/// What an observer is told next: value, token, and the revision to resume from.
async fn next(leaders: &mut LeaderStream) -> (Option<(String, Revision)>, Revision) {
    let told = tokio::time::timeout(SOON, leaders.next()).await.expect("told in time");
    let ElectionLeader { header, leader } = told.expect("it goes on").expect("no error");
    let leader = leader.map(|kv| (String::from_utf8_lossy(&kv.value).into_owned(), kv.create_revision));
    (leader, header.revision)
}

#[tokio::test]
async fn an_observer_is_told_each_change_once_and_in_order_and_may_resume_anywhere() {
    let nodes = Nodes::three().await;
    let mut leaders = nodes.node(2).observe("election", 0).await.expect("observed");
    assert_eq!(next(&mut leaders).await.0, None);

    let first = elected(nodes.node(0), "a").await;
    let other = nodes.node(1).clone();
    let second = tokio::spawn(async move { elected(&other, "b").await });
    crate::support::eventually("the second candidate waits", SOON, async || {
        let places = nodes.pairs("election/").await.len();
        if places == 2 { Ok(()) } else { Err(format!("{places}")) }
    })
    .await;
    first.proclaim("a2").await.expect("it leads");
    first.proclaim("a2").await.expect("it leads");
    let (token, guard) = (first.token(), first.guard());
    first.resign().await.expect("it leads");
    let second = second.await.expect("no panic");
    let leader = nodes.node(0).leader_of("election").await.expect("an answer").leader.expect("a leader");
    assert_eq!((&leader.value[..], leader.create_revision), (&b"b"[..], second.token()));
    let late =
        quorate::recipes::election::proclaim(nodes.node(1), guard, "late".into(), CallOptions::default());
    assert!(
        matches!(late.await, Err(Error::LockLost { current_token, .. }) if current_token == second.token())
    );
    let epoch = second.token();
    second.resign().await.expect("it leads");

    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(next(&mut leaders).await);
    }
    let expected =
        [Some(("a".to_owned(), token)), Some(("a2".to_owned(), token)), Some(("b".to_owned(), epoch)), None];
    assert_eq!(told.iter().map(|(leader, _)| leader.clone()).collect::<Vec<_>>(), expected);
    for (at, (_, revision)) in told.iter().enumerate() {
        let mut resumed = nodes.node(at).observe("election", *revision).await.expect("resumed");
        for rest in &told[at + 1..] {
            assert_eq!(&next(&mut resumed).await, rest);
        }
        let quiet = tokio::time::timeout(Duration::from_millis(100), resumed.next()).await;
        assert!(quiet.is_err(), "nothing is left, nothing is told twice");
    }
}

#[tokio::test]
async fn a_proclaimed_value_goes_with_the_leader() {
    let nodes = Nodes::three().await;
    let leader = elected(nodes.node(0), "v").await;
    leader.proclaim("w").await.expect("it leads");
    nodes.revoke(leader.lease()).await;
    assert_eq!(nodes.node(1).leader_of("election").await.expect("an answer").leader, None);
    assert!(matches!(leader.proclaim("x").await, Err(Error::LockLost { current_token: 0, .. })));
    assert!(nodes.pairs("election").await.is_empty());
}

#[tokio::test]
async fn who_resumes_where_there_is_no_history_is_told_so() {
    let nodes = Nodes::three().await;
    let leader = elected(nodes.node(0), "v").await;
    leader.proclaim("w").await.expect("it leads");
    let revision = nodes.node(0).leader_of("election").await.expect("an answer").header.revision;
    nodes.node(0).compact(revision, CallOptions::default()).await.expect("compacted");
    let past = nodes.node(0).observe("election", 1).await.map(drop);
    assert!(matches!(past, Err(Error::Compacted { .. })), "{past:?}");
    let future = nodes.node(0).observe("election", revision + 1000).await.map(drop);
    assert!(matches!(future, Err(Error::FutureRevision { .. })), "{future:?}");
}
