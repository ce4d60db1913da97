//! Watching keys change.

use std::time::Duration;

use super::{Header, KeyRange, KeyValue, Revision};

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Which keys.
    pub keys: KeyRange,
    /// The first revision of interest; may be in the future. 0: what comes after the member's present.
    pub start_revision: Revision,
    /// Leave out keys being set.
    pub no_put: bool,
    /// Leave out keys being deleted.
    pub no_delete: bool,
    /// Tell the pair that was replaced or deleted, as long as it is not compacted.
    pub prev_kv: bool,
    /// Tell after so much silence how far the watch has come; `None`: only when asked.
    pub progress_interval: Option<Duration>,
}

impl Watch {
    /// All changes of `keys` from now on.
    pub fn new(keys: KeyRange) -> Watch {
        Watch {
            keys,
            start_revision: 0,
            no_put: false,
            no_delete: false,
            prev_kv: false,
            progress_interval: None,
        }
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// Whether the key was deleted; the pair then has key and `mod_revision` only.
    pub deleted: bool,
    /// The pair from then on. `mod_revision` is the revision of the change.
    pub kv: KeyValue,
    /// The pair before, if asked for and not compacted.
    pub prev_kv: Option<KeyValue>,
}

/// What a watch tells. Revisions never go back, and no event is told twice or left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchUpdate {
    /// It has begun: events of `header.revision` and before are told only if `start_revision` asked for them.
    Created(Header),
    /// All events of one revision that it is to tell, in order.
    Events {
        /// Who tells; `revision` is that of the events.
        header: Header,
        /// What happened.
        events: Vec<WatchEvent>,
    },
    /// Everything up to `header.revision` has been told.
    Progress(Header),
}
