mod sample;

use std::{fs, time::Duration};

use serde_json::Value;

use self::sample::{MS, sample};
use super::{
    column::Column,
    contrast::{contrast, percentile},
    data::{counts, grouped},
    write,
};
use crate::{
    check::{
        Findings, History,
        history::{Action, Fault, FaultKind, Found, Operation, Outcome},
        verdict::{Staleness, Violation},
    },
    types::Level,
};

fn page(history: &History, findings: &Findings) -> String {
    let mut out = Vec::new();
    write(history, findings, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The data that stands in a page, as a browser finds it: up to the first end of the element.
fn data(page: &str) -> Value {
    let begin = page.split_once("id=\"data\">").unwrap().1;
    serde_json::from_str(begin.split_once("</script").unwrap().0).unwrap()
}

fn read(index: u64, (call, ret): (u64, u64), outcome: Outcome) -> Operation {
    let found = Found { value: "vé→</script><script>alert(1)</script><!--".into(), ..Found::default() };
    Operation {
        index,
        process: 1,
        session: 1,
        part: None,
        call: call * MS,
        ret: ret * MS,
        action: Action::Read { key: "k".into(), found: Some(Some(found)) },
        outcome,
        level: Some(Level::Eventual),
        seen: None,
    }
}

fn fault(kind: FaultKind, (from, to): (u64, u64)) -> Fault {
    let to = Some(to * MS);
    Fault { kind, what: String::new(), nodes: vec![], from: from * MS, to, landed: true, breaks: None }
}

/// For people: `cargo test report::tests::samples_to_look_at -- --ignored` writes two pages to look at.
#[test]
#[ignore = "writes files to look at"]
fn samples_to_look_at() {
    let folder = std::env::temp_dir().join("quorate-report");
    fs::create_dir_all(&folder).unwrap();
    for (name, operations) in [("small.html", 6_000), ("large.html", 100_000)] {
        let (history, findings) = sample(operations);
        let page = page(&history, &findings);
        assert!(page.len() < 12_000_000, "{} bytes", page.len());
        fs::write(folder.join(name), page).unwrap();
    }
    fs::write(folder.join("empty.html"), page(&History::default(), &Findings::default())).unwrap();
}

#[test]
fn a_page_of_a_whole_run_holds_all_of_it() {
    let (history, findings) = sample(5_000);
    let data = data(&page(&history, &findings));
    let operations = history.operations.len();
    assert!(operations > 3_000, "{operations}");
    assert_eq!(data["timeline"]["operations"]["detail"].as_array().unwrap().len(), operations);
    assert_eq!(data["counts"]["operations"], operations);
    assert_eq!(data["verdict"], "violated");
    assert_eq!(data["witness"], 0);
    assert_eq!(data["violations"][0]["anomaly"], "stale-read");
    assert_eq!(data["counts"]["elections"], 3);
    let names: Vec<&str> =
        data["levels"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["linearizable", "log", "lease"]);
    assert_eq!(names.len(), 10);
}

#[test]
fn a_value_cannot_end_the_element_that_holds_the_data() {
    let history = History { operations: vec![read(0, (1, 2), Outcome::Ok)], ..History::default() };
    let empty = page(&History::default(), &Findings::default());
    let page = page(&history, &Findings::default());
    let tags = |page: &str| page.to_lowercase().matches("<script").count();
    let ends = |page: &str| page.to_lowercase().matches("</script").count();
    assert_eq!((tags(&page), ends(&page)), (tags(&empty), ends(&empty)));
    assert!(!page.contains("<!--"));
    let detail = &data(&page)["timeline"]["operations"]["detail"][0];
    assert_eq!(detail, "→ vé→</script><script>alert(1)</script><!--");
}

#[test]
fn an_empty_history_has_a_page() {
    let data = data(&page(&History::default(), &Findings::default()));
    assert_eq!(data["counts"]["operations"], 0);
    assert_eq!(data["witness"], Value::Null);
    assert_eq!(data["timeline"]["end"], 0);
    assert_eq!(data["contrast"]["costs"][0]["p50_ms"], Value::Null);
    assert_eq!(data["contrast"]["phases"].as_array().unwrap().len(), 1);
}

#[test]
fn a_bound_that_is_no_number_is_left_out() {
    let mut history = History::default();
    history.about.clock_bound = Some(f64::NAN);
    assert_eq!(data(&page(&history, &Findings::default()))["about"]["clock_bound"], Value::Null);
}

#[test]
fn percentiles_are_the_smallest_value_that_so_many_do_not_exceed() {
    let hundred: Vec<u64> = (1..=100).collect();
    assert_eq!(percentile(&hundred, 50), Some(50));
    assert_eq!(percentile(&hundred, 99), Some(99));
    assert_eq!(percentile(&[7], 50), Some(7));
    assert_eq!(percentile(&[1, 2, 3], 99), Some(3));
    assert_eq!(percentile(&[], 50), None);
}

#[test]
fn availability_counts_in_each_phase_that_an_operation_touches() {
    let failed = || Outcome::Fail("no_leader".into());
    let history = History {
        operations: vec![
            read(0, (100, 200), Outcome::Ok),
            // Touches the beginning of both faults.
            read(1, (9_990, 10_000), failed()),
            read(2, (10_500, 10_600), Outcome::Unknown("deadline".into())),
            // The kill lasts a second at least; the partition goes on.
            read(3, (11_500, 11_600), Outcome::Ok),
            read(4, (20_001, 20_002), Outcome::Ok),
        ],
        faults: vec![fault(FaultKind::Kill, (10_000, 10_000)), fault(FaultKind::Partition, (10_000, 20_000))],
        ..History::default()
    };
    let contrast = contrast(&history, &Findings::default());
    let phases: Vec<(&str, u64)> = contrast.phases.iter().map(|phase| (phase.name, phase.faults)).collect();
    assert_eq!(phases, [("no fault", 0), ("kill", 1), ("partition", 1)]);
    let eventual = &contrast.costs[7];
    assert_eq!(eventual.phases, [(2, 2), (2, 0), (3, 1)]);
    assert_eq!((eventual.ok, eventual.failed, eventual.unknown), (3, 1, 1));
    assert_eq!((eventual.p50_ms, eventual.p99_ms), (Some(100.0), Some(100.0)));
    assert_eq!(contrast.costs[0].phases, [(0, 0); 3]);
}

#[test]
fn staleness_is_told_of_the_stale_ones() {
    let operations = (0..4).map(|index| read(index, (index * 10, index * 10 + 1), Outcome::Ok)).collect();
    let history = History { operations, ..History::default() };
    let stale = |operation, ms, revisions| Staleness { operation, stale: ms * MS, revisions };
    let staleness =
        vec![stale(0, 5, 1), stale(1, 0, 0), stale(3, 250, 9), stale(2, 250, 4), stale(99, 900, 9)];
    let findings = Findings { staleness, ..Findings::default() };
    let stale = contrast(&history, &findings).costs.swap_remove(7).stale.unwrap();
    assert_eq!((stale.reads, stale.p50_ms, stale.max_ms, stale.worst), (3, 250.0, 250.0, 3));
    assert_eq!((stale.p50_revisions, stale.max_revisions), (4, 9));
}

#[test]
fn overlapping_operations_of_a_session_have_lanes_of_their_own() {
    let operations = vec![
        read(0, (0, 10), Outcome::Ok),
        read(1, (5, 15), Outcome::Unknown("deadline".into())),
        read(2, (10, 20), Outcome::Ok),
    ];
    let history = History { operations, ..History::default() };
    let data = data(&page(&history, &Findings::default()));
    assert_eq!(data["timeline"]["rows"][0]["lanes"], 2);
    assert_eq!(data["timeline"]["operations"]["lane"], "ABA");
    assert_eq!(data["timeline"]["operations"]["outcome"], "ACA");
}

#[test]
fn sessions_that_follow_one_another_share_a_row() {
    let of = |session, operation| Operation { session, ..operation };
    let lost = Operation { ret: u64::MAX, ..read(0, (0, 0), Outcome::Unknown("lost".into())) };
    let operations = vec![
        of(1, lost),
        of(2, read(1, (50, 60), Outcome::Ok)),
        of(3, read(2, (150, 160), Outcome::Ok)),
        of(3, read(3, (170, 180), Outcome::Ok)),
    ];
    let history = History { operations, ..History::default() };
    let timeline = &data(&page(&history, &Findings::default()))["timeline"];
    let rows: Vec<(u64, u64)> = (0..2)
        .map(|at| &timeline["rows"][at])
        .map(|row| (row["session"].as_u64().unwrap(), row["sessions"].as_u64().unwrap()))
        .collect();
    assert_eq!(rows, [(1, 2), (2, 1)]);
    assert_eq!(timeline["operations"]["row"], "ABAA");
    assert_eq!(timeline["end"], 180_000);
}

#[test]
fn a_lock_is_held_until_its_release_is_called_or_certainty_ends() {
    let acquire =
        |token| Action::Acquire { lock: "l".into(), token: Some(token), sure_until: Some(1_000 * MS) };
    let renew = |token| Action::Renew { lock: "l".into(), token, sure_until: Some(1_500 * MS) };
    let at =
        |index, action| Operation { action, ..read(index, (index * 100, index * 100 + 10), Outcome::Ok) };
    let release = Action::Release { lock: "l".into(), token: 5 };
    let operations =
        vec![at(0, acquire(5)), at(1, renew(5)), at(2, release), at(3, acquire(6)), at(4, renew(6))];
    let history = History { operations, ..History::default() };
    let holds = &data(&page(&history, &Findings::default()))["timeline"]["holds"];
    assert_eq!((holds[0]["from"].as_u64(), holds[0]["to"].as_u64()), (Some(10_000), Some(200_000)));
    assert_eq!((holds[1]["from"].as_u64(), holds[1]["to"].as_u64()), (Some(310_000), Some(1_500_000)));
}

#[test]
fn promises_of_a_lease_are_not_those_of_the_level_of_that_name() {
    let mut findings = Findings::default();
    for (level, guarantee) in [("lease", "linearizable"), ("lease", "not-early"), ("lock", "fencing")] {
        let tally = findings.tally(level, guarantee);
        tally.promised = true;
        tally.checked = 3;
    }
    let data = data(&page(&History::default(), &findings));
    let names = |list: &Value, field: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|row| row[field].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&data["guarantees"], "name"), ["linearizable"]);
    assert_eq!(names(&data["levels"], "name"), ["lease"]);
    assert_eq!(names(&data["promises"], "subject"), ["lease", "lock"]);
    assert_eq!(names(&data["promises"], "name"), ["not-early", "fencing"]);
}

