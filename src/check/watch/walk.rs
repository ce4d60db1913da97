//! One watch, from its beginning to its end.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    broken,
    known::{Change, Known},
};
use crate::check::{
    history::{Delivery, DeliveryKind, Event},
    promises::{Broken, Promises},
};
use crate::types::Revision;

/// What the watch has told so far.
pub(super) struct Walk<'a, 'b, 'c> {
    watch: u64,
    known: &'b Known<'a>,
    promises: &'b mut Promises<'c>,
    prefix: &'a str,
    /// The first revision that it must tell. Not known before something comes, if it began "from now".
    start: Option<Revision>,
    /// The revision of the last event.
    last: Revision,
    /// Everything up to here was said to have been told.
    progress: Revision,
    is_cancelled: bool,
    /// What is left of the revisions, if the watch was cancelled since others were gone.
    compacted: bool,
    told: HashSet<(Revision, &'a str)>,
    keys: HashMap<&'a str, &'a Event>,
    /// What contradicts the events before: told only if no event is missing, which would explain it.
    contradictions: Vec<(&'static str, Broken)>,
    is_broken: bool,
}

impl<'a, 'b, 'c> Walk<'a, 'b, 'c> {
    pub fn new(watch: u64, known: &'b Known<'a>, promises: &'b mut Promises<'c>) -> Walk<'a, 'b, 'c> {
        Walk {
            watch,
            known,
            promises,
            prefix: "",
            start: None,
            last: 0,
            progress: 0,
            is_cancelled: false,
            compacted: false,
            told: HashSet::new(),
            keys: HashMap::new(),
            contradictions: vec![],
            is_broken: false,
        }
    }

    /// Checks all that arrived on the watch, in order of arrival.
    pub fn walk(mut self, deliveries: &[&'a Delivery]) {
        for delivery in deliveries {
            self.prefix = &delivery.prefix;
            match &delivery.kind {
                DeliveryKind::Opened { from } => self.opened(*from),
                DeliveryKind::Events(events) => events.iter().for_each(|event| self.event(event)),
                DeliveryKind::Progress { revision } => self.progress(*revision),
                DeliveryKind::Cancelled { compacted, .. } => self.cancelled(*compacted),
            }
        }
        self.end_of_segment();
        if !self.is_broken {
            for (guarantee, broken) in std::mem::take(&mut self.contradictions) {
                self.promises.broken(guarantee, broken);
            }
        }
    }

    fn broken(&mut self, guarantee: &'static str, anomaly: &'static str, why: String) {
        self.is_broken = true;
        let why = format!("watch {} on {:?} {why}", self.watch, self.prefix);
        self.promises.broken(guarantee, broken(anomaly, why, vec![]));
    }

    /// The revision from which on something must still come.
    fn next(&self) -> Revision {
        self.start.unwrap_or(0).max(self.last + 1)
    }

    fn opened(&mut self, from: Revision) {
        // After its end a watch may go on where its owner likes, or where something is left.
        if self.is_cancelled && (self.compacted || from > self.next()) {
            self.end_of_segment();
            (self.start, self.last, self.progress) = (None, 0, 0);
            self.told.clear();
            self.keys.clear();
        }
        (self.is_cancelled, self.compacted) = (false, false);
        if from > 0 && self.start.is_none() && self.last == 0 {
            self.start = Some(from);
        }
    }

    fn event(&mut self, event: &'a Event) {
        for guarantee in ["filter", "ordered", "unique", "bookmark"] {
            self.promises.checked(guarantee, 1);
        }
        let (key, revision, last) = (&*event.key, event.revision, self.last);
        if self.is_cancelled {
            self.broken("cancel", "watch-after-cancel", format!("told {key} at {revision} after its end"));
        }
        let start = *self.start.get_or_insert(revision);
        if !key.starts_with(self.prefix) {
            self.broken(
                "filter",
                "watch-filter",
                format!("told {key} at {revision}, which it did not ask for"),
            );
        } else if !self.told.insert((revision, key)) {
            self.broken("unique", "watch-duplicate", format!("told {key} at revision {revision} twice"));
        } else if revision < start {
            self.broken(
                "filter",
                "watch-filter",
                format!("told {key} at {revision}, before {start}, its start"),
            );
        } else if revision < last {
            self.broken("ordered", "watch-order", format!("told {key} at {revision} after revision {last}"));
        } else if revision <= self.progress {
            let progress = self.progress;
            let why =
                format!("told {key} at {revision} after it had said that all up to {progress} was told");
            self.broken("bookmark", "watch-bookmark", why);
        } else {
            self.content(event);
            self.last = revision;
        }
    }

    /// What an event says of the state before it.
    fn content(&mut self, event: &'a Event) {
        let before = self.keys.insert(&event.key, event);
        let (key, revision) = (&event.key, event.revision);
        let is_create = event.version == 1;
        if let Some(previous) = &event.previous {
            self.promises.checked("previous", 1);
            let expected = match before {
                Some(before) => Some(before.value.as_deref()),
                None => Some(None).filter(|_| is_create),
            };
            if let Some(expected) = expected.filter(|expected| *expected != previous.as_deref()) {
                let (found, expected) = (shown(previous.as_deref()), shown(expected));
                let why =
                    format!("says that {key} was {found} before revision {revision}; it was {expected}");
                self.contradiction("previous", "watch-previous", why);
            }
        }
        if event.value.is_none() || event.version == 0 {
            return;
        }
        self.promises.checked("version", 1);
        let (version, create) = (event.version, event.create_revision);
        let alive = before.filter(|before| before.value.is_some());
        let fits = match (before, alive) {
            (Some(_), None) => is_create && (create == 0 || create == revision),
            (_, Some(alive)) => {
                (alive.version == 0 || version == alive.version + 1)
                    && (alive.create_revision == 0 || create == 0 || create == alive.create_revision)
            }
            (None, None) => create == 0 || (create == revision) == is_create && create <= revision,
        };
        if !fits {
            let why = format!(
                "says that {key} at {revision} has version {version} since {create}: not what follows"
            );
            self.contradiction("version", "watch-version", why);
        }
    }

    fn contradiction(&mut self, guarantee: &'static str, anomaly: &'static str, why: String) {
        let why = format!("watch {} on {:?} {why}", self.watch, self.prefix);
        self.contradictions.push((guarantee, broken(anomaly, why, vec![])));
    }

    fn progress(&mut self, revision: Revision) {
        if self.is_cancelled {
            self.broken("cancel", "watch-after-cancel", format!("told progress {revision} after its end"));
        }
        self.start.get_or_insert(revision + 1);
        self.progress = self.progress.max(revision);
    }

    fn cancelled(&mut self, compacted: Option<Revision>) {
        self.is_cancelled = true;
        let Some(left) = compacted else { return };
        self.compacted = true;
        self.promises.checked("cancel", 1);
        let next = self.next();
        if self.start.is_some() && next >= left {
            let why = format!("was cancelled as compacted, but it needed {next} on, and {left} on is left");
            self.broken("cancel", "watch-cancel", why);
        }
    }

    /// Whatever is known to have happened between the start and what was told last must have been told.
    fn end_of_segment(&mut self) {
        let Some(start) = self.start else { return };
        // More of the last revision may be on its way.
        let end = self.progress.max(self.last.saturating_sub(1));
        let mut missing: BTreeMap<Revision, Vec<Change<'a>>> = BTreeMap::new();
        let mut expected = 0;
        for change in self.known.between(self.prefix, (start, end)) {
            expected += 1;
            if !self.told.contains(&(change.revision, change.key)) {
                missing.entry(change.revision).or_default().push(change.clone());
            }
        }
        self.promises.checked("reliable", expected);
        for (revision, changes) in missing {
            self.missing(revision, &changes);
        }
    }

    fn missing(&mut self, revision: Revision, changes: &[Change<'a>]) {
        self.is_broken = true;
        let keys: Vec<_> = changes.iter().map(|change| change.key).collect();
        let (keys, source) = (keys.join(", "), changes.first().map(Change::source).unwrap_or_default());
        let operations = changes.iter().filter_map(|change| change.operation).collect();
        let part = self.known.between(self.prefix, (revision, revision));
        let is_part = part.into_iter().any(|change| self.told.contains(&(revision, change.key)));
        let (watch, prefix) = (self.watch, self.prefix);
        let (guarantee, anomaly, what) = match is_part {
            true => ("atomic", "watch-atomic", "told only a part of"),
            false => ("reliable", "watch-gap", "left out"),
        };
        let why =
            format!("watch {watch} on {prefix:?} {what} revision {revision}: {keys} is missing ({source})");
        self.promises.broken(guarantee, broken(anomaly, why, operations));
    }
}

fn shown(value: Option<&str>) -> String {
    value.map_or("absent".to_owned(), |value| format!("{value:?}"))
}
