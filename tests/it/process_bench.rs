//! `quorate bench` on real processes: that it measures, what it prints, and what it refuses. How fast
//! anything is, is not tested.

use serde_json::Value;

use crate::support::{
    cli::{self, Done},
    cluster::Cluster,
};

/// The fields that scripts rely on.
const CONTRACT: [&str; 12] = [
    "workload",
    "clients",
    "ops",
    "ops_per_s",
    "errors",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "p999_ms",
    "max_ms",
    "server_cpu_us_per_op",
    "client_cpu_us_per_op",
];

/// A short run of a few clients.
fn bench(cluster: &Cluster, arguments: &[&str]) -> Done {
    let short = ["bench", "--duration", "1s", "--warmup", "200ms", "--clients", "4", "--connections", "2"];
    cluster.cli(&[&short[..], &["--keys", "200", "-o", "json"], arguments].concat())
}

fn number(report: &Value, field: &str) -> f64 {
    report[field].as_f64().unwrap_or_else(|| panic!("`{field}` is no number: {report}"))
}

/// Figures that cannot be otherwise.
fn assert_sane(report: &Value) {
    for field in CONTRACT {
        assert!(report.get(field).is_some(), "`{field}` is missing: {report}");
    }
    let latencies = ["p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms"].map(|field| number(report, field));
    assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{report}");
    let (ops, seconds) = (number(report, "ops"), number(report, "duration_s"));
    assert!(ops > 0.0 && (number(report, "ops_per_s") - ops / seconds).abs() < 1.0, "{report}");
    assert!(number(report, "client_cpu_us_per_op") > 0.0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_workload_is_measured_without_an_error() {
    let cluster = Cluster::three().await;
    let pids: Vec<_> = cluster.ids().iter().map(|id| cluster.pid(*id).to_string()).collect();
    let runs: [&[&str]; 17] = [
        &["put", "--distribution", "zipf"],
        &["get"],
        &["get", "--consistency", "eventual", "--route", "follower"],
        &["get", "--plain", "--route", "leader"],
        &["mixed", "--retry"],
        &["txn"],
        &["txn", "--plain"],
        &["lock"],
        &["watch", "--rate", "50"],
        &["scan", "--consistency", "bounded", "--max-age", "5s"],
        &["bulk", "--value-size", "64KiB"],
        &["pipeline"],
        &["lease"],
        &["pipeline", "--plain"],
        &["get", "--pipeline", "--consistency", "lease"],
        &["mixed", "--plain", "--pipeline", "--rate", "500"],
        &["txn", "--plain", "--pipeline"],
    ];
    for run in runs {
        let report = bench(&cluster, &[run, &["--server-pids", &pids.join(",")]].concat()).expect(0).json();
        assert_sane(&report);
        assert_eq!(report["workload"], run[0]);
        assert_eq!(report["errors"], serde_json::json!({}), "{run:?}: {report}");
        assert!(number(&report, "server_cpu_us_per_op") > 0.0, "{run:?}: {report}");
        let memory = report["server_rss_bytes"].as_array().expect("an array");
        assert!(memory.len() == 3 && memory.iter().all(|bytes| bytes.as_u64() > Some(1 << 20)), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_counted_and_end_nothing() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    cluster.kill(cluster.ids().into_iter().find(|id| *id != leader).expect("a follower"));
    // A third of the connections is to a member that is not there.
    let run = ["get", "--consistency", "eventual", "--connections", "3", "--clients", "6"];
    let report = bench(&cluster, &run).expect(0).json();
    assert_sane(&report);
    assert!(report["errors"]["connection"].as_u64() > Some(10), "{report}");
    assert!(number(&report, "ops") > number(&report["errors"], "connection"), "who failed pauses: {report}");

    let dead = "127.0.0.1:1";
    let nobody = ["--endpoints", dead, "-o", "json", "bench", "put", "--duration", "300ms", "--warmup", "0s"];
    let report = cli::run(&nobody).expect(1).json();
    assert_eq!((&report["ops"], &report["p50_ms"]), (&0.into(), &Value::Null));
    assert!(report["errors"]["connection"].as_u64() > Some(0), "{report}");
    // What is to be read cannot be put.
    cli::run(&["--endpoints", dead, "bench", "get", "--duration", "300ms"]).expect(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_keeps_its_rate() {
    let cluster = Cluster::three().await;
    let report = bench(&cluster, &["get", "--rate", "100", "--duration", "3s"]).expect(0).json();
    assert_sane(&report);
    let (done, behind) = (number(&report, "ops"), number(&report, "behind"));
    assert!((250.0..=300.0).contains(&(done + behind)) && behind < 50.0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_nothing_is_measured_beside_it() {
    let cluster = Cluster::three().await;
    let page = tempfile::NamedTempFile::new().expect("a file");
    let html = page.path().to_str().expect("a name");
    for run in [
        &["put", "--html", html][..],
        &["get", "--plain", "--consistency", "lease"],
        &["pipeline", "--plain"],
    ] {
        let report = bench(&cluster, &[run, &["--against-noop"]].concat()).expect(0).json();
        assert_sane(&report);
        assert_sane(&report["noop"]);
        assert_eq!(report["noop"]["errors"], serde_json::json!({}), "{report}");
        assert!(number(&report["noop"], "server_cpu_us_per_op") > 0.0, "{report}");
        for ratio in ["throughput", "p50", "p99"] {
            assert!(number(&report["ratios"], ratio) > 0.0, "{report}");
        }
    }
    let page = std::fs::read_to_string(page.path()).expect("the page");
    assert!(page.starts_with("<!doctype html>") && page.matches("<polyline").count() == 2, "{page}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (line, why) in [
        ("put --consistency eventual", "--consistency means nothing to the workload put"),
        ("txn --route follower", "--route follower contradicts the workload txn"),
        ("lock --rate 5", "--rate means nothing to the workload lock"),
        ("watch --plain", "the workload watch needs the Rust client"),
        ("lease --plain", "the workload lease needs the Rust client"),
        ("scan --etcd 127.0.0.1:2379", "the workload scan needs the Rust client"),
        ("get --etcd 127.0.0.1:2379 --consistency lease", "linearizable or eventual"),
        ("get --etcd 127.0.0.1:2379 --endpoints 127.0.0.1:1", "contradict each other"),
        ("bulk --against-noop", "--against-noop is for put, get, mixed, txn and pipeline"),
        ("scan --pipeline", "--pipeline means nothing to the workload scan"),
        ("pipeline --etcd 127.0.0.1:2379", "etcd has no pipelines"),
        ("put --server-pids 4194305", "there is no process 4194305"),
        ("put --endpoints nonsense", "is not an endpoint"),
        ("put --html no/such/directory/page.html", "cannot write no/such/directory/page.html"),
        ("put --clients 0", "0 is not in 1..=10000"),
        ("put --duration 1ms", "between 100ms and 1day"),
        ("put --value-size 65MiB", "more than 64MiB"),
        ("put --evidence", "--evidence means nothing to bench"),
        ("juggle", "invalid value 'juggle'"),
    ] {
        let arguments: Vec<_> = std::iter::once("bench").chain(line.split(' ')).collect();
        let done = cli::run(&arguments).expect(2);
        assert!(done.stderr.contains(why), "{line}: {done:?}");
    }
}
