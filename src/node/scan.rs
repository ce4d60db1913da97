//! Reading a range of any size: page by page, at one pinned revision.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::{Node, admission::Permit, call::Call};
use crate::{
    error::Error,
    state::{self, Page, PageQuery},
    types::{CallOptions, Consistency, Evidence, Header, KeyValue, Range, Scan},
};

/// Bytes of keys and values in one chunk, about.
const PAGE_BYTES: usize = 1 << 20;

/// Chunks of a scan, each at most about 1 MiB.
pub type ScanStream = Pin<Box<dyn Stream<Item = Result<Vec<KeyValue>, Error>> + Send>>;

impl Node {
    /// Reads a range of any size at one revision: of the header, or the one asked for. The call's time bounds
    /// the wait for each part, not the whole, which may be long. The stream ends with
    /// [`Error::Compacted`] if that revision is compacted meanwhile.
    pub async fn scan(
        &self,
        scan: Scan,
        consistency: Consistency,
        options: CallOptions,
    ) -> Result<(Header, Evidence, ScanStream), Error> {
        let node = &self.inner;
        let call = Call::begin(options, &node.config, &node.env);
        let patience = call.left();
        let place = node.admission.read()?;
        state::validate_range(&Range::new(scan.keys.clone()), &node.config.limits)?;
        let permission = node.permit(consistency, &call).await?;
        let view = node.state.position();
        let pinned = if scan.revision == 0 { view.revision } else { scan.revision };
        let evidence = node.evidence(&permission, &view, scan.revision != 0, &call);
        let header = Header { revision: pinned, ..node.header(call.request_id.clone(), &view) };
        let scan = Scan { revision: pinned, ..scan };
        let cursor = Cursor { node: self.clone(), place, patience, scan, after: None };
        // The first page here, so that a revision which cannot be read is this call's own error.
        let (first, cursor) = cursor.page().await?;
        let rest = stream::try_unfold(cursor, |cursor| async move {
            match cursor {
                Some(cursor) => cursor.page().await.map(Some),
                None => Ok(None),
            }
        });
        Ok((header, evidence, Box::pin(stream::once(async { Ok(first) }).chain(rest))))
    }
}

/// Where a scan stands.
struct Cursor {
    node: Node,
    /// Held for as long as the scan, and until the page that is being read is done.
    place: Permit,
    /// How long each part may take: the time that the call had.
    patience: Duration,
    scan: Scan,
    /// The last key of the page before.
    after: Option<Bytes>,
}

impl Cursor {
    /// The next page, and where to go on, if there is more.
    async fn page(self) -> Result<(Vec<KeyValue>, Option<Cursor>), Error> {
        let Cursor { node, place, patience, scan, after } = self;
        let deadline = Instant::now() + patience;
        let state = node.inner.state.clone();
        let read = move || {
            let query = PageQuery {
                keys: &scan.keys,
                revision: scan.revision,
                after,
                bytes_max: PAGE_BYTES,
                keys_only: scan.keys_only,
            };
            (state.scan_page(&query), scan)
        };
        let reading = node.inner.admission.heavy_read(place.clone(), deadline, read).await?;
        let late = |_| Error::Deadline {
            waiting_for: "the next part of the scan".to_owned(),
            maybe_committed: false,
        };
        let reading = timeout_at(deadline, reading).await.map_err(late)?;
        let (page, scan) = reading.map_err(|panic| Error::Stopped(panic.to_string()))?;
        let Page { kvs, next, .. } = page.map_err(|error| node.inner.unreadable(error))?;
        let rest = next.map(|after| Cursor { node, place, patience, scan, after: Some(after) });
        Ok((kvs, rest))
    }
}
