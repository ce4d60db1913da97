//! The client's own exactly-once session: every write gets a number, and may then be repeated after any
//! error.
//!
//! The session is opened by the first write, kept alive while it is used, and given up when the client
//! goes or has been idle. If it ends under a write, nothing tells what earlier attempts of that write
//! did: its outcome is unknown. A write that was not tried before goes on in another session.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    time::{Instant, sleep, timeout_at},
};
use tracing::debug;

use super::{Client, Inner, lease};
use crate::{
    error::Error,
    recipes::LeaseApi,
    types::{CallOptions, LeaseId, SESSION_RESPONSES_MAX, SessionSeq},
};

/// How long a session lives without a keep-alive. Far longer than an election, or the patience of a write.
const TTL: Duration = Duration::from_secs(60);

/// A session that was not used for so many keep-alives is closed: the cluster keeps the last response for it.
const IDLE_ROUNDS: u32 = 3;

/// Writes that are neither answered nor given up, counted from the oldest: what the cluster remembers.
const WINDOW: u64 = SESSION_RESPONSES_MAX as u64 - 1;

/// The session in use, if there is one.
#[derive(Default)]
pub(super) struct Sessions {
    /// Held while one is opened, so that only one is.
    current: AsyncMutex<Option<Arc<Session>>>,
}

struct Session {
    id: LeaseId,
    ended: AtomicBool,
    used: AtomicBool,
    numbers: Mutex<Numbers>,
    /// A write was answered or given up.
    freed: Notify,
}

#[derive(Default)]
struct Numbers {
    last: u64,
    open: BTreeSet<u64>,
}

/// A write's place in the session. Dropped when the write is answered or given up: it is never applied later.
pub(super) struct Ticket {
    session: Arc<Session>,
    seq: u64,
}

impl Session {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_usable(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    /// Ends the session, unless a write is open in it. Whether it is for the caller to close.
    fn retire(&self) -> bool {
        let numbers = self.numbers();
        numbers.open.is_empty() && !self.ended.swap(true, Ordering::Relaxed)
    }

    /// The next number, unless too many are open, or the session has ended.
    fn take(self: &Arc<Self>) -> Option<Ticket> {
        let mut numbers = self.numbers();
        if !self.is_usable() {
            return None;
        }
        let seq = numbers.last + 1;
        let oldest = numbers.open.first().copied().unwrap_or(seq);
        if seq - oldest >= WINDOW {
            return None;
        }
        numbers.last = seq;
        numbers.open.insert(seq);
        self.used.store(true, Ordering::Relaxed);
        Some(Ticket { session: self.clone(), seq })
    }
}

impl Ticket {
    /// What an attempt of the write carries: it acknowledges all that has been answered by now, which may
    /// make the room that an earlier attempt did not find.
    pub fn name(&self) -> SessionSeq {
        let oldest = self.session.numbers().open.first().copied();
        SessionSeq { id: self.session.id, seq: self.seq, ack_below: oldest.unwrap_or(self.seq) }
    }

    /// The cluster says that the session has ended.
    pub fn session_has_ended(&self) {
        self.session.ended.store(true, Ordering::Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.session.numbers().open.remove(&self.seq);
        self.session.freed.notify_waiters();
    }
}

impl Client {
    /// A place in the session, which is opened if there is none.
    ///
    /// # Errors
    /// That no session can be opened by the deadline; `Overloaded` if too many writes of this client are
    /// open.
    pub(super) async fn ticket(&self, deadline: Instant) -> Result<Ticket, Error> {
        loop {
            let session = self.session(deadline).await?;
            let freed = session.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(ticket) = session.take() {
                return Ok(ticket);
            }
            if !session.is_usable() {
                continue;
            }
            let full = |_| Error::Overloaded {
                what: "open writes of this client's session".to_owned(),
                limit: WINDOW,
                retry_after: Duration::from_millis(50),
            };
            timeout_at(deadline, freed).await.map_err(full)?;
        }
    }

