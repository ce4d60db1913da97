//! Known histories, each named after its anomaly: found by name, and a good twin that holds.
//!
//! The files are made to be read: a line per call or end, as few as show it. Jepsen's form where it has one.

use std::{fs, path::PathBuf};

use quorate::check::{
    self, Findings, Options, Verdict,
    format::{self, Format},
};

/// Files, and an anomaly that must be found in each. The twin has `-good` behind its name.
const KNOWN: [(&str, &str); 19] = [
    ("stale-read.jsonl", "stale-read"),
    ("stale-register.edn", "stale-read"),
    ("cas-lost.edn", "lost-update"),
    ("set-lost.edn", "lost-write"),
    ("dirty-read.edn", "G1a"),
    ("intermediate-read.edn", "G1b"),
    ("write-cycle.edn", "G0"),
    ("circular-information.edn", "G1c"),
    ("read-skew.edn", "G-single"),
    ("write-skew.edn", "write-skew"),
    ("long-fork.edn", "long-fork"),
    ("lost-update.edn", "lost-update"),
    ("aborted-update-seen-late.edn", "G-single-realtime"),
    ("mutex.edn", "split-brain-lock"),
    ("split-brain-lock.jsonl", "split-brain-lock"),
    ("stale-token-write.jsonl", "stale-token-write"),
    ("watch-gap.jsonl", "watch-gap"),
    ("watch-duplicate.jsonl", "watch-duplicate"),
    ("lease-early.jsonl", "lease-early"),
];

/// Where the histories are.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/check/histories").join(name)
}

fn judged(name: &str) -> Findings {
    let file = fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let history =
        format::read(&file[..], Format::of_name(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    check::check(&history, &Options::default())
}

#[test]
fn each_anomaly_is_found_by_its_name() {
    for (name, anomaly) in KNOWN {
        let findings = judged(name);
        let found: Vec<_> = findings.violations.iter().map(|violation| violation.anomaly).collect();
        assert!(found.contains(&anomaly), "{name}: {found:?}");
        assert_eq!(findings.verdict(), Verdict::Violated, "{name}");
        assert!(findings.violations.iter().all(|violation| !violation.why.is_empty()), "{name}");
    }
}

#[test]
fn their_good_twins_hold() {
    for (name, _) in KNOWN {
        let (stem, ext) = name.rsplit_once('.').expect("a form");
        let twin = format!("{stem}-good.{ext}");
        let findings = judged(&twin);
        assert_eq!(
            findings.verdict(),
            Verdict::Ok,
            "{twin}: {:#?} {:?}",
            findings.violations,
            findings.tiers
        );
    }
}

#[test]
fn no_history_lies_here_unchecked() {
    let known = |name: &str| KNOWN.iter().any(|(file, _)| *file == name.replace("-good.", "."));
    for entry in fs::read_dir(path("")).expect("the histories") {
        let name = entry.expect("a file").file_name().to_string_lossy().into_owned();
        assert!(known(&name), "{name}");
    }
}
