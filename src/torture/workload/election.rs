//! Leaders of an election, who lead for a while and write with their guard.

use std::time::Duration;

use rand::RngExt;

use super::{
    Crew,
    actor::{Actor, bytes},
    locks::{nanos, renewed},
};
use crate::{
    check::history::{Action, Seen},
    client::Client,
    error::Error,
    recipes::{Leadership, LockOptions, Recipes},
    types::Guard,
};

/// The life of a leader's lease.
const TTL: Duration = Duration::from_secs(2);

/// How long a candidate waits.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn crew(crew: &mut Crew) {
    for _ in 0..3 {
        crew.add(stand);
    }
}

async fn stand(mut actor: Actor) {
    let (name, decision) = (actor.key("chair"), actor.key("decision"));
    while actor.turn().await {
        let Some(leadership) = campaign(&mut actor, &name).await else { continue };
        let guard = leadership.guard();
        for _ in 0..actor.rng.random_range(1..6) {
            if !actor.rest(Duration::from_millis(150)).await || !leadership.is_held() {
                break;
            }
            let sure = actor.recorder.now() + nanos(leadership.remaining());
            renewed(&mut actor, &name, (&guard, sure)).await;
            let value = actor.value();
            actor.write_guarded(&name, &guard, (&decision, value)).await;
        }
        resign(&mut actor, &name, (leadership, guard)).await;
    }
}

async fn campaign(actor: &mut Actor, name: &str) -> Option<Leadership<Client>> {
    let value = bytes(&actor.session().to_string());
    let options = LockOptions { ttl: TTL, wait: Some(PATIENCE), value, ..LockOptions::new(bytes(name)) };
    let (client, recorder) = (actor.client.clone(), actor.recorder.clone());
    let asked = Action::Acquire { lock: name.into(), token: None, sure_until: None };
    // Whatever fails: a place may have been asked for, and may yet come to hold.
    let unknown = |error: Error| Error::UnknownOutcome(error.to_string());
    let elected = async move { client.campaign(options).await.map_err(unknown) };
    actor
        .record((asked, None), elected, |leadership, action| {
            if let Action::Acquire { token, sure_until, .. } = action {
                *token = Some(leadership.token());
                *sure_until = Some(recorder.now() + nanos(leadership.remaining()));
            }
            Seen::default()
        })
        .await
}

async fn resign(actor: &mut Actor, name: &str, (leadership, guard): (Leadership<Client>, Guard)) {
    let asked = Action::Release { lock: name.into(), token: guard.fencing_token };
    actor.record((asked, None), leadership.resign(), |(), _| Seen::default()).await;
}
