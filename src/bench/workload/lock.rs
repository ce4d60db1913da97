//! One lock, which all clients want: how long it takes from its release by one to the next who holds it.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::time::timeout_at;

use super::Shared;
use crate::{
    bench::wire::Wire,
    client::Client,
    recipes::{LockGuard, LockOptions, Recipes},
};

/// The lock's name.
const NAME: &str = "bench";

pub(super) async fn client(shared: Arc<Shared>, wire: Wire, number: usize) {
    let Ok(client) = wire.client() else { return };
    while Instant::now() < shared.window.until {
        let taken = client.lock(LockOptions::new(NAME));
        match timeout_at(shared.window.until.into(), taken).await {
            Ok(Ok(guard)) => hand_over(&shared, guard, number).await,
            Ok(Err(error)) => shared.done(number, Instant::now(), Err(error.into())).await,
            // Who waited in vain leaves the queue.
            Err(_) => return,
        }
    }
}

/// The lock is held: the hand-over is counted, and the next one begins.
async fn hand_over(shared: &Shared, guard: LockGuard<Client>, number: usize) {
    if let Some(released) = at(shared).take() {
        shared.recorder.record(number, released, Ok(()));
    }
    let began = Instant::now();
    *at(shared) = Some(began);
    if let Err(error) = guard.release().await {
        at(shared).take();
        shared.done(number, began, Err(error.into())).await;
    }
}

fn at(shared: &Shared) -> MutexGuard<'_, Option<Instant>> {
    shared.released.lock().unwrap_or_else(PoisonError::into_inner)
}
