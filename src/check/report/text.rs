//! Operations and deliveries in words.

use std::fmt::Write;

use crate::check::history::{Action, DeliveryKind, Event, Expected, Found, Nanos, Operation, Step, Text};

/// What was asked, in a word.
pub fn verb(action: &Action) -> &'static str {
    match action {
        Action::Read { .. } => "read",
        Action::Write { .. } => "write",
        Action::Delete { .. } => "delete",
        Action::Cas { .. } => "cas",
        Action::Range { .. } => "range",
        Action::Txn { .. } => "txn",
        Action::Acquire { .. } => "acquire",
        Action::Renew { .. } => "renew",
        Action::Release { .. } => "release",
        Action::Guarded { .. } => "guarded write",
        Action::Grant { .. } => "grant",
        Action::KeepAlive { .. } => "keep alive",
        Action::Revoke { .. } => "revoke",
        Action::Attach { .. } => "attach",
    }
}

/// What it was about: a key, a lock, a lease.
pub fn subject(action: &Action) -> String {
    match action {
        Action::Read { key, .. }
        | Action::Write { key, .. }
        | Action::Delete { key, .. }
        | Action::Cas { key, .. }
        | Action::Attach { key, .. }
        | Action::Guarded { key, .. } => key.to_string(),
        Action::Range { prefix, .. } => format!("{prefix}*"),
        Action::Txn { steps, .. } => keys(steps),
        Action::Acquire { lock, .. } | Action::Renew { lock, .. } | Action::Release { lock, .. } => {
            lock.to_string()
        }
        Action::Grant { .. } => String::new(),
        Action::KeepAlive { lease, .. } | Action::Revoke { lease } => format!("lease {lease}"),
    }
}

fn keys(steps: &[Step]) -> String {
    let mut keys: Vec<&str> = steps.iter().map(|step| &**key_of(step)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.join(" ")
}

fn key_of(step: &Step) -> &Text {
    match step {
        Step::Read(key, _) | Step::Write(key, _) | Step::List(key, _) | Step::Append(key, _) => key,
    }
}

/// The rest: what it was given, and what it answered.
pub fn detail(operation: &Operation) -> String {
    match &operation.action {
        Action::Read { found, .. } => found.as_ref().map_or_else(String::new, |found| answer(&maybe(found))),
        Action::Write { value, .. } => format!("= {value}"),
        Action::Delete { existed, .. } => told(*existed, "existed", "did not exist"),
        Action::Cas { old, new, swapped, .. } => {
            let old = old.as_deref().unwrap_or("nothing");
            format!("{old} ⇒ {new}{}", told(*swapped, " → swapped", " → not swapped"))
        }
        Action::Range { found, .. } => found.as_deref().map_or_else(String::new, range),
        Action::Txn { .. } => txn(&operation.action),
        Action::Acquire { token, sure_until, .. } => {
            let token = token.map_or_else(String::new, |token| format!("→ token {token}"));
            token + &until(*sure_until)
        }
        Action::Renew { token, sure_until, .. } => format!("token {token}{}", until(*sure_until)),
        Action::Release { token, .. } => format!("token {token}"),
        Action::Guarded { lock, token, value, done, .. } => {
            let done = told(*done, " → done", " → refused: the lock was lost");
            format!("= {value}, if {lock} is held with token {token}{done}")
        }
        Action::Grant { ttl, lease } => {
            let lease = lease.map_or_else(String::new, |lease| format!(" → lease {lease}"));
            format!("for {}{lease}", seconds(*ttl))
        }
        Action::KeepAlive { ttl, .. } => match ttl {
            None => String::new(),
            Some(0) => "→ it has ended".to_owned(),
            Some(ttl) => format!("→ for {}", seconds(*ttl)),
        },
        Action::Revoke { .. } => String::new(),
        Action::Attach { lease, value, .. } => format!("= {value}, with lease {lease}"),
    }
}

fn told(answer: Option<bool>, yes: &str, no: &str) -> String {
    answer.map_or("", |answer| if answer { yes } else { no }).to_owned()
}

fn answer(text: &str) -> String {
    format!("→ {text}")
}

fn until(sure: Option<Nanos>) -> String {
    sure.map_or_else(String::new, |sure| format!(", sure until {}", seconds(sure)))
}

/// Seconds, to the millisecond.
fn seconds(nanos: Nanos) -> String {
    format!("{}.{:03} s", nanos / 1_000_000_000, nanos / 1_000_000 % 1_000)
}

fn maybe(found: &Option<Found>) -> String {
    found.as_ref().map_or_else(|| "nothing".to_owned(), in_full)
}

fn in_full(found: &Found) -> String {
    match found.mod_revision {
        0 => found.value.to_string(),
        revision => format!("{} @{revision}", found.value),
    }
}

fn range(found: &[(Text, Found)]) -> String {
    let each: Vec<String> = found.iter().map(|(key, found)| format!("{key}={}", in_full(found))).collect();
    answer(&if each.is_empty() { "nothing".to_owned() } else { each.join(", ") })
}

fn txn(action: &Action) -> String {
    let Action::Txn { when, steps, applied } = action else { return String::new() };
    let mut text = String::new();
    for (at, condition) in when.iter().enumerate() {
        let expected = match &condition.expected {
            Expected::Value(value) => value.as_deref().unwrap_or("nothing").to_owned(),
            Expected::ModRevision(revision) => format!("@{revision}"),
        };
        let _ = write!(text, "{} {} = {expected}", if at == 0 { "if" } else { " and" }, condition.key);
    }
    if !when.is_empty() {
        text.push_str(": ");
    }
    text + &steps.iter().map(step).collect::<Vec<_>>().join("; ")
        + &told(*applied, "", " → not done: a condition did not hold")
}

fn step(step: &Step) -> String {
    match step {
        Step::Read(key, None) | Step::List(key, None) => format!("read {key}"),
        Step::Read(key, Some(found)) => format!("read {key} → {}", maybe(found)),
        Step::List(key, Some(list)) => format!("read {key} → [{}]", list.join(" ")),
        Step::Write(key, value) => format!("{key} := {value}"),
        Step::Append(key, element) => format!("{key} += {element}"),
    }
}

/// What arrived on a watch.
pub fn delivery(kind: &DeliveryKind) -> String {
    match kind {
        DeliveryKind::Opened { from } => format!("opened from revision {from}"),
        DeliveryKind::Events(events) => events.iter().map(event).collect::<Vec<_>>().join(", "),
        DeliveryKind::Progress { revision } => format!("all up to revision {revision} was delivered"),
        DeliveryKind::Cancelled { why, compacted: None } => format!("cancelled: {why}"),
        DeliveryKind::Cancelled { why, compacted: Some(revision) } => {
            format!("cancelled: {why}; the oldest revision left is {revision}")
        }
    }
}

fn event(event: &Event) -> String {
    match &event.value {
        Some(value) => format!("{}={value} @{}", event.key, event.revision),
        None => format!("{} deleted @{}", event.key, event.revision),
    }
}

/// The text's beginning, if it has more characters than that.
pub fn clip(text: String, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text,
        Some((at, _)) => format!("{}… ({} characters)", &text[..at], text.chars().count()),
    }
}
