//! Watches of what all the others do, each of which goes on where it was, after it was ended on purpose.

use std::time::Duration;

use futures::StreamExt;
use rand::RngExt;

use super::{
    Crew, Part,
    actor::{Actor, bytes},
};
use crate::{
    check::history::{Delivery, DeliveryKind, Event, Text, text},
    error::Error,
    recipes::WatchApi,
    types::{KeyRange, Revision, Watch, WatchEvent, WatchUpdate},
};

/// The parts that are watched, by a watcher each.
const WATCHED: [Part; 4] = [Part::Register, Part::Lease, Part::Txn, Part::Append];

pub fn crew(crew: &mut Crew) {
    for part in WATCHED {
        crew.add(move |actor| watch(actor, part));
    }
}

/// One watch, under one name, however often it begins anew.
struct Log {
    watch: u64,
    prefix: Text,
    /// The first revision that it has not been told; 0: it was told none.
    next: Revision,
}

async fn watch(mut actor: Actor, part: Part) {
    let mut log = Log { watch: actor.session(), prefix: actor.key_in(part).into(), next: 0 };
    while actor.rest(Duration::from_millis(100)).await {
        let life = Duration::from_millis(actor.rng.random_range(3000..15_000));
        let ended = tokio::time::timeout(life, follow(&actor, &mut log)).await;
        if let Ok(Err(error)) = ended {
            let compacted = match error {
                Error::Compacted { compacted, .. } => Some(compacted),
                _ => None,
            };
            log.take_down(&actor, 0, DeliveryKind::Cancelled { why: error.reason().into(), compacted });
            // What was compacted is lost to this watch: it begins anew.
            log.next = compacted.unwrap_or(log.next);
        }
    }
}

/// Until the run is over, or the watch fails.
async fn follow(actor: &Actor, log: &mut Log) -> Result<(), Error> {
    let watch = Watch {
        start_revision: log.next,
        prev_kv: true,
        progress_interval: Some(Duration::from_secs(1)),
        ..Watch::new(KeyRange::prefix(bytes(&log.prefix)))
    };
    let mut updates = actor.client.watch(watch).await?;
    while !actor.is_over() {
        match updates.next().await {
            Some(update) => log.told(actor, update?),
            None => return Ok(()),
        }
    }
    Ok(())
}

impl Log {
    fn told(&mut self, actor: &Actor, update: WatchUpdate) {
        let (node, kind) = match update {
            WatchUpdate::Created(header) => {
                if self.next == 0 {
                    self.next = header.revision + 1;
                }
                (header.member_id, DeliveryKind::Opened { from: self.next })
            }
            WatchUpdate::Events { header, events } => {
                self.next = header.revision + 1;
                (header.member_id, DeliveryKind::Events(events.into_iter().map(event_of).collect()))
            }
            WatchUpdate::Progress(header) => {
                self.next = self.next.max(header.revision + 1);
                (header.member_id, DeliveryKind::Progress { revision: header.revision })
            }
        };
        self.take_down(actor, node, kind);
    }

    fn take_down(&self, actor: &Actor, node: u64, kind: DeliveryKind) {
        let (watch, prefix) = (self.watch, self.prefix.clone());
        actor.recorder.delivery(Delivery { watch, prefix, at: actor.recorder.now(), node, kind });
    }
}

fn event_of(event: WatchEvent) -> Event {
    let WatchEvent { deleted, kv, prev_kv } = event;
    Event {
        key: text(&kv.key),
        value: (!deleted).then(|| text(&kv.value)),
        revision: kv.mod_revision,
        create_revision: kv.create_revision,
        version: kv.version,
        // That there was none cannot be told from one that was compacted.
        previous: prev_kv.map(|kv| Some(text(&kv.value))),
    }
}
