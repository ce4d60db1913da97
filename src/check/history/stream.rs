//! What watches were told.

use super::{Nanos, Text};
use crate::types::{NodeId, Revision};

/// Something that arrived on a watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Names the watch; it goes on under the same name when it is resumed elsewhere.
    pub watch: u64,
    /// Which keys it sees.
    pub prefix: Text,
    /// When it arrived.
    pub at: Nanos,
    /// Who sent it; 0: not known.
    pub node: NodeId,
    /// What it is.
    pub kind: DeliveryKind,
}

/// What arrived.
#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryKind {
    /// The watch began, or went on: events from this revision on will come.
    Opened {
        /// The first revision that is wanted.
        from: Revision,
    },
    /// The events of one or more revisions, each whole and in order.
    Events(Vec<Event>),
    /// All events up to this revision, inclusive, have been delivered.
    Progress {
        /// Up to which.
        revision: Revision,
    },
    /// The watch is over.
    Cancelled {
        /// Why.
        why: Text,
        /// If the events that it should go on with were compacted: the oldest revision that is left.
        compacted: Option<Revision>,
    },
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The key.
    pub key: Text,
    /// Its new value; `None`: it was deleted.
    pub value: Option<Text>,
    /// The revision that did it.
    pub revision: Revision,
    /// The revision that created the key; 0: not told.
    pub create_revision: Revision,
    /// How often it was set since; 0: not told, or deleted.
    pub version: u64,
    /// The value before, where the watch asked for it; `Some(None)`: there was none.
    pub previous: Option<Option<Text>>,
}
