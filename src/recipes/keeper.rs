//! A lease kept alive in the background, and the moment from which it must not be trusted any more.
//!
//! The server counts a lease's time from a moment after the keep-alive was sent. Counted here from the moment
//! *before* it was sent, and shortened by what the two clocks may drift apart, the end that this side sees
//! lies before the server's. The clock is the environment's (`CLOCK_BOOTTIME`): a process that was
//! stopped, or a machine that was suspended, finds at once that it is late.
//!
//! This tells a holder when to stop. It cannot stop a holder that does not look: between its look at the
//! clock and what it does next it may be stopped for any time. That is what guards are for.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{runtime::Handle, time::sleep};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::Api;
use crate::{
    env::Moment,
    error::Error,
    types::{CallOptions, Grant, Granted, LeaseId},
};

/// Of a lease's time, the part that is not trusted: clocks that run at different rates, up to 5 %.
const DRIFT_PART: u32 = 20;
/// And at least so much, for the time between this side's look at the clock and what it does then.
const MARGIN_MIN: Duration = Duration::from_millis(50);

/// The alarm looks at the clock so many times within a lease's time, since a timer does not see a suspension.
const LOOKS: u32 = 40;
/// And at least so often.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// Attempts to end a lease that nobody needs any more. After them it ends by itself.
const REVOKE_ATTEMPTS: u32 = 3;

/// A lease that is kept alive until it is dropped, which ends it in the background.
///
/// Its end, as this side must see it, is [`KeptLease::lost`]; while nobody has asked for that
/// ([`KeptLease::hold`]) it is kept alive also past it, as long as the cluster still knows it: somebody who
/// only waits in a queue does no harm by being late.
pub struct KeptLease<A: Api> {
    shared: Arc<Shared<A>>,
    runtime: Handle,
    /// False once the lease has ended, or is being ended.
    to_end: bool,
    _renewing: AbortOnDropHandle<()>,
    _alarm: AbortOnDropHandle<()>,
}

struct Shared<A: Api> {
    api: A,
    lease: LeaseId,
    ttl: Duration,
    state: Mutex<State>,
    /// The deadline has passed while it was held on to, or the cluster says that the lease has ended.
    lost: CancellationToken,
    /// The cluster says that the lease has ended.
    ended: CancellationToken,
}

#[derive(Clone, Copy)]
struct State {
    /// Not trusted from here on.
    until: Moment,
    /// Whether somebody relies on it.
    held: bool,
}

impl<A: Api> KeptLease<A> {
    /// Grants a lease with this time to live, and keeps it alive.
    ///
    /// # Errors
    /// `Invalid` for a time outside `limits.lease_ttl_min` and `limits.lease_ttl_max`; those of a write.
    pub async fn grant(api: &A, ttl: Duration, options: CallOptions) -> Result<KeptLease<A>, Error> {
        let sent = api.env().now();
        let answer = api.grant(Grant { id: 0, ttl, session: false }, options).await?;
        Ok(KeptLease::keep(api, answer.result, sent))
    }

