//! A row to a delivery.

use super::Wrong;
use crate::check::{
    format::{
        jsonl::row::{DeliveryRow, EventRow},
        text::Texts,
    },
    history::{Delivery, DeliveryKind, Event},
};

/// The delivery that a row tells.
pub(super) fn delivery(row: DeliveryRow, texts: &mut Texts) -> Result<Delivery, Wrong> {
    let DeliveryRow { watch, prefix, at, node, opened, events, progress, cancelled } = row;
    let kind = match (opened, events, progress, cancelled) {
        (Some(opened), None, None, None) => DeliveryKind::Opened { from: opened.from },
        (None, Some(events), None, None) => {
            DeliveryKind::Events(events.into_iter().map(|row| event(row, texts)).collect())
        }
        (None, None, Some(progress), None) => DeliveryKind::Progress { revision: progress.revision },
        (None, None, None, Some(cancelled)) => {
            DeliveryKind::Cancelled { why: texts.get(&cancelled.why.0), compacted: cancelled.compacted }
        }
        _ => {
            let what = "expected one of \"opened\", \"events\", \"progress\" or \"cancelled\" with a watch";
            return Err(Wrong::new("watch", what));
        }
    };
    Ok(Delivery { watch, prefix: texts.get(&prefix.0), at, node, kind })
}

fn event(row: EventRow, texts: &mut Texts) -> Event {
    let EventRow { key, value, revision, create_revision, version, previous } = row;
    Event {
        key: texts.get(&key.0),
        value: value.map(|value| texts.get(&value.0)),
        revision,
        create_revision,
        version,
        previous: previous.map(|previous| previous.map(|value| texts.get(&value.0))),
    }
}
