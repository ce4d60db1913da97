//! Keys of one part each: compare and set, transactions over several, a set, a counter.

use rand::RngExt;

use super::{
    Crew, LEVELS,
    actor::{Actor, bytes},
};
use crate::{
    check::history::{Condition, Expected, Step, Text},
    types::{Consistency, KeyRange, Level, Op, Put, Range},
};

/// Keys are left for new ones after so many seconds.
const LIFE: u64 = 8;

/// Any of the levels, to be asked of whoever is there.
fn any_level(actor: &mut Actor) -> Consistency {
    let level = LEVELS[actor.rng.random_range(0..LEVELS.len())];
    Consistency::from(match level {
        Level::Session { .. } => actor.session_level(),
        level => level,
    })
}

/// Compare and set.
pub fn cas(crew: &mut Crew) {
    crew.add(compare_and_set);
    crew.add(compare_and_set);
    crew.add_without_session(compare_and_set);
}

async fn compare_and_set(mut actor: Actor) {
    while actor.turn().await {
        let number = actor.rng.random_range(0..2);
        let key = actor.key_of_life(LIFE, number);
        let Some(found) = actor.read(Level::Linearizable.into(), &key).await else { continue };
        let old = match actor.rng.random_ratio(1, 10) {
            // Nobody writes it.
            true => Some(Text::from("nothing")),
            false => found.map(|found| found.value),
        };
        let new = actor.value();
        actor.cas(&key, old, new).await;
    }
}

/// Transactions over several keys.
pub fn txn(crew: &mut Crew) {
    crew.add(write_several);
    crew.add_without_session(write_several);
    crew.add(read_all);
}

/// Keys of a transaction.
const SEVERAL: u32 = 4;

async fn write_several(mut actor: Actor) {
    while actor.turn().await {
        let first = actor.rng.random_range(0..SEVERAL);
        let prefix = actor.key_of_life(LIFE, "");
        let key = |number: u32| Text::from(format!("{prefix}{number}"));
        let (a, b) = (key(first), key((first + 1) % SEVERAL));
        let Some(found) = actor.read(Level::Linearizable.into(), &a).await else { continue };
        let expected = Expected::ModRevision(found.map_or(0, |found| found.mod_revision));
        let (one, other) = (actor.value(), actor.value());
        let put = |key: &Text, value: &Text| {
            Op::Put(Put { key: bytes(key), value: bytes(value), ..Put::default() })
        };
        let steps = vec![
            (Step::Read(b.clone(), None), Op::Range(Range::new(KeyRange::key(bytes(&b))))),
            (Step::Write(a.clone(), one.clone()), put(&a, &one)),
            (Step::Write(b.clone(), other.clone()), put(&b, &other)),
        ];
        actor.txn(vec![Condition { key: a, expected }], steps).await;
    }
}

/// Reads all keys of the part's present life at once.
async fn read_all(mut actor: Actor) {
    while actor.turn().await {
        let (prefix, level) = (actor.key_of_life(LIFE, ""), any_level(&mut actor));
        actor.range(level, &prefix).await;
    }
}

/// A set that grows.
pub fn set(crew: &mut Crew) {
    crew.add(add);
    crew.add_without_session(add);
    crew.add(read_all);
}

async fn add(mut actor: Actor) {
    while actor.turn().await {
        let value = actor.value();
        let key = actor.key_of_life(LIFE, &value);
        actor.write(&key, value).await;
    }
}

/// Writes that count: a key's version is their number.
pub fn counter(crew: &mut Crew) {
    crew.add(count);
    crew.add(count);
}

async fn count(mut actor: Actor) {
    while actor.turn().await {
        let (key, value) = (actor.key_of_life(LIFE, "count"), actor.value());
        actor.write(&key, value).await;
        if actor.rng.random_ratio(1, 4) {
            actor.read(Level::Linearizable.into(), &key).await;
        }
    }
}