    /// Keeps a lease alive that was granted by a call sent at `sent`.
    pub fn keep(api: &A, granted: Granted, sent: Moment) -> KeptLease<A> {
        let Granted { id: lease, ttl } = granted;
        let shared = Arc::new(Shared {
            api: api.clone(),
            lease,
            ttl,
            state: Mutex::new(State { until: sent + trusted(ttl), held: false }),
            lost: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        let runtime = Handle::current();
        let renewing = AbortOnDropHandle::new(runtime.spawn(renew(shared.clone(), sent)));
        let alarm = AbortOnDropHandle::new(runtime.spawn(watch_the_clock(shared.clone())));
        KeptLease { shared, runtime, to_end: true, _renewing: renewing, _alarm: alarm }
    }

    /// The lease.
    pub fn id(&self) -> LeaseId {
        self.shared.lease
    }

    /// How long it lives without a keep-alive.
    pub fn ttl(&self) -> Duration {
        self.shared.ttl
    }

    /// From now on somebody relies on the lease: it is lost for good when its deadline passes here.
    ///
    /// # Errors
    /// `LeaseNotFound`, if it has ended; those of a keep-alive, if its deadline has passed and it cannot be
    /// renewed.
    pub async fn hold(&self) -> Result<(), Error> {
        if self.remaining().is_zero() {
            self.shared.keep_alive(self.ttl()).await?;
        }
        self.shared.state().held = true;
        Ok(())
    }

    /// What is left of the time that it can be trusted for, by the clock; zero once it is lost.
    pub fn remaining(&self) -> Duration {
        self.shared.remaining()
    }

    /// Whether the lease can be trusted, by the clock, at this moment.
    pub fn is_held(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// Cancelled before the server can end the lease, as long as this side's clock and process run; and when
    /// the cluster says that it has ended.
    pub fn lost(&self) -> CancellationToken {
        self.shared.lost.clone()
    }

    /// Resolves when the cluster says that the lease has ended.
    pub async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }

    /// Ends it now, rather than in the background; if the cluster does not answer, it ends by itself.
    pub async fn end(mut self) {
        self.leave();
        revoke(self.shared.clone()).await;
    }

    /// Where it was granted.
    pub(super) fn api(&self) -> &A {
        &self.shared.api
    }

    /// The lease needs no end any more: it has had one.
    pub(super) fn leave(&mut self) {
        self.to_end = false;
        self.shared.lost.cancel();
    }
}

impl<A: Api> Drop for KeptLease<A> {
    fn drop(&mut self) {
        if self.to_end && !self.shared.ended.is_cancelled() {
            self.runtime.spawn(revoke(self.shared.clone()));
        }
        self.shared.lost.cancel();
    }
}

impl<A: Api> Shared<A> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remaining(&self) -> Duration {
        if self.lost.is_cancelled() {
            return Duration::ZERO;
        }
        let (now, State { until, held }) = (self.api.env().now(), *self.state());
        let left = until.since(now);
        if left.is_zero() && held {
            self.lost.cancel();
        }
        left
    }

    /// One keep-alive. What it moves is the deadline of a lease that is not lost: time that was called lost
    /// does not come back.
    async fn keep_alive(&self, timeout: Duration) -> Result<(), Error> {
        let sent = self.api.env().now();
        let options = CallOptions { timeout: Some(timeout), ..CallOptions::default() };
        match self.api.keep_alive(self.lease, options).await {
            Ok(kept) => {
                let mut state = self.state();
                state.until = state.until.max(sent + trusted(kept.ttl));
                Ok(())
            }
            Err(error) => {
                if matches!(error, Error::LeaseNotFound(_)) {
                    self.lost.cancel();
                    self.ended.cancel();
                }
                Err(error)
            }
        }
    }
}

/// How long after the sending of a keep-alive the lease is trusted.
fn trusted(ttl: Duration) -> Duration {
    ttl.saturating_sub((ttl / DRIFT_PART).max(MARGIN_MIN))
}

/// Keeps alive every third of the time to live, counted from when what gave the lease its time was `sent`;
/// what fails is tried again soon. Until the lease is lost.
async fn renew<A: Api>(shared: Arc<Shared<A>>, mut sent: Moment) {
    let (period, soon) = (shared.ttl / 3, (shared.ttl / LOOKS).min(LOOK_MAX));
    let now = || shared.api.env().now();
    let mut pause = period.saturating_sub(now().since(sent));
    loop {
        tokio::select! {
            () = shared.lost.cancelled() => return,
            () = sleep(pause) => {}
        }
        sent = now();
        let renewed = tokio::select! {
            () = shared.lost.cancelled() => return,
            renewed = shared.keep_alive(period) => renewed,
        };
        pause = if renewed.is_ok() { period.saturating_sub(now().since(sent)) } else { soon };
        if let Err(error) = renewed {
            tracing::debug!(lease = shared.lease, %error, "a lease is not renewed");
        }
    }
}

/// Looks at the clock until the lease is lost.
async fn watch_the_clock<A: Api>(shared: Arc<Shared<A>>) {
    let look = (shared.ttl / LOOKS).min(LOOK_MAX);
    while !shared.lost.is_cancelled() {
        let left = shared.remaining();
        let pause = if left.is_zero() { look } else { look.min(left) };
        tokio::select! {
            () = shared.lost.cancelled() => {}
            () = sleep(pause) => {}
        }
    }
}

/// Ends a lease that nobody needs any more.
async fn revoke<A: Api>(shared: Arc<Shared<A>>) {
    for _ in 0..REVOKE_ATTEMPTS {
        match shared.api.revoke(shared.lease, CallOptions::default()).await {
            Ok(_) | Err(Error::LeaseNotFound(_)) => return,
            Err(error) => tracing::debug!(lease = shared.lease, %error, "a lease is not ended yet"),
        }
        sleep(shared.ttl / LOOKS).await;
    }
}
