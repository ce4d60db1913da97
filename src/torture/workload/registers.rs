//! Registers: the same keys, read at every level side by side.

use rand::{RngExt, seq::IndexedRandom};

use super::{
    Crew, LEVELS,
    actor::{Actor, at},
};
use crate::types::{Level, NodeId};

/// Keys at a time.
const KEYS: u32 = 3;

/// Keys are left for new ones after so many seconds.
const LIFE: u64 = 10;

/// Of so many writes one is a deletion.
const DELETES: u32 = 20;

/// Of so many operations of a reader one is a write: whether it sees that is a guarantee too.
const OWN_WRITES: u32 = 8;

pub fn crew(crew: &mut Crew) {
    crew.add(write);
    crew.add_without_session(write);
    for level in LEVELS {
        for _ in 0..2 {
            let nodes = crew.nodes.clone();
            crew.add(move |actor| read(actor, level, nodes));
        }
    }
}

fn key(actor: &mut Actor) -> String {
    let key = actor.rng.random_range(0..KEYS);
    actor.key_of_life(LIFE, key)
}

async fn write(mut actor: Actor) {
    while actor.turn().await {
        let key = key(&mut actor);
        if actor.rng.random_ratio(1, DELETES) {
            actor.delete(&key).await;
        } else {
            let value = actor.value();
            actor.write(&key, value).await;
        }
    }
}

/// A reader of one level. Where only a leader answers, it stays with the member that did; otherwise it asks
/// any of them, so that what is told of availability is what who asks one member gets.
async fn read(mut actor: Actor, level: Level, nodes: Vec<NodeId>) {
    let stays = matches!(level, Level::LeaderLocal);
    let mut member = nodes.choose(&mut actor.rng).copied().unwrap_or(1);
    while actor.turn().await {
        let key = key(&mut actor);
        if actor.rng.random_ratio(1, OWN_WRITES) {
            let value = actor.value();
            actor.write(&key, value).await;
            continue;
        }
        let level = match level {
            Level::Session { .. } => actor.session_level(),
            level => level,
        };
        let answer = actor.read(at(level, member), &key).await;
        if !stays || answer.is_none() {
            member = nodes.choose(&mut actor.rng).copied().unwrap_or(1);
        }
    }
}
