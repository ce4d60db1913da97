//! What the nemesis did, as faults with a beginning and an end, as well as its names tell them.

use super::value::text_of;
use crate::check::{
    format::edn::Edn,
    history::{Fault, FaultKind, Nanos},
};

/// Begins and ends faults.
#[derive(Default)]
pub(super) struct Nemesis {
    faults: Vec<Fault>,
}

impl Nemesis {
    /// The nemesis did something. It tells each twice, at the beginning and at the end of doing it.
    pub fn did(&mut self, f: &str, value: &Edn, at: Nanos) {
        // What was killed is started again; otherwise `:start` is that of the classic nemesis, a partition.
        let restarts = f == "start" && self.faults.last().is_some_and(|fault| fault.kind == FaultKind::Kill);
        let kind = if restarts { FaultKind::Kill } else { kind(f) };
        if restarts || ENDS.iter().any(|word| f.starts_with(word)) {
            // The later of both times ends it.
            if let Some(fault) = self.faults.iter_mut().rfind(|fault| fault.kind == kind) {
                fault.to = Some(at);
            }
        } else if !self.faults.iter().any(|fault| fault.kind == kind && fault.to.is_none()) {
            let what = if *value == Edn::Nil { f.to_owned() } else { format!("{f} {}", text_of(value)) };
            let breaks = (kind == FaultKind::Clock).then(|| "clocks run at about one rate".to_owned());
            self.faults.push(Fault { kind, what, nodes: vec![], from: at, to: None, landed: true, breaks });
        }
    }

    /// All of them.
    pub fn end(self) -> Vec<Fault> {
        self.faults
    }
}

/// How the names of ends begin.
const ENDS: [&str; 4] = ["stop", "heal", "resume", "reset"];

/// The kind that a name tells.
fn kind(f: &str) -> FaultKind {
    let kinds = [
        ("kill", FaultKind::Kill),
        ("pause", FaultKind::Pause),
        ("resume", FaultKind::Pause),
        ("clock", FaultKind::Clock),
        ("skew", FaultKind::Clock),
        ("compact", FaultKind::Compact),
        ("corrupt", FaultKind::Corrupt),
        ("bitflip", FaultKind::Corrupt),
        ("truncate", FaultKind::Corrupt),
    ];
    kinds.iter().find(|(part, _)| f.contains(part)).map_or(FaultKind::Partition, |(_, kind)| *kind)
}
