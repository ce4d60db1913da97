//! What is said to those who use locks wrongly.

use std::time::Duration;

use quorate::{
    Error,
    recipes::{KvApi, LockOptions, Recipes, election, lock},
    types::{Acquire, CallOptions, Guard, LockMode, Put},
};

use super::fixture::{LONG, Nodes, acquire_of};

async fn refused(nodes: &Nodes, asked: Acquire) -> Error {
    let refused = lock::acquire(nodes.node(0), asked.clone(), CallOptions::default()).await.err();
    let tried = lock::try_acquire(nodes.node(1), asked, CallOptions::default()).await.err();
    let refused = refused.expect("it is refused");
    assert_eq!(Some(refused.reason()), tried.map(|error| error.reason()), "both say the same");
    refused
}

#[tokio::test]
async fn what_cannot_be_a_lock_is_refused_with_the_reason() {
    let nodes = Nodes::three().await;
    let session = nodes.lease(LONG).await;
    let asked = |name: &str, mode| acquire_of(name, session, mode);
    let invalid = |error: &Error, words: &str| {
        assert!(matches!(error, Error::Invalid(why) if why.contains(words)), "{error:?}");
    };
    invalid(&refused(&nodes, asked("", LockMode::Exclusive)).await, "name is empty");
    invalid(&refused(&nodes, asked("l", LockMode::Permits(0))).await, "permits is 0");
    invalid(&refused(&nodes, acquire_of("l", 0, LockMode::Exclusive)).await, "session is 0");
    let many = refused(&nodes, asked("l", LockMode::Permits(10_000_000))).await;
    let what = "limits.lock_permits_max".to_owned();
    assert_eq!(many, Error::TooLarge { what, limit: 100_000, actual: 10_000_000 });
    let long = refused(&nodes, asked(&"l".repeat(9000), LockMode::Exclusive)).await;
    assert!(matches!(long, Error::TooLarge { limit: 8192, actual: 9000.., .. }), "{long:?}");
    assert_eq!(refused(&nodes, acquire_of("l", 4711, LockMode::Shared)).await, Error::LeaseNotFound(4711));

    nodes.ask_as(0, session, asked("l", LockMode::Exclusive)).await.expect("free").held();
    invalid(&refused(&nodes, asked("l", LockMode::Shared)).await, "has a place in this queue as exclusive");

    nodes.revoke(session).await;
    assert_eq!(refused(&nodes, asked("l", LockMode::Exclusive)).await, Error::LeaseNotFound(session));
    assert!(nodes.pairs("l").await.is_empty(), "nothing is left behind");
}

#[tokio::test]
async fn what_is_not_held_cannot_be_released() {
    let nodes = Nodes::three().await;
    let held = nodes.ask(0, "r", LockMode::Exclusive).await.held();
    let foreign = Guard { fencing_token: held.fencing_token + 1, ..held.guard() };
    let release = |guard| lock::release(nodes.node(2), guard, CallOptions::default());
    let lost = |token, current_token| {
        Err(Error::LockLost { owner_key: held.owner_key.clone(), token, current_token })
    };
    let token = held.fencing_token;
    assert_eq!(release(foreign).await.map(drop), lost(token + 1, token));
    assert_eq!(release(held.guard()).await.map(drop), Ok(()));
    assert_eq!(release(held.guard()).await.map(drop), lost(token, 0), "twice");

    let ordinary = Put { key: "r/plain".into(), ..Put::default() };
    let revision =
        nodes.node(0).put(ordinary, CallOptions::default()).await.expect("written").header.revision;
    let plain = Guard { owner_key: "r/plain".into(), fencing_token: revision };
    for said in [
        release(plain.clone()).await.map(drop),
        election::proclaim(nodes.node(0), plain, "v".into(), CallOptions::default()).await.map(drop),
        release(Guard { fencing_token: 0, ..held.guard() }).await.map(drop),
    ] {
        assert!(matches!(said, Err(Error::Invalid(_))), "{said:?}");
    }
    assert_eq!(nodes.pairs("r/plain").await.len(), 1);
}

#[tokio::test]
async fn a_lease_of_no_time_or_of_a_century_is_no_lock() {
    let nodes = Nodes::three().await;
    for ttl in [Duration::ZERO, Duration::from_secs(100 * 365 * 24 * 3600)] {
        let options = LockOptions { ttl, ..LockOptions::new("ttl") };
        let refused = nodes.node(0).lock(options.clone()).await.err();
        assert!(matches!(&refused, Some(Error::Invalid(why)) if why.contains("lease_ttl")), "{refused:?}");
        assert!(nodes.node(0).campaign(options).await.is_err());
    }
    assert!(matches!(nodes.node(0).leader_of("").await, Err(Error::Invalid(_))));
    assert!(matches!(nodes.node(0).inspect_lock("").await, Err(Error::Invalid(_))));
    assert!(matches!(nodes.node(0).observe("", 0).await.map(drop), Err(Error::Invalid(_))));
}
