//! Evidence as a sentence: what was promised, by what means, and how far that reaches.

use std::time::Duration;

use super::output::duration;
use crate::types::{Evidence, Header, WriteEvidence};

/// What proves a read.
pub(super) fn of_read(evidence: &Evidence) -> String {
    let Evidence { level_asked, level_served, mechanism, served_by, role, .. } = evidence;
    let served = match level_asked == level_served {
        true => level_asked.to_string(),
        false => format!("{level_asked}, served as {level_served},"),
    };
    let mut parts =
        vec![format!("{served} via {} by member {served_by} ({})", mechanism.name(), role.name())];
    parts.push(match evidence.leader_id {
        Some(leader) => format!("leader {leader}"),
        None => "no leader known".to_owned(),
    });
    if let Some(index) = evidence.read_index {
        parts.push(format!("read index {index}"));
    }
    parts.push(match evidence.staleness_bound {
        Some(bound) => format!("staleness <= {} ms", bound.as_millis()),
        None => "staleness unprovable".to_owned(),
    });
    if let Some(age) = evidence.leader_contact_age {
        parts.push(format!("leader contact {} ms ago", age.as_millis()));
    }
    parts.extend(waited(evidence));
    parts.join(", ")
}

/// Where the time went, if it went anywhere.
fn waited(evidence: &Evidence) -> Option<String> {
    let waited = evidence.waited;
    let named = [("quorum", waited.quorum), ("apply", waited.apply), ("queue", waited.queue)];
    let spent = named.iter().filter(|(_, time)| *time > Duration::ZERO);
    let spent: Vec<_> = spent.map(|(name, time)| format!("{name} {}", duration(*time))).collect();
    (!spent.is_empty()).then(|| format!("waited {}", spent.join(" ")))
}

/// Where a write stands.
pub(super) fn of_write(header: &Header, write: &WriteEvidence) -> String {
    let stored = if write.deduplicated { ", the stored answer of an earlier attempt" } else { "" };
    let WriteEvidence { log_index, log_term, .. } = write;
    let Header { member_id, .. } = header;
    format!("committed at log index {log_index} in term {log_term}, answered by member {member_id}{stored}")
}

#[cfg(test)]
mod tests;