#[test]
fn columns_take_their_shortest_form() {
    assert_eq!(Column::new(vec![0, 1, 25, 26, 63]), Column::Small("ABZa_".to_owned()));
    assert_eq!(Column::new(vec![1_000_000, 1_000_001, 1_000_000]), Column::Delta(vec![1_000_000, 1, -1]));
    assert_eq!(Column::new(vec![90, 5, 80, 0, 70]), Column::Plain(vec![90, 5, 80, 0, 70]));
    assert_eq!(Column::new(vec![]), Column::Small(String::new()));
    assert_eq!(Column::new(vec![u64::MAX, 0, 100]), Column::Delta(vec![-1, 1, 100]));
}

#[test]
fn numbers_are_grouped_by_thousands() {
    assert_eq!((grouped(0), grouped(999), grouped(1_000)), ("0".into(), "999".into(), "1,000".into()));
    assert_eq!(grouped(1_234_567), "1,234,567");
    assert_eq!(counts(&History::default()).elections, 0);
}

#[test]
fn a_long_history_keeps_what_findings_name() {
    let mut operations: Vec<Operation> =
        (0..400_000).map(|index| read(index, (index, index + 1), Outcome::Ok)).collect();
    operations[1].action = Action::Read { key: "named".into(), found: Some(None) };
    let history = History { operations, ..History::default() };
    let mut findings = Findings::default();
    let operations = vec![1];
    let why = "because".to_owned();
    findings.violated(Violation { tier: "t0", anomaly: "phantom", level: None, why, operations });
    findings.tier("t0").took = Duration::from_millis(1);
    let data = data(&page(&history, &findings));
    assert_eq!(data["timeline"]["total"], 400_000);
    let drawn = data["timeline"]["operations"]["detail"].as_array().unwrap().len();
    assert!((100_000..150_001).contains(&drawn), "{drawn}");
    assert_eq!(data["timeline"]["operations"]["subjects"][1], "named");
}
