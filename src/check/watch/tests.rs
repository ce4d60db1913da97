//! Each law of watches, broken and kept.

use super::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::check::{
    format::{self, Format},
    history::{DeliveryKind, Event, Text},
};

/// What a watch on `w/` was told: `open 5`, `a3` (a put of w/a at revision 3), `-a3` (its deletion),
/// `progress 5`, `cancel`, `compacted 9`. `other` puts the rows on a second watch.
fn watch(told: &str) -> String {
    let mut rows = String::new();
    let mut words = told.split_whitespace().enumerate();
    let mut watch = 1;
    while let Some((at, word)) = words.next() {
        let mut number = || words.next().map_or("", |(_, number)| number);
        let kind = match word {
            "other" => {
                watch += 1;
                continue;
            }
            "open" => format!("\"opened\":{{\"from\":{}}}", number()),
            "progress" => format!("\"progress\":{{\"revision\":{}}}", number()),
            "cancel" => "\"cancelled\":{}".to_owned(),
            "compacted" => format!("\"cancelled\":{{\"compacted\":{}}}", number()),
            put => event(put),
        };
        rows += &format!("{{\"watch\":{watch},\"prefix\":\"w/\",\"at\":{at},{kind}}}\n");
    }
    rows
}

fn event(told: &str) -> String {
    let (value, told) = told.strip_prefix('-').map_or(("\"v\"", told), |key| ("null", key));
    let (key, revision) = told.split_at(1);
    let prefix = if key == "X" { "x/" } else { "w/" };
    format!("\"events\":[{{\"key\":\"{prefix}{key}\",\"value\":{value},\"revision\":{revision}}}]")
}

/// An acknowledged write of a key at a revision.
fn write(index: u64, key: &str, revision: u64) -> String {
    format!(
        "{{\"index\":{index},\"process\":{index},\"call\":1,\"ret\":2,\"outcome\":\"ok\",\"f\":\"write\",\
         \"key\":\"{key}\",\"value\":\"v\",\"revision\":{revision}}}\n"
    )
}

fn names(rows: &str) -> Vec<&'static str> {
    let file = format!("{{\"quorate_history\":1}}\n{rows}");
    let history = format::read(file.as_bytes(), Format::Jsonl).expect(rows);
    let mut findings = Findings::default();
    check(&history, &mut findings);
    findings.violations.iter().map(|violation| violation.anomaly).collect()
}

#[test]
fn every_law_is_checked() {
    for (told, expected) in [
        ("open 2 a3 b3 -a4 progress 6 a7", vec![]),
        ("open 2 a3 a3", vec!["watch-duplicate"]),
        ("open 2 a3 open 3 a3", vec!["watch-duplicate"]),
        ("open 2 a4 a3", vec!["watch-order"]),
        ("open 2 a3 b4 b3", vec!["watch-order"]),
        ("open 4 a3", vec!["watch-filter"]),
        ("open 2 X3", vec!["watch-filter"]),
        ("open 2 progress 5 a4", vec!["watch-bookmark"]),
        ("open 2 a3 cancel a4", vec!["watch-after-cancel"]),
        ("open 2 a3 cancel open 4 a4", vec![]),
        ("open 2 a3 compacted 9 open 9 a9", vec![]),
        ("open 2 a3 compacted 4", vec!["watch-cancel"]),
        // Another watch knows of b5.
        ("open 2 a3 a6 other open 2 a3 b5", vec!["watch-gap"]),
        ("open 2 a3 open 6 a6 other open 2 a3 b5 a6", vec!["watch-gap"]),
        ("open 2 a3 progress 5 other open 2 a3 b5", vec!["watch-gap"]),
        ("open 2 a3 other open 2 a3 b5", vec![]),
        ("open 6 a6 other open 2 a3 b5", vec![]),
        ("open 0 a6 other open 2 a3 b5", vec![]),
        ("open 2 a3 compacted 9 open 9 a9 other open 2 a3 b5 a9", vec![]),
        ("open 2 a3 a6 other open 2 a3 b3 a6", vec!["watch-atomic"]),
        ("open 2 a3 other open 2 -a3", vec!["watch-mismatch"]),
    ] {
        assert_eq!(names(&watch(told)), expected, "{told}");
    }
}

#[test]
fn an_acknowledged_write_must_be_told() {
    let told = watch("open 2 a3 a6");
    assert_eq!(names(&(told.clone() + &write(1, "w/b", 5))), ["watch-gap"]);
    assert_eq!(names(&(told.clone() + &write(1, "x/b", 5))), [""; 0]);
    assert_eq!(names(&(told.clone() + &write(1, "w/b", 7))), [""; 0]);
    let unknown = write(1, "w/b", 5).replace("\"ok\"", "\"info\"");
    assert_eq!(names(&(told + &unknown)), [""; 0]);
}

