//! A request's id in the logs of every member that it touches, and in no other field than `request_id`.

use crate::support::{
    SOON,
    cluster::{Cluster, Spec},
    eventually,
};

/// The messages that a member has logged about a request.
fn told(cluster: &Cluster, id: u64, request_id: &str) -> Vec<String> {
    let field = format!("\"request_id\":\"{request_id}\"");
    let message = |line: &str| {
        let (_, rest) = line.split_once("\"message\":\"")?;
        rest.split_once('"').map(|(message, _)| message.to_owned())
    };
    cluster.log(id).lines().filter(|line| line.contains(&field)).filter_map(message).collect()
}

/// Waits until a member's log tells all of these about a request, in this order.
async fn tells(cluster: &Cluster, id: u64, request_id: &str, story: &[&str]) {
    eventually(&format!("member {id} tells {story:?} of {request_id}"), SOON, async || {
        let told = told(cluster, id, request_id);
        let mut rest = told.iter();
        let all = story.iter().all(|part| rest.any(|said| said == part));
        if all { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_can_be_followed_through_the_logs_of_all_members() {
    let flags = ["--log-level", "quorate=debug"].map(str::to_owned).to_vec();
    let cluster = Cluster::start(Spec { flags, ..Spec::default() }).await;
    let leader = cluster.leader().await;
    let followers: Vec<_> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    let (entry, other) = (followers[0], followers[1]);

    cluster.cli_at(entry, &["--request-id", "a-put", "put", "k", "v"]).expect(0);
    tells(&cluster, entry, "a-put", &["received", "forwarding to the leader", "answered"]).await;
    tells(&cluster, leader, "a-put", &["a peer forwards a write", "proposing", "applying"]).await;
    for follower in [entry, other] {
        tells(&cluster, follower, "a-put", &["applying"]).await;
    }

    cluster.cli_at(entry, &["--request-id", "a-get", "get", "k"]).expect(0);
    tells(&cluster, entry, "a-get", &["received", "asking the leader for a read index", "answered"]).await;
    tells(&cluster, leader, "a-get", &["a peer asks for a read index"]).await;
    assert_eq!(told(&cluster, other, "a-get"), Vec::<String>::new(), "it had no part in the read");
}
