//! Watches and events.

use std::time::Duration;

use super::{kv::key_range, millis_ceil, required};
use crate::{
    error::Error,
    pb::v1,
    types::{Watch, WatchEvent},
};

impl From<Watch> for v1::WatchCreate {
    fn from(watch: Watch) -> Self {
        v1::WatchCreate {
            watch_id: 0,
            keys: Some(watch.keys.into()),
            start_revision: watch.start_revision,
            no_put: watch.no_put,
            no_delete: watch.no_delete,
            prev_kv: watch.prev_kv,
            // Up, so that a short interval does not become none.
            progress_interval_ms: watch.progress_interval.map_or(0, millis_ceil),
            fragment: false,
        }
    }
}

impl TryFrom<v1::WatchCreate> for Watch {
    type Error = Error;

    fn try_from(create: v1::WatchCreate) -> Result<Self, Error> {
        let interval = create.progress_interval_ms;
        Ok(Watch {
            keys: key_range(create.keys)?,
            start_revision: create.start_revision,
            no_put: create.no_put,
            no_delete: create.no_delete,
            prev_kv: create.prev_kv,
            progress_interval: (interval != 0).then(|| Duration::from_millis(interval)),
        })
    }
}

impl From<WatchEvent> for v1::Event {
    fn from(event: WatchEvent) -> Self {
        let WatchEvent { deleted, kv, prev_kv } = event;
        v1::Event { deleted, kv: Some(kv.into()), prev_kv: prev_kv.map(Into::into) }
    }
}

impl TryFrom<v1::Event> for WatchEvent {
    type Error = Error;

    fn try_from(event: v1::Event) -> Result<Self, Error> {
        let v1::Event { deleted, kv, prev_kv } = event;
        Ok(WatchEvent { deleted, kv: required("kv", kv)?.into(), prev_kv: prev_kv.map(Into::into) })
    }
}
