//! Watches: [`WatchApi`] over gRPC, across the loss of members.
//!
//! All watches of a client share one stream to one member, its [`Link`](link::Link): a thousand watches are
//! one call on one connection. Who is on the other end does not matter, since every member tells every event.
//! When the link is lost, each watch goes on over the next one, from the revision that it needs next.
//!
//! - What a watch needs next is the revision behind the last one that was given to its reader, or that the
//!   member said to have told. A revision that arrived in part is forgotten with its link. So nothing is
//!   left out and nothing told twice.
//! - A reader that is slow does not hold up the others: its `mailbox` is bounded; when it is full, the watch
//!   is cancelled at the member, and begun again when the reader has read what there is.
//! - A member that is silent is asked for progress, and left when it does not answer, or answers that it has
//!   lost touch with the others.
//!
//! A watch that has begun does not give up: as long as no member can be reached it goes on trying, with
//! pauses. One that cannot begin within the client's timeout says why.

mod link;
mod mailbox;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::stream;
use tokio::time::{Instant, sleep};

pub(super) use self::link::Links;
use self::{
    link::Feed,
    mailbox::{Lost, Update},
};
use super::{
    Client,
    retry::{self, Kind, Verdict},
};
use crate::{
    error::Error,
    mutant::Mutant,
    pb::v1,
    recipes::{WatchApi, WatchStream},
    types::{Revision, Watch, WatchEvent, WatchUpdate},
};

/// A watch that asks for no progress gets it all the same, for itself: where to go on must not fall behind
/// what is compacted, however rare its events are.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);

