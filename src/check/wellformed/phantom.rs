//! Where each value that was seen came from.
//!
//! A value must have been written, by an operation that was not refused, and that was called before whoever
//! saw the value had the answer. An operation with unknown outcome may be the writer.

use std::collections::HashMap;

use super::TIER;
use crate::check::{
    effect::{self, Change, Effect, Glimpse},
    history::{Delivery, DeliveryKind, Event, Nanos, Operation},
    index::{Index, Key},
    verdict::{Findings, Violation},
};
use crate::types::Revision;

/// Who may have written a value.
#[derive(Clone, Copy, Default)]
struct Origin {
    /// The first call of an operation that did it or may have; its index.
    possible: Option<(Nanos, u64)>,
    /// An operation that would have, but did not.
    refused: Option<u64>,
}

/// Somebody saw a value.
#[derive(Clone, Copy)]
struct Sight<'a> {
    key: Key,
    value: &'a str,
    mod_revision: Revision,
    at: Nanos,
    /// The operation that saw it; `None`: a watch.
    by: Option<&'a Operation>,
}

/// Reports values from nowhere, of refused writes, and from the future. O(n).
pub fn check(index: &Index<'_>, findings: &mut Findings) {
    let origins = origins(index);
    let mut look = |sight: Sight<'_>| {
        let is_list = index.lists[sight.key as usize];
        let texts = if is_list { effect::elements(sight.value).collect() } else { vec![sight.value] };
        // When a list was last changed says nothing about its elements.
        let mod_revision = if is_list { 0 } else { sight.mod_revision };
        for value in texts {
            let sight = Sight { value, mod_revision, ..sight };
            let origin = origins.get(&(sight.key, value)).copied().unwrap_or_default();
            if let Some(violation) = judge(index, sight, origin) {
                findings.violated(violation);
            }
        }
    };
    for operation in &index.history.operations {
        effect::glimpses(operation, |key, glimpse| {
            let (value, mod_revision) = match glimpse {
                Glimpse::Found(found) => (&*found.value, found.mod_revision),
                Glimpse::Value(value) | Glimpse::Element(value) => (&**value, 0),
            };
            let key = index.key(key);
            look(Sight { key, value, mod_revision, at: operation.ret, by: Some(operation) });
        });
    }
    index.history.deliveries.iter().for_each(|delivery| watched(index, delivery, &mut look));
}

fn watched<'a>(index: &Index<'a>, delivery: &'a Delivery, judge: &mut impl FnMut(Sight<'a>)) {
    let DeliveryKind::Events(events) = &delivery.kind else { return };
    let mut tell = |event: &'a Event, value: &'a str, mod_revision: Revision| {
        let key = index.key(&event.key);
        judge(Sight { key, value, mod_revision, at: delivery.at, by: None });
    };
    for event in events {
        if let Some(value) = &event.value {
            tell(event, value, event.revision);
        }
        if let Some(Some(value)) = &event.previous {
            // What it replaced is older than itself; how much older is not told.
            tell(event, value, 0);
        }
    }
}

fn origins<'a>(index: &Index<'a>) -> HashMap<(Key, &'a str), Origin> {
    let mut origins: HashMap<(Key, &str), Origin> = HashMap::new();
    for operation in &index.history.operations {
        let is_possible = effect::effect(operation) != Effect::None;
        effect::changes(&operation.action, |key, change| {
            let key = index.key(key);
            let mut add = |value: &'a str| {
                let origin = origins.entry((key, value)).or_default();
                let this = (operation.call, operation.index);
                match is_possible {
                    true => origin.possible = Some(origin.possible.map_or(this, |known| known.min(this))),
                    false => origin.refused = Some(operation.index),
                }
            };
            match change {
                Change::Set(value) if index.lists[key as usize] => effect::elements(value).for_each(add),
                Change::Set(value) | Change::Append(value) => add(value),
                Change::Delete => {}
            }
        });
    }
    origins
}

fn judge(index: &Index<'_>, sight: Sight<'_>, origin: Origin) -> Option<Violation> {
    let name = index.name(sight.key);
    let value = sight.value;
    let who = if sight.by.is_some() { "read" } else { "told by a watch" };
    let (anomaly, why, other) = match (origin.possible, origin.refused) {
        (Some((call, _)), _) if call <= sight.at => return None,
        _ if is_older(index, sight) => return None,
        (Some((call, writer)), _) => {
            let early = (call - sight.at) as f64 / 1e6;
            let why =
                format!("{value:?} of {name:?} was {who} {early:.3} ms before anybody was about to write it");
            ("future-read", why, Some(writer))
        }
        (None, Some(writer)) => {
            ("aborted-read", format!("{value:?} of {name:?} was {who}; its write was refused"), Some(writer))
        }
        (None, None) if !index.is_known(sight.key) => return None,
        (None, None) => ("phantom-read", format!("{value:?} of {name:?} was {who}; nobody wrote it"), None),
    };
    let operations = sight.by.map(|operation| operation.index).into_iter().chain(other).collect();
    let level = sight.by.and_then(|operation| operation.level).map(|level| level.name());
    Some(Violation { tier: TIER, anomaly, level, why, operations })
}

/// Whether the value may be older than the history. One that was compared, or that a watch tells as replaced,
/// has no revision to go by.
fn is_older(index: &Index<'_>, sight: Sight<'_>) -> bool {
    match sight.mod_revision {
        0 => index.has_past(),
        told => index.is_older(told),
    }
}
