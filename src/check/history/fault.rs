//! What was done to the cluster, and how it was seen to stand.

use serde::{Deserialize, Serialize};

use super::Nanos;
use crate::types::{NodeId, Revision};

/// Something that was wrong for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// What exactly, for people: `n1 | n2 n3`.
    #[serde(default)]
    pub what: String,
    /// The members it was done to.
    #[serde(default)]
    pub nodes: Vec<NodeId>,
    /// When it began.
    pub from: Nanos,
    /// When it ended; missing: with the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Nanos>,
    /// Whether it was seen to have an effect: the process was gone, bytes were held, the disk refused.
    #[serde(default)]
    pub landed: bool,
    /// An assumption that it breaks, in words: promises that rest on it are void meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaks: Option<String>,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// One process was ended without warning.
    Kill,
    /// All were.
    KillAll,
    /// A process was asked to end, and started again.
    Restart,
    /// Each was, one after the other.
    RollingRestart,
    /// A process was stopped, and went on later.
    Pause,
    /// Nothing passed between groups of members.
    Partition,
    /// Nothing passed in one direction.
    OneWay,
    /// Messages took longer.
    Slow,
    /// Messages or connections were lost.
    Drop,
    /// Connections were reset.
    Reset,
    /// Clients did not reach a member.
    Client,
    /// A clock ran at another rate, or jumped.
    Clock,
    /// A disk was full.
    DiskFull,
    /// Files of a member that was down were damaged.
    Corrupt,
    /// The leader was asked to hand over.
    Transfer,
    /// Old revisions were compacted away.
    Compact,
}

impl FaultKind {
    /// The name, as it stands in histories.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Kill => "kill",
            FaultKind::KillAll => "kill-all",
            FaultKind::Restart => "restart",
            FaultKind::RollingRestart => "rolling-restart",
            FaultKind::Pause => "pause",
            FaultKind::Partition => "partition",
            FaultKind::OneWay => "one-way",
            FaultKind::Slow => "slow",
            FaultKind::Drop => "drop",
            FaultKind::Reset => "reset",
            FaultKind::Client => "client",
            FaultKind::Clock => "clock",
            FaultKind::DiskFull => "disk-full",
            FaultKind::Corrupt => "corrupt",
            FaultKind::Transfer => "transfer",
            FaultKind::Compact => "compact",
        }
    }
}

/// Somebody was seen to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leadership {
    /// When it was seen.
    pub at: Nanos,
    /// Who; 0: nobody.
    pub leader: NodeId,
    /// In which term.
    pub term: u64,
}

/// What a member held in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalState {
    /// Who.
    pub node: NodeId,
    /// The store's revision there.
    pub revision: Revision,
    /// The hash of everything visible at that revision.
    pub hash: String,
}
