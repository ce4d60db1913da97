//! The JSON objects of `watch`: one per line.

use serde::Serialize;

use super::PairObject;
use crate::types::{Revision, WatchEvent};

/// One event.
#[derive(Serialize)]
pub(in crate::cli) struct EventObject {
    #[serde(rename = "type")]
    kind: &'static str,
    revision: Revision,
    kv: PairObject,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_kv: Option<PairObject>,
}

impl From<WatchEvent> for EventObject {
    fn from(event: WatchEvent) -> EventObject {
        let WatchEvent { deleted, kv, prev_kv } = event;
        let revision = kv.mod_revision;
        EventObject {
            kind: if deleted { "delete" } else { "put" },
            revision,
            kv: if deleted { PairObject::key_only(kv) } else { kv.into() },
            prev_kv: prev_kv.map(Into::into),
        }
    }
}

/// Everything up to a revision has been told.
#[derive(Serialize)]
pub(in crate::cli) struct ProgressObject {
    #[serde(rename = "type")]
    kind: &'static str,
    revision: Revision,
}

impl ProgressObject {
    pub fn new(revision: Revision) -> ProgressObject {
        ProgressObject { kind: "progress", revision }
    }
}