    async fn session(&self, deadline: Instant) -> Result<Arc<Session>, Error> {
        let late = |_| Error::Deadline { waiting_for: "a session".to_owned(), maybe_committed: false };
        let current = self.inner.sessions.current.lock();
        let mut current = timeout_at(deadline, current).await.map_err(late)?;
        if let Some(session) = current.as_ref().filter(|session| session.is_usable()) {
            return Ok(session.clone());
        }
        let id = self.open_session(deadline).await?;
        let session = Arc::new(Session {
            id,
            ended: AtomicBool::new(false),
            used: AtomicBool::new(true),
            numbers: Mutex::default(),
            freed: Notify::new(),
        });
        tokio::spawn(keep(Arc::downgrade(&self.inner), session.clone()));
        *current = Some(session.clone());
        Ok(session)
    }

    /// A repeated attempt may open a second session, which harms nobody: it ends by itself.
    async fn open_session(&self, deadline: Instant) -> Result<LeaseId, Error> {
        let timeout = Some(deadline.saturating_duration_since(Instant::now()));
        let options = CallOptions { timeout, ..CallOptions::default() };
        match lease::open_session(self, TTL, options).await {
            Ok(granted) => Ok(granted.id),
            // What was to be written was not sent.
            Err(
                Error::UnknownOutcome(_)
                | Error::Deadline { .. }
                | Error::Connection { maybe_committed: true, .. },
            ) => Err(Error::Deadline { waiting_for: "a session".to_owned(), maybe_committed: false }),
            Err(error) => Err(error),
        }
    }

    /// Gives the session up, if there is one, so that the cluster need not wait for its end. Writes that
    /// follow open another.
    ///
    /// # Errors
    /// As a write. The session then ends by itself, within a minute.
    pub async fn close_session(&self) -> Result<(), Error> {
        let session = self.inner.sessions.current.lock().await.take();
        let Some(session) = session.filter(|session| session.is_usable()) else { return Ok(()) };
        session.ended.store(true, Ordering::Relaxed);
        match lease::close_session(self, session.id, CallOptions::default()).await {
            Ok(()) | Err(Error::LeaseNotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Keeps a session alive until it ends, its client goes, or it has been idle.
async fn keep(client: Weak<Inner>, session: Arc<Session>) {
    let mut idle = 0;
    let options = CallOptions { timeout: Some(TTL / 6), ..CallOptions::default() };
    while session.is_usable() {
        sleep(TTL / 3).await;
        let Some(inner) = client.upgrade() else { return };
        let client = Client { inner };
        let used = session.used.swap(false, Ordering::Relaxed);
        idle = if used { 0 } else { idle + 1 };
        if idle >= IDLE_ROUNDS && session.retire() {
            let closed = lease::close_session(&client, session.id, options).await;
            return debug!(?closed, session = session.id, "closed an idle session");
        }
        match client.keep_alive(session.id, options.clone()).await {
            Err(Error::LeaseNotFound(_)) => session.ended.store(true, Ordering::Relaxed),
            Err(error) => debug!(%error, session = session.id, "cannot keep the session alive"),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Arc<Session> {
        Arc::new(Session {
            id: 7,
            ended: AtomicBool::new(false),
            used: AtomicBool::new(false),
            numbers: Mutex::default(),
            freed: Notify::new(),
        })
    }

    #[test]
    fn what_is_acknowledged_is_below_all_that_is_open() {
        let session = session();
        let take = || session.take().expect("room");
        let (first, second) = (take(), take());
        assert_eq!(second.name(), SessionSeq { id: 7, seq: 2, ack_below: 1 });
        drop(first);
        assert_eq!(second.name(), SessionSeq { id: 7, seq: 2, ack_below: 2 }, "its next attempt");
        drop(second);
        assert_eq!(take().name(), SessionSeq { id: 7, seq: 3, ack_below: 3 });
    }

    #[test]
    fn a_session_is_closed_only_when_no_write_is_open_in_it() {
        let session = session();
        let open = session.take().expect("room");
        assert!(!session.retire());
        drop(open);
        assert!(session.retire());
        assert!(session.take().is_none(), "it has ended");
        assert!(!session.retire(), "somebody else closes it");
    }

    #[test]
    fn one_that_stays_open_holds_the_others_up_before_the_cluster_would_refuse_them() {
        let session = session();
        let stuck = session.take().expect("room");
        for _ in 1..WINDOW {
            drop(session.take().expect("room"));
        }
        assert!(session.take().is_none());
        drop(stuck);
        assert!(session.take().is_some());
    }
}
