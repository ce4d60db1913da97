//! Watches: the hub's, with headers. A member tells what it has applied, and needs no leader for that.

use std::{future::Future, sync::Arc};

use futures::stream;
use tokio::time::sleep;

use super::{Inner, Node};
use crate::{
    error::Error,
    recipes::{WatchApi, WatchStream},
    state,
    types::{Header, Range, Revision, Watch, WatchUpdate},
    watch::{ProgressRequest, Told, Watcher},
};

/// Longest elections without a sign from a quorum, after which a member counts as cut off. An election, even
/// one that has to be held twice, takes fewer.
const OUT_OF_TOUCH_ELECTIONS: u32 = 4;

impl WatchApi for Node {
    async fn watch(&self, watch: Watch) -> Result<WatchStream, Error> {
        Ok(self.open_watch(watch)?.0)
    }
}

impl Node {
    /// As [`WatchApi::watch`], with a handle to ask how far it has come. Dropping the stream ends the watch;
    /// one that is not read holds a bounded amount of memory, and holds up nobody.
    ///
    /// # Errors
    /// `Invalid`, `TooLarge`; `Overloaded` if this member has too many watches; `NotReady` as long as it may
    /// be behind what it has told before; `ShuttingDown`, `Stopped`.
    pub fn open_watch(&self, watch: Watch) -> Result<(WatchStream, ProgressRequest), Error> {
        let node = &self.inner;
        state::validate_range(&Range::new(watch.keys.clone()), &node.config.limits)?;
        if !node.is_recovered() {
            return Err(Error::NotReady("it has not applied its log yet".to_owned()));
        }
        let watcher = node.watches.watch(watch)?;
        let progress = watcher.progress_request();
        let updates = stream::unfold(Some((watcher, node.clone())), |open| async {
            let (mut watcher, node) = open?;
            match node.next_update(&mut watcher).await {
                Ok(update) => Some((Ok(update), Some((watcher, node)))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok((Box::pin(updates), progress))
    }
}

impl Node {
    /// Whether no quorum has confirmed for several elections what this member has applied. Its watches go on,
    /// and may have nothing to tell of what happens at the others.
    pub fn is_out_of_touch(&self) -> bool {
        let config = &self.inner.config;
        let patience = config.election_timeout_max.max(config.certificate_interval) * OUT_OF_TOUCH_ELECTIONS;
        self.inner.staleness().is_none_or(|age| age > patience)
    }

    /// Resolves when this member is found out of touch.
    pub async fn loses_touch(&self) {
        loop {
            sleep(self.inner.config.election_timeout_max).await;
            if self.is_out_of_touch() {
                return;
            }
        }
    }

    /// Resolves when watches end here: the member shuts down, or has failed.
    pub fn watches_closed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.watches.closed()
    }
}

impl Inner {
    async fn next_update(self: &Arc<Self>, watcher: &mut Watcher) -> Result<WatchUpdate, Error> {
        let told = watcher.next().await.inspect_err(|error| {
            if let Error::Stopped(why) = error {
                self.fail(why.clone());
            }
        })?;
        Ok(match told {
            Told::Created(revision) => WatchUpdate::Created(self.header_at(revision)),
            Told::Progress(revision) => WatchUpdate::Progress(self.header_at(revision)),
            Told::Events(revision, events) => {
                WatchUpdate::Events { header: self.header_at(revision), events }
            }
        })
    }

    /// A header of the present, for something that belongs to a revision.
    fn header_at(&self, revision: Revision) -> Header {
        Header { revision, ..self.header(String::new(), &self.state.position()) }
    }
}
