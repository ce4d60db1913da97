//! Watches: the hub's, with headers. A member tells what it has applied, and needs no leader for that.

use std::{future::Future, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use super::{Inner, Node};
use crate::{
    error::Error,
    recipes::{WatchApi, WatchStream},
    state,
    types::{Header, Range, Revision, Watch, WatchUpdate},
    watch::{ProgressRequest, Told, Watcher, wire_bytes},
};

/// Longest elections without a sign from a quorum, after which a member counts as cut off. An election, even
/// one that has to be held twice, takes fewer.
const OUT_OF_TOUCH_ELECTIONS: u32 = 4;
/// Bytes of one revision with the pairs before each change, beyond which a watch in this process that asks
/// for them ends: these are read for it alone. Without them a revision is as large as it is in the state.
const WHOLE_BYTES_MAX: usize = 64 << 20;

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchPart {
    /// Of events all of their revision, or about 1 MiB of it.
    pub update: WatchUpdate,
    /// The next part has more events of the same revision.
    pub more: bool,
}

/// What a watch tells, a large revision in parts. An error is its last item.
pub type WatchParts = Pin<Box<dyn Stream<Item = Result<WatchPart, Error>> + Send>>;

/// A bound on one revision that is told whole.
#[derive(Clone, Debug)]
pub struct WholeMax {
    /// What it bounds, as the error names it.
    pub what: &'static str,
    /// Bytes of keys and values, and some for each event.
    pub bytes: usize,
}

impl WatchApi for Node {
    /// With [`Watch::prev_kv`] a revision that takes more than 64 MiB, the pairs before its changes included,
    /// ends the watch with [`Error::TooLarge`]: [`Node::open_watch`] tells it in parts.
    async fn watch(&self, watch: Watch) -> Result<WatchStream, Error> {
        let bytes = if watch.prev_kv { WHOLE_BYTES_MAX } else { usize::MAX };
        let parts = self.open_watch(watch)?.0;
        let max = WholeMax { what: "of a watch with prev_kv", bytes };
        Ok(whole(parts, max).map_ok(|part| part.update).boxed())
    }
}

/// Puts the parts of each revision together. One that exceeds the bound ends the watch with `TooLarge`.
pub fn whole(parts: WatchParts, max: WholeMax) -> WatchParts {
    stream::unfold(Some((parts, max)), |open| async {
        let (mut parts, max) = open?;
        let next = next_whole(&mut parts, &max).await?;
        let rest = next.is_ok().then_some((parts, max));
        Some((next, rest))
    })
    .boxed()
}

async fn next_whole(parts: &mut WatchParts, max: &WholeMax) -> Option<Result<WatchPart, Error>> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    loop {
        let (header, mut events, more) = match parts.next().await? {
            Ok(WatchPart { update: WatchUpdate::Events { header, events }, more }) => (header, events, more),
            other => return Some(other),
        };
        bytes += events.iter().map(wire_bytes).sum::<usize>();
        if bytes > max.bytes {
            let (what, limit, actual) = (max.what.to_owned(), max.bytes as u64, bytes as u64);
            return Some(Err(Error::TooLarge { what, limit, actual }));
        }
        all.append(&mut events);
        if !more {
            return Some(Ok(WatchPart { update: WatchUpdate::Events { header, events: all }, more }));
        }
    }
}

impl Node {
    /// As [`WatchApi::watch`], with large revisions in parts, and a handle to ask how far it has come.
    /// Dropping the stream ends the watch; one that is not read holds a bounded amount of memory, and holds
    /// up nobody.
    ///
    /// # Errors
    /// `Invalid`, `TooLarge`; `Overloaded` if this member has too many watches; `NotReady` as long as it may
    /// be behind what it has told before; `ShuttingDown`, `Stopped`.
    pub fn open_watch(&self, watch: Watch) -> Result<(WatchParts, ProgressRequest), Error> {
        let node = &self.inner;
        state::validate_range(&Range::new(watch.keys.clone()), &node.config.limits)?;
        if !node.is_recovered() {
            return Err(Error::NotReady("it has not applied its log yet".to_owned()));
        }
        let watcher = node.watches.watch(watch)?;
        let progress = watcher.progress_request();
        let updates = stream::unfold(Some((watcher, node.clone())), |open| async {
            let (mut watcher, node) = open?;
            match node.next_part(&mut watcher).await {
                Ok(part) => Some((Ok(part), Some((watcher, node)))),
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
    async fn next_part(self: &Arc<Self>, watcher: &mut Watcher) -> Result<WatchPart, Error> {
        let told = watcher.next().await.inspect_err(|error| {
            if let Error::Stopped(why) = error {
                self.fail(why.clone());
            }
        })?;
        let more = matches!(told, Told::Events { more: true, .. });
        let update = match told {
            Told::Created(revision) => WatchUpdate::Created(self.header_at(revision)),
            Told::Progress(revision) => WatchUpdate::Progress(self.header_at(revision)),
            Told::Events { revision, events, .. } => {
                WatchUpdate::Events { header: self.header_at(revision), events }
            }
        };
        Ok(WatchPart { update, more })
    }

    /// A header of the present, for something that belongs to a revision.
    fn header_at(&self, revision: Revision) -> Header {
        Header { revision, ..self.header(String::new(), &self.state.position()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{KeyValue, WatchEvent};

    fn events(sizes: &[usize], more: bool) -> Result<WatchPart, Error> {
        let event = |bytes: &usize| {
            let (key, value) = (bytes.to_string().into(), vec![0; *bytes].into());
            let kv = KeyValue { key, value, create_revision: 7, mod_revision: 7, version: 1, lease: 0 };
            WatchEvent { deleted: false, kv, prev_kv: None }
        };
        let events = sizes.iter().map(event).collect();
        Ok(WatchPart { update: WatchUpdate::Events { header: header(), events }, more })
    }

    fn header() -> Header {
        Header { revision: 7, ..Header::default() }
    }

    async fn told(parts: Vec<Result<WatchPart, Error>>) -> Vec<Result<WatchPart, Error>> {
        let max = WholeMax { what: "it", bytes: 2000 };
        whole(stream::iter(parts).boxed(), max).collect().await
    }

    #[tokio::test]
    async fn the_parts_of_a_revision_are_put_together_and_nothing_else_is() {
        let progress = || Ok(WatchPart { update: WatchUpdate::Progress(header()), more: false });
        let parts = vec![progress(), events(&[1], true), events(&[2, 3], true), events(&[4], false)];
        let parts = parts.into_iter().chain([events(&[5], false), Err(Error::ShuttingDown)]).collect();
        let expected =
            [progress(), events(&[1, 2, 3, 4], false), events(&[5], false), Err(Error::ShuttingDown)];
        assert_eq!(told(parts).await, expected);
        assert_eq!(told(vec![events(&[1], true)]).await, [], "what ends in the middle is not told");
    }

    #[tokio::test]
    async fn a_revision_that_is_too_large_to_be_whole_ends_the_watch() {
        let parts =
            vec![events(&[1000], false), events(&[1000], true), events(&[900], true), events(&[1], false)];
        let (what, limit, actual) = ("it".to_owned(), 2000, 1000 + 900 + 2 * 64 + 4 + 3);
        let error = Error::TooLarge { what, limit, actual };
        assert_eq!(told(parts).await, [events(&[1000], false), Err(error)]);
    }
}
