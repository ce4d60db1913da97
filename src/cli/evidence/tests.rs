use super::*;
use crate::types::{Level, Mechanism, MemberRole, Waited};

fn evidence() -> Evidence {
    Evidence {
        level_asked: Level::Linearizable,
        level_served: Level::Linearizable,
        mechanism: Mechanism::ReadIndex,
        served_by: 2,
        role: MemberRole::Follower,
        leader_id: Some(1),
        read_index: Some(40),
        staleness_bound: Some(Duration::ZERO),
        leader_contact_age: Some(Duration::from_millis(12)),
        waited: Waited {
            quorum: Duration::from_micros(1200),
            apply: Duration::from_micros(100),
            queue: Duration::ZERO,
        },
    }
}

#[test]
fn a_linearizable_read_in_one_sentence() {
    let expected = "linearizable via read_index by member 2 (follower), leader 1, read index 40, \
                    staleness <= 0 ms, leader contact 12 ms ago, waited quorum 1.2 ms apply 100 µs";
    assert_eq!(of_read(&evidence()), expected);
}

#[test]
fn what_is_unknown_is_said_and_not_left_out() {
    let alone = Evidence {
        level_asked: Level::Eventual,
        level_served: Level::Eventual,
        mechanism: Mechanism::Local,
        leader_id: None,
        read_index: None,
        staleness_bound: None,
        leader_contact_age: None,
        waited: Waited::default(),
        ..evidence()
    };
    let expected = "eventual via local by member 2 (follower), no leader known, staleness unprovable";
    assert_eq!(of_read(&alone), expected);
}

#[test]
fn a_fallback_is_named() {
    let fallback = Evidence { level_asked: Level::LeaseOrIndex, ..evidence() };
    let sentence = of_read(&fallback);
    assert!(sentence.starts_with("lease-or-index, served as linearizable, via read_index"), "{sentence}");
}

#[test]
fn a_write_says_where_it_stands() {
    let header = Header { member_id: 3, ..Header::default() };
    let write = WriteEvidence { log_index: 9, log_term: 2, deduplicated: false };
    assert_eq!(of_write(&header, &write), "committed at log index 9 in term 2, answered by member 3");
    let again = WriteEvidence { deduplicated: true, ..write };
    assert!(of_write(&header, &again).ends_with("the stored answer of an earlier attempt"));
}
