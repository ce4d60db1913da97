//! Quorum rounds, shared: all reads that wait when a round begins are answered by it.
//!
//! A read joins only a round that begins *after* the read arrived, since an earlier one may have been
//! confirmed before a write which that read must see. While a round runs, arrivals gather for the next. A
//! round carries the request id of the first client's read among them, for the log of the leader.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

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

/// A read that waits.
struct Reader {
    /// Of the client's request; empty: the member's own.
    request_id: String,
    outcome: oneshot::Sender<Result<Round, Error>>,
}

/// Where reads join. The queue is as long as there may be reads under way.
pub struct Rounds {
    readers: mpsc::Sender<Reader>,
}

/// The reads that have arrived.
pub struct Arrivals(mpsc::Receiver<Reader>);

impl Rounds {
    /// Rounds for at most `reads_max` reads at once.
    pub fn new(reads_max: usize) -> (Rounds, Arrivals) {
        let (readers, arrivals) = mpsc::channel(reads_max);
        (Rounds { readers }, Arrivals(arrivals))
    }

    /// Waits for the outcome of a round that begins after this call. `request_id` is the client's; empty:
    /// there is none behind it.
    pub async fn join(&self, request_id: &str) -> Result<Round, Error> {
        let (sender, outcome) = oneshot::channel();
        let reader = Reader { request_id: request_id.to_owned(), outcome: sender };
        self.readers.send(reader).await.map_err(|_| Error::ShuttingDown)?;
        outcome.await.map_err(|_| Error::ShuttingDown)?
    }
}

impl Arrivals {
    /// Runs rounds for as long as reads may arrive. `confirm` obtains a read index (term and index), for a
    /// request id.
    pub async fn serve<F>(mut self, env: Env, confirm: impl Fn(String) -> F)
    where
        F: Future<Output = Result<(u64, u64), Error>>,
    {
        let mut readers: Vec<Reader> = Vec::new();
        while self.0.recv_many(&mut readers, usize::MAX).await > 0 {
            let began = env.now();
            let named = readers.iter().find(|reader| !reader.request_id.is_empty());
            let request_id = named.map(|reader| reader.request_id.clone()).unwrap_or_default();
            let round = confirm(request_id).await.map(|(term, index)| Round { began, term, index });
            while Mutant::RoundShared.is_on()
                && let Ok(late) = self.0.try_recv()
            {
                readers.push(late);
            }
            for reader in readers.drain(..) {
                // A reader that gave up is no one's loss.
                let _ = reader.outcome.send(round.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use tokio::sync::Semaphore;

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
        let (rounds, arrivals) = Rounds::new(16);
        let rounds = Arc::new(rounds);
        let at = quorum.clone();
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
        let (rounds, arrivals) = Rounds::new(16);
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
}
