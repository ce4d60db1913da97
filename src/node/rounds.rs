//! Rounds, shared: of heartbeats to a quorum, or of looks at a lease. All reads that wait when a round begins
//! are answered by it.
//!
//! A read joins only a round that begins *after* the read arrived, since an earlier one may have been
//! confirmed before a write which that read must see. While a round runs, arrivals gather for the next. A
//! round carries the request id of the first client's read among them, for the log of the leader.

use std::{
    future::Future,
    mem,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::{sync::Notify, task::yield_now};

use crate::{
    env::{Env, Moment},
    error::Error,
    mutant::Mutant,
};

/// What a round gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Just before the round began, on this member's clock.
    pub began: Moment,
    /// The leader's term.
    pub term: u64,
    /// The log index that a reader must have applied.
    pub index: u64,
}

/// Where reads join.
pub struct Rounds {
    shared: Arc<Shared>,
}

/// The reads that have arrived. When this is dropped nobody is let in any more, and all who wait are told
/// that the member stops.
pub struct Arrivals {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    next: Mutex<Next>,
    /// Somebody waits for the next round.
    wanted: Notify,
}

#[derive(Default)]
struct Next {
    readers: Arc<Readers>,
    closed: bool,
}

/// Those who wait for the same round. As many as there are reads under way, which admission bounds, and peers
/// who ask, each once at a time.
#[derive(Default)]
struct Readers {
    /// Of the first client's request among them; none: the member's own.
    request_id: OnceLock<String>,
    outcome: OnceLock<Result<Round, Error>>,
    ended: Notify,
}

impl Readers {
    async fn outcome(&self) -> Result<Round, Error> {
        let mut ended = pin!(self.ended.notified());
        // From here on an end is not missed.
        ended.as_mut().enable();
        if self.outcome.get().is_none() {
            ended.await;
        }
        self.outcome.get().cloned().unwrap_or(Err(Error::ShuttingDown))
    }
}

impl Shared {
    fn next(&self) -> MutexGuard<'_, Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rounds {
    /// Rounds, and who is to serve them.
    pub fn new() -> (Rounds, Arrivals) {
        let shared = Arc::<Shared>::default();
        (Rounds { shared: shared.clone() }, Arrivals { shared })
    }

    /// Waits for the outcome of a round that begins after this call. `request_id` is the client's; empty:
    /// there is none behind it.
    pub async fn join(&self, request_id: &str) -> Result<Round, Error> {
        let readers = {
            let next = self.shared.next();
            if next.closed {
                return Err(Error::ShuttingDown);
            }
            if !request_id.is_empty() {
                next.readers.request_id.get_or_init(|| request_id.to_owned());
            }
            next.readers.clone()
        };
        self.shared.wanted.notify_one();
        readers.outcome().await
    }
}

impl Arrivals {
    /// Runs rounds for as long as reads may arrive; one at a time. `confirm` obtains a read index (term and
    /// index), for a request id.
    pub async fn serve<F>(self, env: Env, confirm: impl Fn(String) -> F)
    where
        F: Future<Output = Result<(u64, u64), Error>>,
    {
        loop {
            self.shared.wanted.notified().await;
            // Whoever has come by now is let in first: a burst shares one round.
            yield_now().await;
            let arrived = (!Mutant::RoundShared.is_on()).then(|| self.take());
            if arrived.as_ref().is_some_and(Ending::is_empty) {
                continue;
            }
            let began = env.now();
            let request_id = arrived.as_ref().and_then(|readers| readers.0.request_id.get()).cloned();
            let round = confirm(request_id.unwrap_or_default()).await;
            let readers = arrived.unwrap_or_else(|| self.take());
            readers.end(round.map(|(term, index)| Round { began, term, index }));
        }
    }

    /// Those who have arrived; whoever comes from now on waits for the next round.
    fn take(&self) -> Ending {
        Ending(mem::take(&mut self.shared.next().readers))
    }
}

/// Readers who are told the outcome, or at least that there is none.
struct Ending(Arc<Readers>);

