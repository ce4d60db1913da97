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
    recipes::{Leadership, LockOptions, Recipes},
    types::Guard,
};

const NAME: &str = "election/chair";

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
    while actor.turn().await {
        let Some(leadership) = campaign(&mut actor).await else { continue };
        let guard = leadership.guard();
        for _ in 0..actor.rng.random_range(1..6) {
            if !actor.rest(Duration::from_millis(150)).await || !leadership.is_held() {
                break;
            }
            let sure = actor.recorder.now() + nanos(leadership.remaining());
            renewed(&mut actor, NAME, (&guard, sure)).await;
            let value = actor.value();
            actor.write_guarded(NAME, &guard, ("election/decision", value)).await;
        }
        resign(&mut actor, leadership, guard).await;
    }
}

async fn campaign(actor: &mut Actor) -> Option<Leadership<Client>> {
    let value = bytes(&actor.session().to_string());
    let options = LockOptions { ttl: TTL, wait: Some(PATIENCE), value, ..LockOptions::new(NAME) };
    let (client, recorder) = (actor.client.clone(), actor.recorder.clone());
    let asked = Action::Acquire { lock: NAME.into(), token: None, sure_until: None };
    actor
        .record((asked, None), client.campaign(options), |leadership, action| {
            if let Action::Acquire { token, sure_until, .. } = action {
                *token = Some(leadership.token());
                *sure_until = Some(recorder.now() + nanos(leadership.remaining()));
            }
            Seen::default()
        })
        .await
}

async fn resign(actor: &mut Actor, leadership: Leadership<Client>, guard: Guard) {
    let asked = Action::Release { lock: NAME.into(), token: guard.fencing_token };
    actor.record((asked, None), leadership.resign(), |(), _| Seen::default()).await;
}
