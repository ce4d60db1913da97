//! The rows as they stand in the file. Every field is told in `docs/history-format.md`.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::check::{
    format::text::one_of,
    history::{Fault, FinalState, Leadership, Nanos},
};

/// A text that is not copied if it has no escapes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Str<'a>(pub Cow<'a, str>);

impl<'a> From<&'a str> for Str<'a> {
    fn from(text: &'a str) -> Str<'a> {
        Str(Cow::Borrowed(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Str<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// A field that tells `null` from its absence.
pub(super) type Nullable<T> = Option<Option<T>>;

fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Nullable<T>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Declares a word of the format: an enum whose values are spelled in one way.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($value:ident = $text:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name { $($value),+ }

        impl $name {
            const ALL: &[(&str, $name)] = &[$(($text, $name::$value)),+];

            pub(super) fn text(self) -> &'static str {
                match self { $($name::$value => $text),+ }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.text())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                word(deserializer, $name::ALL)
            }
        }
    };
}

fn word<'de, T: Copy, D: Deserializer<'de>>(deserializer: D, all: &[(&str, T)]) -> Result<T, D::Error> {
    let found = Str::deserialize(deserializer)?.0;
    let known = all.iter().find(|(text, _)| *text == found);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let texts: Vec<_> = all.iter().map(|(text, _)| *text).collect();
        de::Error::custom(format!("expected {}, found {found:?}", one_of(&texts)))
    })
}

words! {
    /// What was asked.
    Function {
        Read = "read", Write = "write", Delete = "delete", Cas = "cas", Range = "range", Txn = "txn",
        Acquire = "acquire", Renew = "renew", Release = "release", Guarded = "guarded", Grant = "grant",
        KeepAlive = "keep-alive", Revoke = "revoke", Attach = "attach",
    }
}

words! {
    /// What became of it.
    End { Ok = "ok", Fail = "fail", Info = "info" }
}

words! {
    /// A level of consistency, without its parameter.
    LevelName {
        Linearizable = "linearizable", Log = "log", Lease = "lease", LeaseOrIndex = "lease-or-index",
        LeaderLocal = "leader-local", Bounded = "bounded", Session = "session", Eventual = "eventual",
    }
}

words! {
    /// How a level was established.
    MechanismName {
        ReadIndex = "read_index", LogEntry = "log", LeaderLease = "lease", Local = "local",
        Certificate = "certificate",
    }
}

words! {
    /// As what a member served.
    RoleName {
        Leader = "leader", Follower = "follower", Candidate = "candidate", Learner = "learner",
        Stopped = "stopped",
    }
}

/// A number that is not written if it is 0.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A value that was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FoundRow<'a> {
    #[serde(borrow)]
    pub value: Str<'a>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mod_revision: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub create_revision: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
}

/// A pair that was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PairRow<'a> {
    #[serde(borrow)]
    pub key: Str<'a>,
    pub value: Str<'a>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mod_revision: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub create_revision: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
}

/// A condition: `value` or `mod_revision`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConditionRow<'a> {
    #[serde(borrow)]
    pub key: Str<'a>,
    #[serde(borrow, default, deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    pub value: Nullable<Str<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mod_revision: Option<u64>,
}

/// A step: one of `read`, `write`, `list` and `append` names the key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StepRow<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub read: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub write: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub list: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub append: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub value: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub element: Option<Str<'a>>,
    #[serde(borrow, deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    pub found: Nullable<FoundRow<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub elements: Option<Vec<Str<'a>>>,
}

/// An operation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OperationRow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub part: Option<Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f: Option<Function>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub key: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub value: Option<Str<'a>>,
    #[serde(borrow, deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    pub old: Nullable<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub new: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub when: Option<Vec<ConditionRow<'a>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepRow<'a>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Nanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LevelName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Nanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ret: Option<Nanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<End>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub error: Option<Str<'a>>,
    #[serde(borrow, deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    pub found: Nullable<FoundRow<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<Vec<PairRow<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub existed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swapped: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sure_until: Option<Nanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<MechanismName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<LevelName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staleness_bound: Option<Nanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<bool>,
}

/// An event on a watch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventRow<'a> {
    #[serde(borrow)]
    pub key: Str<'a>,
    #[serde(default)]
    pub value: Option<Str<'a>>,
    pub revision: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub create_revision: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
    #[serde(borrow, default, deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    pub previous: Nullable<Str<'a>>,
}

/// The watch goes on from a revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenedRow {
    pub from: u64,
}

/// Everything up to a revision was delivered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgressRow {
    pub revision: u64,
}

/// The watch is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelledRow<'a> {
    #[serde(borrow, default)]
    pub why: Str<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compacted: Option<u64>,
}

/// Something that arrived on a watch: one of `opened`, `events`, `progress` and `cancelled`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryRow<'a> {
    pub watch: u64,
    #[serde(borrow)]
    pub prefix: Str<'a>,
    pub at: Nanos,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub node: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<OpenedRow>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventRow<'a>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressRow>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<CancelledRow<'a>>,
}

/// A fault.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultRow<T = Fault> {
    pub fault: T,
}

/// Who was seen to lead.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaderRow<T = Leadership> {
    pub leader: T,
}

/// What a member held in the end.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FinalRow<T = FinalState> {
    #[serde(rename = "final")]
    pub state: T,
}
