//! A lock, and a counter that only its holder adds to, with guards; and writes of those who hold it no more.

use std::sync::Arc;

use quorate::{
    Client, Error,
    recipes::{KvApi, LockGuard, LockOptions, Recipes},
    types::{CallOptions, Consistency, Guard, KeyRange, Put, Range},
};
use rand::RngExt;

use super::{Call, Clients, Op, Outcome, history::Token, pause};
use crate::world::{ms, now};

const NAME: &str = "lock";
/// The key that is counted in.
pub const COUNTER: &str = "counter";

/// One client: takes the lock, adds, gives it back, and sometimes comes late.
pub async fn work(clients: Arc<Clients>, number: u64) {
    let number = 10 + number;
    let (client, mut rng) = (clients.client(number % 2 == 0), clients.rng(number));
    let mut serial = 0;
    while clients.goes_on() {
        pause(&mut rng, 200, 1500).await;
        let ttl = ms(rng.random_range(1000..3000));
        let options = LockOptions { ttl, wait: Some(ms(4000)), ..LockOptions::new(NAME) };
        let guard = match client.lock(options).await {
            Ok(guard) => guard,
            Err(error) => {
                clients.world.cover_call("lock", Outcome::of(error).name());
                continue;
            }
        };
        clients.world.cover_call("lock", "ok");
        let granted = now();
        let stale = guard.guard();
        for _ in 0..rng.random_range(1..4) {
            serial += 1;
            if !add(&clients, &client, (&guard, number, serial)).await {
                break;
            }
        }
        let held_until = guard.is_held().then(now);
        clients.history().tokens.push(Token {
            name: NAME.to_owned(),
            token: guard.token(),
            client: number,
            granted,
            held_until,
        });
        let released = guard.release().await;
        clients.world.trace.event(&format!("c{number}"), format!("gives the lock back: {released:?}"));
        if released.is_ok() && rng.random_bool(0.3) {
            come_late(&clients, &client, stale).await;
        }
    }
}

/// The number in a value of the counter, in front of who wrote it.
pub fn counted(value: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(value);
    text.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Reads the counter, and writes one more, as long as the lock is held. False: nobody knows whether it did;
/// what was read next under this lock might lie before that.
async fn add(
    clients: &Clients,
    client: &Client,
    (guard, number, serial): (&LockGuard<Client>, u64, u64),
) -> bool {
    let options = CallOptions { timeout: Some(ms(1500)), ..CallOptions::default() };
    let read =
        client.range(Range::new(KeyRange::key(COUNTER)), Consistency::default(), options.clone()).await;
    let Ok(read) = read else { return true };
    let count = read.result.kvs.first().map_or(0, |kv| counted(&kv.value));
    let mark = format!("{} l{number}.{serial}", count + 1);
    let put = Put { key: COUNTER.into(), value: mark.clone().into(), ..Put::default() };
    let began = now();
    let outcome = Outcome::written(client.guarded(guard).put(put, options).await);
    clients.world.trace.event(&format!("c{number}"), format!("adds {mark}: {outcome}"));
    clients.world.cover_call("add", outcome.name());
    let session = number % 2 == 0;
    let op = Op { client: number, began, ended: now(), call: Call::Write { mark, session }, outcome };
    let known = !matches!(op.outcome, Outcome::Unknown(_));
    clients.history().ops.push(op);
    known
}

/// A write under a lock that was given back must be refused.
async fn come_late(clients: &Clients, client: &Client, stale: Guard) {
    let options = CallOptions { timeout: Some(ms(1500)), guards: vec![stale], ..CallOptions::default() };
    let put = Put { key: "late".into(), value: "late".into(), ..Put::default() };
    match client.put(put, options).await {
        Ok(answer) => clients.world.trace.violation(format!(
            "guards: a write under a lock that was given back was applied at index {}",
            answer.write.log_index
        )),
        Err(Error::LockLost { .. }) => clients.world.cover("late refused"),
        Err(_) => clients.world.cover("late unanswered"),
    }
}
