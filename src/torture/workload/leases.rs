//! Leases that are kept alive for a while and then left alone, and the keys that go with them.

use std::time::Duration;

use rand::RngExt;

use super::{
    Crew,
    actor::Actor,
    locks::{grant, keep_alive},
};
use crate::types::Level;

/// Keys of a lease.
const KEYS: u32 = 2;

pub fn crew(crew: &mut Crew) {
    for _ in 0..3 {
        crew.add(live);
    }
}

async fn live(mut actor: Actor) {
    while actor.turn().await {
        let ttl = Duration::from_millis(actor.rng.random_range(800..2500));
        let Some(lease) = grant(&mut actor, ttl).await else { continue };
        let keys: Vec<String> = (0..KEYS).map(|key| actor.key(format_args!("{lease:x}/{key}"))).collect();
        for key in &keys {
            actor.attach(lease, key).await;
        }
        for _ in 0..actor.rng.random_range(0..6) {
            if !actor.rest(ttl / 3).await || !keep_alive(&mut actor, lease).await {
                break;
            }
        }
        see_them_go(&mut actor, &keys).await;
    }
}

/// Looks at the keys until they are gone, or the run is over.
async fn see_them_go(actor: &mut Actor, keys: &[String]) {
    while actor.rest(Duration::from_millis(100)).await {
        let Some(found) = actor.read(Level::Linearizable.into(), &keys[0]).await else { continue };
        if found.is_none() {
            actor.read(Level::Linearizable.into(), &keys[1]).await;
            return;
        }
    }
}
