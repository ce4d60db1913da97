//! `quorate torture`: real processes under faults, and what is left behind. Short runs: the long ones are
//! `make torture`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use quorate::check::{
    self, Verdict,
    format::{self, Format},
    history::{FaultKind, History},
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    SOON, cli,
    cluster::{Cluster, signal},
};

/// Runs it; its answer and its directory.
fn torture(arguments: &[&str]) -> (cli::Done, Value, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("run").to_string_lossy().into_owned();
    let done = cli::run(&[&["torture", "-o", "json", "--out", &out], arguments].concat());
    let answer = done.json();
    (done, answer, dir)
}

fn history(dir: &Path) -> History {
    let file = fs::File::open(dir.join("run/history.jsonl")).expect("a history");
    format::read(std::io::BufReader::new(file), Format::Jsonl).expect("a history that can be read")
}

#[test]
fn a_run_keeps_its_promises_and_leaves_what_it_saw() {
    let (done, answer, dir) =
        torture(&["--duration", "12s", "--seed", "4", "--nemesis", "kill,pause,partition"]);
    done.expect(0);
    assert_eq!(answer["verdict"], "ok");
    assert!(answer["operations"].as_u64() > Some(300), "{answer:#}");
    assert!(answer["faults_landed"].as_u64() >= Some(2), "{answer:#}");
    assert_eq!(answer["lost_with_fencing"], 0);
    for level in ["linearizable", "lease", "bounded", "session", "eventual", "leader-local"] {
        assert!(answer["levels"][level]["ok"].as_u64() > Some(5), "{level}: {answer:#}");
        assert_eq!(answer["levels"][level]["violations"], 0, "{level}: {answer:#}");
    }
    let history = history(dir.path());
    assert_eq!(history.operations.len() as u64, answer["operations"].as_u64().expect("a number"));
    assert_eq!(check::check(&history, &check::Options::default()).verdict(), Verdict::Ok, "read back");
    let parts: BTreeSet<_> =
        history.operations.iter().filter_map(|operation| operation.part.clone()).collect();
    assert_eq!(parts.len(), 10, "every part but watches, and the last reads: {parts:?}");
    assert!(history.deliveries.len() > 100, "watches were told something");
    assert!(!history.leaders.is_empty() && history.finals.len() == 3);
    let report = fs::read_to_string(dir.path().join("run/report.html")).expect("a report");
    assert!(report.contains("</html>") && report.contains("eventual"));
}

#[test]
fn leases_are_stale_when_clocks_are_beyond_the_bound_and_the_assumption_is_named() {
    let arguments = ["--script", "clock", "--workload", "register", "--duration", "20s", "--seed", "1"];
    let (done, answer, dir) = torture(&arguments);
    // What was not promised is no violation.
    done.expect(0);
    assert!(answer["levels"]["lease"]["excused"].as_u64() > Some(0), "{answer:#}");
    let named = answer["assumptions"].to_string();
    assert!(named.contains("clock rates") && named.contains("runs at 0.2"), "{answer:#}");
    let history = history(dir.path());
    let clocks = history.faults.iter().filter(|fault| fault.kind == FaultKind::Clock);
    assert!(clocks.clone().count() >= 3 && clocks.into_iter().all(|fault| fault.landed));
}

#[test]
fn a_run_in_which_nothing_lands_is_void() {
    let (done, answer, _) =
        torture(&["--duration", "5s", "--nemesis", "none", "--rate", "1", "--workload", "set"]);
    done.expect(2);
    assert_eq!(answer["verdict"], "void");
    assert!(answer["reasons"].to_string().contains("too little traffic"), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_runs_already_is_worked_on_and_left_as_it_is() {
    let cluster = Cluster::three().await;
    let endpoints = cluster.endpoints().join(",");
    let run =
        move || torture(&["--endpoints", &endpoints, "--nemesis", "none", "--duration", "5s", "--seed", "1"]);
    let (done, answer, dir) = tokio::task::spawn_blocking(run).await.expect("it runs");
    done.expect(0);
    assert_eq!((&answer["verdict"], &answer["faults"]), (&Value::from("ok"), &Value::from(0)), "{answer:#}");
    assert!(answer["operations"].as_u64() > Some(100), "{answer:#}");
    assert!(!dir.path().join("run/node-1").exists(), "it started no member");
    cluster.wait_all_ready().await;
}

#[test]
fn a_signal_ends_the_members_too() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("run");
    let mut command = cli::command();
    command.args(["torture", "--nemesis", "none", "--out"]).arg(&out);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let until = Instant::now() + SOON;
    while !out.join("history.jsonl").exists() {
        assert!(Instant::now() < until, "no history");
        thread::sleep(Duration::from_millis(50));
    }
    signal(child.id(), Signal::INT);
    assert_eq!(child.wait().expect("its end").code(), Some(3));
    let names_the_run = |pid: &Path| {
        let line = fs::read(pid.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*out.to_string_lossy())
    };
    let processes = fs::read_dir("/proc").expect("the process table").flatten().map(|entry| entry.path());
    let left: Vec<_> = processes.filter(|pid| names_the_run(pid)).collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "members outlive the run");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("something"), "").expect("a file");
    let out = dir.path().to_string_lossy().into_owned();
    let refused = cli::run(&["torture", "--out", &out]).expect(2);
    assert!(refused.stderr.contains("is not empty"), "{}", refused.stderr);
    for (arguments, why) in [
        (["--nemesis", "earthquake"], "is no nemesis: all, none, kill"),
        (["--workload", "gossip"], "is no workload: all, register"),
        (["--duration", "1s"], "between 5s and 1day"),
        (["--nodes", "4"], "it must be 3 or 5"),
        (["--consistency", "lease"], "means nothing to torture"),
    ] {
        let refused = cli::run(&[&["torture", "--out", "x"], &arguments[..]].concat()).expect(2);
        assert!(refused.stderr.contains(why), "{arguments:?}: {}", refused.stderr);
    }
}
