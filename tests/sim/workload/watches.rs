//! Watches: what they told is compared with what happened.

use std::sync::Arc;

use futures::StreamExt;
use quorate::{
    Client, Error,
    recipes::{KvApi, WatchApi},
    types::{CallOptions, Consistency, KeyRange, Range, Revision, Watch, WatchUpdate},
};
use rand::{RngExt, rngs::SmallRng};

use super::{Clients, LIVENESS, Watched};
use crate::world::{ms, now};

/// Watches `prefix` until everything that was written is told; a slow one pauses now and then.
pub async fn work(clients: Arc<Clients>, prefix: &'static str, slow: bool) {
    let worker = if slow { 30 } else { 31 };
    let (client, mut rng) = (clients.client(false), clients.rng(worker));
    let mut until = None;
    let deadline = clients.plan.length + LIVENESS;
    let mut start_revision = if slow { 1 } else { 0 };
    loop {
        let watch = Watch {
            start_revision,
            progress_interval: Some(ms(500)),
            prev_kv: slow,
            ..Watch::new(KeyRange::prefix(prefix))
        };
        let mut watched =
            Watched { name: format!("watch of {prefix:?}"), watch, from: 0, events: Vec::new(), until: 0 };
        let told = follow(&clients, &client, &mut rng, (&mut watched, &mut until)).await;
        clients
            .world
            .trace
            .event(&format!("c{worker}"), format!("has heard up to {}: {told:?}", watched.until));
        let watched_began = watched.from != 0;
        clients.history().watched.push(watched);
        match told {
            Ok(()) => return clients.world.cover("watch ok"),
            // It was too slow for compaction: it begins anew, at the present.
            Err(Error::Compacted { .. }) => {
                clients.world.cover("watch compacted");
                start_revision = 0;
            }
            Err(error) if watched_began && now() <= deadline => {
                let what = format!(
                    "watches: one that had begun ended, though the client goes on by itself: {error}"
                );
                return clients.world.trace.violation(what);
            }
            Err(error) => clients.world.cover(format!("watch {}", super::Outcome::of(error).name())),
        }
        if now() > deadline {
            return clients.world.trace.violation("liveness: a watch does not come to its end".to_owned());
        }
        tokio::time::sleep(ms(200)).await;
    }
}

/// Until the last revision of the simulation, which is asked for when its time has come.
async fn follow(
    clients: &Clients,
    client: &Client,
    rng: &mut SmallRng,
    (watched, until): (&mut Watched, &mut Option<Revision>),
) -> Result<(), Error> {
    let mut updates = client.watch(watched.watch.clone()).await?;
    let deadline = clients.plan.length + LIVENESS;
    loop {
        if !clients.goes_on() && until.is_none() {
            *until = last(client).await;
        }
        if until.is_some_and(|until| watched.until >= until) {
            return Ok(());
        }
        let update = tokio::time::timeout(ms(1000), updates.next()).await;
        let update = match update {
            Ok(Some(update)) => update?,
            Ok(None) => return Err(Error::ShuttingDown),
            Err(_) if now() > deadline => return Err(Error::NoLeader),
            Err(_) => continue,
        };
        match update {
            WatchUpdate::Created(header) => {
                let next = header.revision + 1;
                watched.from =
                    if watched.watch.start_revision == 0 { next } else { watched.watch.start_revision };
            }
            WatchUpdate::Progress(header) => watched.until = watched.until.max(header.revision),
            WatchUpdate::Events { header, events } => {
                watched.until = watched.until.max(header.revision);
                watched.events.push((header.revision, events));
            }
        }
        if watched.watch.keys.start.len() > 1 && rng.random_bool(0.02) {
            tokio::time::sleep(ms(rng.random_range(100..2000))).await;
        }
    }
}

async fn last(client: &Client) -> Option<Revision> {
    let options = CallOptions { timeout: Some(ms(1000)), ..CallOptions::default() };
    let read = client.range(Range::new(KeyRange::key("k/0")), Consistency::default(), options).await;
    read.ok().map(|answer| answer.header.revision)
}