impl Ending {
    /// Whether all of them have given up.
    fn is_empty(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn end(self, outcome: Result<Round, Error>) {
        // The only one that is ever set, unless this is dropped before.
        let _ = self.0.outcome.set(outcome);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.outcome.set(Err(Error::ShuttingDown));
        self.0.ended.notify_waiters();
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        let mut next = self.shared.next();
        next.closed = true;
        drop(Ending(mem::take(&mut next.readers)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    /// The confirmations that began, each waiting for a permit before it answers with its own number.
    struct Quorum {
        begun: AtomicU64,
        answers: Semaphore,
    }

    async fn confirm(quorum: Arc<Quorum>) -> Result<(u64, u64), Error> {
        let number = quorum.begun.fetch_add(1, Ordering::SeqCst) + 1;
        quorum.answers.acquire().await.map_err(|_| Error::NoQuorum)?.forget();
        Ok((1, number))
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_never_joins_a_round_that_began_before_it() {
        let quorum = Arc::new(Quorum { begun: AtomicU64::new(0), answers: Semaphore::new(0) });
        let (rounds, arrivals) = Rounds::new();
        let (rounds, at) = (Arc::new(rounds), quorum.clone());
        tokio::spawn(arrivals.serve(Env::real(), move |_| confirm(at.clone())));
        let join = |rounds: &Arc<Rounds>| {
            let rounds = rounds.clone();
            tokio::spawn(async move { rounds.join("").await.map(|round| round.index) })
        };
        let first = join(&rounds);
        while quorum.begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let late: Vec<_> = (0..5).map(|_| join(&rounds)).collect();
        tokio::task::yield_now().await;
        quorum.answers.add_permits(2);
        assert_eq!(first.await.expect("no panic"), Ok(1));
        for read in late {
            assert_eq!(read.await.expect("no panic"), Ok(2), "arrived during round 1, shares round 2");
        }
        assert_eq!(quorum.begun.load(Ordering::SeqCst), 2, "five reads, one round");
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_carries_the_id_of_the_first_client_in_it() {
        let (rounds, arrivals) = Rounds::new();
        let (named, mut names) = mpsc::channel(1);
        let joined = async { tokio::join!(rounds.join(""), rounds.join("a"), rounds.join("b")) };
        let serving = arrivals.serve(Env::real(), |name| {
            named.try_send(name).expect("one round");
            std::future::ready(Ok((1, 1)))
        });
        tokio::select! {
            biased;
            _ = joined => {}
            () = serving => {}
        }
        assert_eq!(names.recv().await.as_deref(), Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_when_it_ends_or_comes_later_is_told() {
        let (rounds, arrivals) = Rounds::new();
        let rounds = Arc::new(rounds);
        let serving = tokio::spawn(arrivals.serve(Env::real(), |_| std::future::pending()));
        let join = || {
            let rounds = rounds.clone();
            tokio::spawn(async move { rounds.join("").await })
        };
        let in_a_round = join();
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let for_the_next = join();
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        serving.abort();
        for waiting in [in_a_round, for_the_next] {
            assert_eq!(waiting.await.expect("no panic"), Err(Error::ShuttingDown));
        }
        assert_eq!(rounds.join("").await, Err(Error::ShuttingDown));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_server_that_never_ran() {
        let (rounds, arrivals) = Rounds::new();
        drop(arrivals.serve(Env::real(), |_| std::future::pending()));
        assert_eq!(rounds.join("").await, Err(Error::ShuttingDown));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_for_a_read_that_was_given_up() {
        let quorum = Arc::new(Quorum { begun: AtomicU64::new(0), answers: Semaphore::new(9) });
        let ((rounds, arrivals), at) = (Rounds::new(), quorum.clone());
        let mut given_up = Box::pin(rounds.join(""));
        assert!(futures::poll!(&mut given_up).is_pending());
        drop(given_up);
        tokio::spawn(arrivals.serve(Env::real(), move |_| confirm(at.clone())));
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(quorum.begun.load(Ordering::SeqCst), 0);
        assert_eq!(rounds.join("").await.map(|round| round.index), Ok(1), "control: one who waits");
    }
}