#[test]
fn versions_and_previous_values_follow_from_the_events_before() {
    let told =
        |events: &str| names(&format!("{{\"watch\":1,\"prefix\":\"\",\"at\":1,\"events\":[{events}]}}\n"));
    let put = |revision: u64, rest: &str| {
        format!("{{\"key\":\"a\",\"value\":\"{revision}\",\"revision\":{revision},{rest}}}")
    };
    let first = put(3, "\"version\":1,\"create_revision\":3,\"previous\":null");
    let second = put(4, "\"version\":2,\"create_revision\":3,\"previous\":\"3\"");
    assert_eq!(told(&format!("{first},{second}")), [""; 0]);
    let wrong = second.replace("\"previous\":\"3\"", "\"previous\":\"2\"");
    assert_eq!(told(&format!("{first},{wrong}")), ["watch-previous"]);
    for wrong in [
        second.replace("version\":2", "version\":3"),
        second.replace("create_revision\":3", "create_revision\":2"),
    ] {
        assert_eq!(told(&format!("{first},{wrong}")), ["watch-version"]);
    }
    assert_eq!(told(&first.replace("create_revision\":3", "create_revision\":2")), ["watch-version"]);
    assert_eq!(told(&second), [""; 0]);
}

/// Watches of a random past, whole and in order, resumed now and then; as deliveries of one event each.
fn whole(rng: &mut StdRng) -> History {
    let mut past = vec![];
    let mut versions = [0_u64; 4];
    for revision in 2..rng.random_range(6..40) {
        let first = rng.random_range(0..4_usize);
        for key in [first, (first + 1) % 4].into_iter().take(rng.random_range(1..3)) {
            let is_put = versions[key] == 0 || rng.random_bool(0.7);
            versions[key] = if is_put { versions[key] + 1 } else { 0 };
            let value = is_put.then(|| Text::from(format!("{revision}.{key}")));
            let (key, version) = (format!("w/{key}").into(), versions[key]);
            past.push(Event { key, value, revision, create_revision: 0, version, previous: None });
        }
    }
    past.sort_by(|one, other| (one.revision, &one.key).cmp(&(other.revision, &other.key)));
    let mut history = History::default();
    let mut at = 0;
    for watch in 0..2 {
        let prefix = Text::from(["w/", "w/1"][rng.random_range(0..2)]);
        let mut tell = |kind| {
            at += 1;
            let prefix = prefix.clone();
            history.deliveries.push(Delivery { watch, prefix, at, node: 1, kind });
        };
        let from = rng.random_range(0..5);
        tell(DeliveryKind::Opened { from });
        let mut last = 0;
        for event in past.iter().filter(|event| event.revision >= from && event.key.starts_with(&*prefix)) {
            if last > 0 && event.revision > last {
                match rng.random_range(0..6) {
                    0 => tell(DeliveryKind::Opened { from: last + 1 }),
                    1 => tell(DeliveryKind::Progress { revision: event.revision - 1 }),
                    _ => {}
                }
            }
            last = event.revision;
            tell(DeliveryKind::Events(vec![event.clone()]));
        }
        tell(DeliveryKind::Progress { revision: 50 });
    }
    history
}

#[test]
fn whole_watches_hold_and_any_change_of_them_is_found() {
    let mut rng = StdRng::seed_from_u64(8);
    let found = |history: &History| {
        let mut findings = Findings::default();
        check(history, &mut findings);
        findings.violations
    };
    for _ in 0..2_000 {
        let whole = whole(&mut rng);
        assert_eq!(found(&whole), [], "{:#?}", whole.deliveries);
        let is_event = |at: &usize| matches!(whole.deliveries[*at].kind, DeliveryKind::Events(_));
        let events: Vec<usize> = (0..whole.deliveries.len()).filter(is_event).collect();
        let Some(at) = events.get(rng.random_range(0..events.len().max(1))).copied() else { continue };
        let mut twice = whole.clone();
        twice.deliveries.insert(at, whole.deliveries[at].clone());
        assert!(!found(&twice).is_empty(), "twice: {:#?}", twice.deliveries);
        let mut later = whole.clone();
        let taken = later.deliveries.remove(at);
        let other = later.deliveries.iter().rposition(|one| one.watch == taken.watch).expect("progress");
        later.deliveries.insert(other + 1, taken);
        assert!(!found(&later).is_empty(), "behind the last progress: {:#?}", later.deliveries);
    }
}
