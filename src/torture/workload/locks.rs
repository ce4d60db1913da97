//! A counter under a lock, in two ways: with guards, and without. Its holders sometimes stand still for
//! longer than their lease, as a paused process does, and then go on as if nothing had happened.
//!
//! Without guards, updates are lost: that is nobody's fault but the use's, and is counted to be shown.

use std::time::Duration;

use rand::RngExt;

use super::{
    Crew,
    actor::{Actor, bytes},
    options,
};
use crate::{
    check::history::{Action, Nanos, Seen, Text},
    error::Error,
    recipes::{LeaseApi, lock},
    torture::CLOCK_BOUND,
    types::{Acquire, CallOptions, Grant, Guard, Held, LeaseId, Level, LockMode, LockProgress},
};

/// The life of a holder's lease.
const TTL: Duration = Duration::from_millis(1500);

/// How long a holder waits for the lock.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn crew(crew: &mut Crew) {
    for _ in 0..2 {
        crew.add(|actor| hold(actor, true));
        crew.add(|actor| hold(actor, false));
    }
}

async fn hold(mut actor: Actor, fenced: bool) {
    let name = actor.key(if fenced { "fenced" } else { "unfenced" });
    let name = name.as_str();
    while actor.turn().await {
        let began = actor.recorder.now();
        let Some(lease) = grant(&mut actor, TTL).await else { continue };
        if let Some(guard) = acquire(&mut actor, name, (lease, sure_from(began, TTL))).await {
            work(&mut actor, name, (lease, &guard, fenced)).await;
            release(&mut actor, name, guard).await;
        }
        revoke(&mut actor, lease).await;
    }
}

/// A time in the history's unit.
pub fn nanos(time: Duration) -> Nanos {
    Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX / 2)
}

/// Until when a lease surely lives, if it was asked for or prolonged at `sent`: the leader's clock may be
/// faster than ours, within the bound.
fn sure_from(sent: Nanos, ttl: Duration) -> Nanos {
    sent + nanos(ttl.mul_f64(1.0 - CLOCK_BOUND))
}

/// Asks for a lease.
pub async fn grant(actor: &mut Actor, ttl: Duration) -> Option<LeaseId> {
    let ask = Grant { id: 0, ttl, session: false };
    let (client, asked) = (actor.client.clone(), Action::Grant { ttl: nanos(ttl), lease: None });
    let granted = actor.record((asked, None), client.grant(ask, options()), |answer, action| {
        if let Action::Grant { lease, .. } = action {
            *lease = Some(answer.result.id);
        }
        Seen::from(&answer.header)
    });
    granted.await.map(|answer| answer.result.id)
}

/// Ends a lease.
async fn revoke(actor: &mut Actor, lease: LeaseId) {
    let client = actor.client.clone();
    let asked = (Action::Revoke { lease }, None);
    actor.record(asked, client.revoke(lease, options()), |answer, _| Seen::from(&answer.header)).await;
}

/// Prolongs a lease. Whether it did.
pub async fn keep_alive(actor: &mut Actor, lease: LeaseId) -> bool {
    let client = actor.client.clone();
    let call = async move {
        match client.keep_alive(lease, options()).await {
            Ok(kept) => Ok(Some(kept)),
            Err(Error::LeaseNotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let asked = (Action::KeepAlive { lease, ttl: None }, None);
    let kept = actor.record(asked, call, |kept, action| {
        if let Action::KeepAlive { ttl, .. } = action {
            *ttl = Some(kept.as_ref().map_or(0, |kept| nanos(kept.ttl)));
        }
        kept.as_ref().map_or_else(Seen::default, |kept| Seen::from(&kept.header))
    });
    kept.await.flatten().is_some()
}

async fn acquire(actor: &mut Actor, name: &str, (session, sure): (LeaseId, Nanos)) -> Option<Guard> {
    let client = actor.client.clone();
    let ask = Acquire {
        name: bytes(name),
        session,
        mode: LockMode::Exclusive,
        value: bytes(&actor.session().to_string()),
    };
    let waiting = async move {
        let mut acquiring = lock::acquire(&client, ask, CallOptions::default()).await?;
        loop {
            match acquiring.next().await {
                Ok(LockProgress::Granted(held)) => return Ok(held),
                Ok(LockProgress::Queued { .. }) => {}
                // The place was asked for, and may yet come to hold.
                Err(error) => return Err(Error::UnknownOutcome(error.to_string())),
            }
        }
    };
    let waiting = async {
        let late = |_| Error::Deadline { waiting_for: lock::THE_LOCK.into(), maybe_committed: true };
        tokio::time::timeout(PATIENCE, waiting).await.map_err(late)?
    };
    let asked = Action::Acquire { lock: name.into(), token: None, sure_until: None };
    let held = actor.record((asked, None), waiting, |held: &Held, action| {
        if let Action::Acquire { token, sure_until, .. } = action {
            (*token, *sure_until) = (Some(held.fencing_token), Some(sure));
        }
        Seen::from(&held.header)
    });
    held.await.map(|held| held.guard())
}

/// Reads the counter, takes its time, and adds one.
async fn work(actor: &mut Actor, name: &str, (lease, guard, fenced): (LeaseId, &Guard, bool)) {
    let key = format!("{name}-counter");
    let Some(found) = actor.read(Level::Linearizable.into(), &key).await else { return };
    let stands_still = actor.rng.random_ratio(1, 8);
    if stands_still {
        let time = TTL.mul_f64(actor.rng.random_range(1.0..2.5));
        actor.rest(time).await;
    } else {
        let began = actor.recorder.now();
        if keep_alive(actor, lease).await {
            renewed(actor, name, (guard, sure_from(began, TTL))).await;
        }
    }
    let count = found.and_then(|found| number_in(&found.value)).unwrap_or(0);
    let value = Text::from(format!("{} {}", count + 1, actor.value()));
    if fenced {
        actor.write_guarded(name, guard, (&key, value)).await;
    } else {
        actor.write(&key, value).await;
    }
}

/// The number in a counter's value, which has who wrote it behind it.
pub fn number_in(value: &str) -> Option<u64> {
    value.split(' ').next()?.parse().ok()
}

/// Takes down that a holder may believe for longer. Nothing is called: the keep-alive was.
pub async fn renewed(actor: &mut Actor, name: &str, (guard, sure): (&Guard, Nanos)) {
    let (lock, token) = (name.into(), guard.fencing_token);
    let asked = Action::Renew { lock, token, sure_until: Some(sure) };
    actor.record((asked, None), async { Ok(()) }, |(), _| Seen::default()).await;
}

async fn release(actor: &mut Actor, name: &str, guard: Guard) {
    let client = actor.client.clone();
    let asked = Action::Release { lock: name.into(), token: guard.fencing_token };
    let call = lock::release(&client, guard, options());
    actor.record((asked, None), call, |answer, _| Seen::from(&answer.header)).await;
}
