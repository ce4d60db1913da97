//! Locks whose users do what they should not, or whose sessions end at the wrong moment.

use std::{sync::Arc, time::Duration};

use quorate::{
    Client, Error,
    mutant::Mutant,
    recipes::{LeaseApi, LockOptions, Recipes, lock},
    types::{Acquire, CallOptions, Grant, Held, LeaseId, LockMode, LockProgress},
};

use super::{Scenario, Stage};
use crate::{
    workload::Token,
    world::{ms, now},
};

const NAME: &str = "lock";

/// Of sessions that live as long as their script.
const TTL: Duration = Duration::from_secs(30);

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("a_session_that_ends_in_the_queue", 3, |s| {
            Box::pin(async move { told(&s, ends_in_the_queue(&s).await) })
        })
        .falls(Mutant::LockToDeadSession, "locks: "),
        Scenario::new("a_release_that_comes_late", 3, |s| {
            Box::pin(async move { told(&s, late_release(&s).await) })
        })
        .falls(Mutant::UnlockWithoutToken, "mutual exclusion: "),
    ]
}

/// Nothing goes wrong in these scripts but what they do.
fn told(stage: &Stage, done: Result<(), Error>) {
    if let Err(error) = done {
        stage.world().trace.violation(format!("liveness: the script failed: {error}"));
    }
}

/// A client of a cluster that is ready.
async fn client(stage: &Stage) -> Client {
    stage.leader(None).await;
    let client = stage.client_for(&[1, 2, 3], Duration::from_secs(3));
    stage.put_surely(&client, "k").await;
    client
}

async fn session(client: &Client) -> Result<LeaseId, Error> {
    let grant = Grant { id: 0, ttl: TTL, session: false };
    Ok(client.grant(grant, CallOptions::default()).await?.result.id)
}

fn place(session: LeaseId) -> Acquire {
    Acquire { name: NAME.into(), session, mode: LockMode::Exclusive, value: "".into() }
}

/// Takes the lock, of which nobody is in the way.
async fn take(client: &Client, session: LeaseId) -> Result<Held, Error> {
    let mut acquiring = lock::acquire(client, place(session), CallOptions::default()).await?;
    loop {
        if let LockProgress::Granted(held) = acquiring.next().await? {
            return Ok(held);
        }
    }
}

/// The session of one who waits ends. Then the one before it gives the lock back.
async fn ends_in_the_queue(stage: &Stage) -> Result<(), Error> {
    let client = client(stage).await;
    let holder = client.lock(LockOptions { ttl: TTL, ..LockOptions::new(NAME) }).await?;
    let session = session(&client).await?;
    let mut waiting = lock::acquire(&client, place(session), CallOptions::default()).await?;
    // Where it stands: it waits from now on.
    waiting.next().await?;
    client.revoke(session, CallOptions::default()).await?;
    let waits = tokio::spawn(async move { tokio::time::timeout(ms(10_000), waiting.next()).await });
    tokio::time::sleep(ms(100)).await;
    holder.release().await?;
    if let Ok(Ok(Ok(LockProgress::Granted(held)))) = waits.await {
        stage.world().trace.violation(format!(
            "locks: token {} was granted to session {session}, which had ended",
            held.fencing_token
        ));
    }
    Ok(())
}

/// A lock is given back and taken again by the same session; then what gave it back arrives once more.
/// Somebody else asks for it.
async fn late_release(stage: &Arc<Stage>) -> Result<(), Error> {
    let client = client(stage).await;
    let sent = now();
    let session = session(&client).await?;
    let first = take(&client, session).await?;
    lock::release(&client, first.guard(), CallOptions::default()).await?;
    let second = take(&client, session).await?;
    let granted = now();
    let late = lock::release(&client, first.guard(), CallOptions::default()).await;
    stage.world().trace.event("script", format!("gives the lock back again: {late:?}"));
    let other = client.try_lock(LockOptions { ttl: TTL, ..LockOptions::new(NAME) }).await?;
    let token = |client, token, granted, held_until| Token {
        name: NAME.to_owned(),
        token,
        client,
        granted,
        held_until,
    };
    let mut history = stage.clients.history();
    history.tokens.push(token(1, second.fencing_token, granted, Some(sent + TTL / 2)));
    history.tokens.extend(other.map(|other| token(2, other.token(), now(), None)));
    Ok(())
}
