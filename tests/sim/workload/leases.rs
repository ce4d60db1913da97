//! Leases with a key each, kept alive for a while and then left.

use std::sync::Arc;

use quorate::{
    Client, Error,
    recipes::{KvApi, LeaseApi},
    types::{CallOptions, Grant, Put},
};
use rand::{RngExt, rngs::SmallRng};

use super::{Clients, Outcome, history::Leased, pause};
use crate::world::{ms, now};

/// One client, one lease after the other.
pub async fn work(clients: Arc<Clients>) {
    let (client, mut rng) = (clients.client(true), clients.rng(20));
    let mut serial = 0;
    while clients.goes_on() {
        pause(&mut rng, 20, 300).await;
        serial += 1;
        match live(&client, &mut rng, serial).await {
            Ok(leased) => {
                clients.world.cover_call("lease", "ok");
                clients.world.trace.event("c20", format!("leaves lease {}", leased.id));
                clients.history().leases.push(leased);
            }
            Err(error) => clients.world.cover_call("lease", Outcome::of(error).name()),
        }
    }
}

async fn live(client: &Client, rng: &mut SmallRng, serial: u64) -> Result<Leased, Error> {
    let options = || CallOptions { timeout: Some(ms(1000)), ..CallOptions::default() };
    let ttl = ms(rng.random_range(600..2000));
    let mut alive_from = now();
    let granted = client.grant(Grant { id: 0, ttl, session: false }, options()).await?.result;
    let id = granted.id;
    let put = Put { key: format!("lease/{serial}").into(), value: "here".into(), lease: id, prev_kv: false };
    // A lease without its key is one all the same.
    let _ = client.put(put, options()).await;
    for _ in 0..rng.random_range(0..4) {
        pause(rng, 10, ttl.as_millis() as u64 / 2).await;
        let sent = now();
        match client.keep_alive(id, options()).await {
            Ok(_) => alive_from = sent,
            Err(Error::LeaseNotFound(_)) => break,
            Err(_) => {}
        }
    }
    Ok(Leased { id, ttl, alive_from, left_at: now() })
}