impl WatchApi for Client {
    async fn watch(&self, watch: Watch) -> Result<WatchStream, Error> {
        let reader = Reader::new(self.clone(), watch);
        Ok(Box::pin(stream::unfold(Some(reader), |reader| async {
            let mut reader = reader?;
            match reader.next().await {
                Ok(update) => Some((Ok(update), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        })))
    }
}

/// A watch, over one link after the other.
struct Reader {
    client: Client,
    watch: Watch,
    /// What to tell, by the member's responses.
    progress: Position,
    feed: Option<Feed>,
    /// Until when it must have begun.
    begin_by: Instant,
    /// Attempts since something was heard.
    attempts: u32,
}

/// How far a watch has come, and what has arrived of the revision that comes next.
#[derive(Debug)]
struct Position {
    created: bool,
    /// The first revision that was not told. 0: whatever the member is at.
    next: Revision,
    parts: Vec<WatchEvent>,
    wants_progress: bool,
}

impl Reader {
    fn new(client: Client, watch: Watch) -> Reader {
        let begin_by = Instant::now() + client.inner.settings.timeout;
        let progress = Position::new(&watch);
        Reader { client, watch, progress, feed: None, begin_by, attempts: 0 }
    }

    async fn next(&mut self) -> Result<WatchUpdate, Error> {
        loop {
            let feed = match &mut self.feed {
                Some(feed) => feed,
                None => match self.begin().await {
                    Ok(feed) => self.feed.insert(feed),
                    Err(error) => {
                        self.pause_after(error).await?;
                        continue;
                    }
                },
            };
            match feed.next().await {
                Ok(response) => {
                    self.attempts = 0;
                    if let Some(update) = self.take(response).await? {
                        return Ok(update);
                    }
                }
                Err(lost) => self.lose(lost).await?,
            }
        }
    }

    async fn begin(&mut self) -> Result<Feed, Error> {
        self.progress.go_back();
        let watch = self.watch.clone();
        let interval = watch.progress_interval.or(Some(PROGRESS_INTERVAL));
        let from_here = Watch { start_revision: self.progress.start(), progress_interval: interval, ..watch };
        let create = v1::WatchCreate { fragment: true, ..from_here.into() };
        self.client.link().await?.begin(create).await
    }

    /// What a response tells, if anything. An error is the end.
    async fn take(&mut self, response: v1::WatchResponse) -> Result<Option<WatchUpdate>, Error> {
        match self.progress.take(response) {
            Ok(update) => Ok(update),
            Err(error) => {
                self.lose(Lost::Refused(error)).await?;
                Ok(None)
            }
        }
    }

    /// The feed has ended.
    async fn lose(&mut self, lost: Lost) -> Result<(), Error> {
        self.progress.parts.clear();
        let feed = self.feed.take();
        match lost {
            Lost::TooSlow => Ok(()),
            Lost::Link(error) => self.pause_after(error).await,
            Lost::Refused(error) => {
                if let Some(feed) = feed.filter(|_| retry::verdict(Kind::Read, &error) == Verdict::Elsewhere)
                {
                    feed.leave_member(&self.client, &error);
                }
                self.pause_after(error).await
            }
        }
    }

    /// Waits until it is time to try again; or the error is one that trying does not get over.
    async fn pause_after(&mut self, error: Error) -> Result<(), Error> {
        let least = match retry::verdict(Kind::Read, &error) {
            Verdict::GiveUp => return Err(error),
            Verdict::Later(least) => least,
            Verdict::Elsewhere | Verdict::Around => Duration::ZERO,
        };
        let is_full = matches!(error, Error::Overloaded { .. });
        if !self.progress.created && (is_full || Instant::now() >= self.begin_by) {
            return Err(error);
        }
        // Each endpoint is tried once before the first pause.
        let rounds = self.attempts / self.client.endpoints().len().max(1) as u32;
        self.attempts = self.attempts.saturating_add(1);
        let pause = match rounds.checked_sub(1) {
            Some(round) => retry::pause(round, self.client.jitter()),
            None => Duration::ZERO,
        };
        tracing::debug!(%error, ?pause, next = self.progress.next, "a watch goes on elsewhere");
        sleep(pause.max(least)).await;
        Ok(())
    }
}

impl Position {
    fn new(watch: &Watch) -> Position {
        Position {
            created: false,
            next: watch.start_revision,
            parts: Vec::new(),
            wants_progress: watch.progress_interval.is_some(),
        }
    }

    /// Where to begin at the next member.
    fn start(&self) -> Revision {
        if self.created && Mutant::WatchGap.is_on() { 0 } else { self.next }
    }

    /// By [`Mutant::WatchTwice`] alone.
    fn go_back(&mut self) {
        if self.created && Mutant::WatchTwice.is_on() {
            self.next = self.next.saturating_sub(1).max(1);
        }
    }

    /// What a response tells that was not told before.
    ///
    /// # Errors
    /// Why the watch was cancelled; `Protocol`.
    fn take(&mut self, response: v1::WatchResponse) -> Result<Option<WatchUpdate>, Error> {
        let Update { header, kind, events, more } = Update::read(response)?;
        let revision = header.revision;
        match kind {
            mailbox::Kind::Created => {
                // Of another member than before it says nothing new.
                self.next = self.next.max(revision + u64::from(self.next == 0));
                let first = !std::mem::replace(&mut self.created, true);
                Ok(first.then_some(WatchUpdate::Created(header)))
            }
            mailbox::Kind::Progress if revision >= self.next => {
                self.next = revision + 1;
                Ok(self.wants_progress.then_some(WatchUpdate::Progress(header)))
            }
            // It says again what was said: the last sign of life counts, if it does not go back.
            mailbox::Kind::Progress if revision + 1 == self.next && self.wants_progress => {
                Ok(Some(WatchUpdate::Progress(header)))
            }
            mailbox::Kind::Events if revision >= self.next => {
                self.parts.extend(events);
                if more {
                    return Ok(None);
                }
                self.next = revision + 1;
                Ok(Some(WatchUpdate::Events { header, events: std::mem::take(&mut self.parts) }))
            }
            mailbox::Kind::Progress | mailbox::Kind::Events => Ok(None),
        }
    }
}
