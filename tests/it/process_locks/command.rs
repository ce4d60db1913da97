//! `quorate lock`, `elect` and `observe`, as a person and a script would use them.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use quorate::{
    recipes::{LockOptions, Recipes},
    types::NodeId,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    SOON,
    cli::{command, finish},
    cluster::{Cluster, signal},
    eventually,
    load::connect,
};

fn quorate(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = command();
    command.args(["--endpoints", &cluster.endpoints().join(",")]).args(arguments);
    command
}

/// Starts it; ends with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(mut command: Command) -> Started {
    Started(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts"))
}

/// The first line that it prints.
fn line(started: &mut Started) -> (String, BufReader<std::process::ChildStdout>) {
    let mut out = BufReader::new(started.0.stdout.take().expect("piped"));
    let mut text = String::new();
    out.read_line(&mut text).expect("a line");
    (text.trim_end().to_owned(), out)
}

async fn file(path: &Path) -> String {
    eventually("the command has written", SOON, async || match fs::read_to_string(path) {
        Ok(text) if text.ends_with('\n') => Ok(text),
        Ok(text) => Err(text),
        Err(error) => Err(error.to_string()),
    })
    .await
}

#[tokio::test]
async fn a_command_runs_with_key_and_token_and_its_exit_code_is_told() {
    let cluster = Cluster::three().await;
    let script = "echo $QUORATE_LOCK_KEY $QUORATE_FENCING_TOKEN; exit 7";
    let done = cluster.cli(&["lock", "job", "--", "sh", "-c", script]).expect(7);
    let (key, token) = done.stdout.trim().split_once(' ').expect("two words");
    assert!(key.starts_with("job/") && token.parse::<u64>().is_ok_and(|token| token > 1), "{done:?}");
    cluster.cli(&["lock", "inspect", "job"]).expect(1);
    let guarded = "exec \"$0\" --endpoints \"$1\" put total 7 \
                   --guard \"$QUORATE_LOCK_KEY:$QUORATE_FENCING_TOKEN\"";
    let (program, endpoints) = (crate::support::cli::binary(), cluster.endpoints().join(","));
    let program = program.display().to_string();
    cluster.cli(&["lock", "job", "--", "sh", "-c", guarded, &program, &endpoints]).expect(0);
    cluster.cli(&["put", "total", "8", "--guard", &format!("{key}:{token}")]).expect(1);
    cluster.cli(&["lock", "job", "--", "/no/such/program"]).expect(2);
    cluster.cli(&["lock", "--permits", "0", "job"]).expect(2);
    cluster.cli(&["lock", "--permits", "10000000", "job", "--", "true"]).expect(2);
    cluster.cli(&["lock", "--ttl", "0s", "job", "--", "true"]).expect(2);
    cluster.cli(&["lock"]).expect(2);
    // Called like the subcommand, behind an option.
    cluster.cli(&["lock", "--ttl", "2s", "inspect", "--", "true"]).expect(0);
    cluster.cli(&["lock", "inspect", "job"]).expect(1);
}

#[tokio::test]
async fn who_waits_is_seen_served_in_turn_or_sent_away() {
    let cluster = Cluster::three().await;
    let mut holder = start(quorate(&cluster, &["lock", "seat", "--value", "first", "-o", "json"]));
    let (held, _out) = line(&mut holder);
    let held: Value = serde_json::from_str(&held).expect("JSON");
    cluster.cli(&["lock", "seat", "--wait", "0s", "--", "true"]).expect(1);
    let late = cluster.cli(&["lock", "seat", "--wait", "300ms", "--", "true"]).expect(1);
    assert!(
        late.stderr.contains("waiting, 1 before") && late.stderr.contains("not free in time"),
        "{late:?}"
    );
    let mut waiter = start(quorate(&cluster, &["lock", "seat", "--shared", "--value", "second"]));
    let places = eventually("two are in the queue", SOON, async || {
        let state = cluster.cli(&["lock", "inspect", "seat", "-o", "json"]).json();
        let places = state["places"].as_array().cloned().unwrap_or_default();
        if places.len() == 2 { Ok(places) } else { Err(state.to_string()) }
    })
    .await;
    assert_eq!(places[0]["fencing_token"], held["fencing_token"]);
    assert_eq!((&places[0]["holds"], &places[1]["holds"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!((&places[1]["mode"], &places[1]["value"]), (&"shared".into(), &"second".into()));
    let table = cluster.cli(&["lock", "inspect", "seat", "-o", "table"]).expect(0).stdout;
    assert!(table.contains("holds") && table.contains("waits"), "{table}");

    signal(holder.0.id(), Signal::TERM);
    assert_eq!(holder.0.wait().expect("its end").code(), Some(0));
    let (second, _out) = line(&mut waiter);
    let (key, token) = second.split_once('\t').expect("two fields");
    assert!(key.ends_with('s') && token.parse::<u64>().ok() > held["fencing_token"].as_u64(), "{second}");
}

#[tokio::test]
async fn a_signal_reaches_all_that_the_command_has_started() {
    let cluster = Cluster::three().await;
    let dir = tempfile::tempdir().expect("a directory");
    let said = dir.path().join("said");
    let script = format!(
        "trap 'echo asked >> {0}; exit 5' TERM; sh -c 'sleep 600' & echo $! > {0}; wait",
        said.display()
    );
    let mut holder = start(quorate(&cluster, &["lock", "sig", "--", "sh", "-c", &script]));
    let grandchild: u32 = file(&said).await.trim().parse().expect("a process id");
    signal(holder.0.id(), Signal::INT);
    assert_eq!(holder.0.wait().expect("its end").code(), Some(5));
    assert!(fs::read_to_string(&said).expect("text").ends_with("asked\n"));
    eventually("nothing is left", SOON, async || match is_running(grandchild) {
        false => Ok(()),
        true => Err("it runs".to_owned()),
    })
    .await;
    cluster.cli(&["lock", "inspect", "sig"]).expect(1);
}

#[tokio::test]
async fn a_signal_leaves_a_command_its_time_however_long_the_lease() {
    let cluster = Cluster::three().await;
    let dir = tempfile::tempdir().expect("a directory");
    let said = dir.path().join("said");
    let script =
        format!("trap 'sleep 1; exit 5' TERM; echo > {}; while :; do sleep 0.05; done", said.display());
    let arguments = ["lock", "--ttl", "3m", "long", "--", "sh", "-c", &script];
    let mut holder = start(quorate(&cluster, &arguments));
    file(&said).await;
    signal(holder.0.id(), Signal::INT);
    assert_eq!(holder.0.wait().expect("its end").code(), Some(5), "it was killed at once");
}

/// A zombie that nobody waits for does not.
fn is_running(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[tokio::test]
async fn a_command_is_ended_before_the_lock_can_be_lost_even_if_it_will_not() {
    let cluster = Cluster::three().await;
    let dir = tempfile::tempdir().expect("a directory");
    let started = dir.path().join("started");
    let script = format!("trap '' TERM; echo > {}; while :; do sleep 0.05; done", started.display());
    let ttl = Duration::from_secs(4);
    let mut prepared = quorate(&cluster, &["lock", "stubborn", "--ttl", "4s", "--", "sh", "-c", &script]);
    prepared.stderr(Stdio::null()).stdout(Stdio::null());
    let stopping = async {
        file(&started).await;
        // No keep-alive comes through any more.
        let frozen: Vec<NodeId> = cluster.ids();
        frozen.iter().for_each(|id| cluster.pause(*id));
        Instant::now()
    };
    let running = tokio::task::spawn_blocking(move || (finish(prepared), Instant::now()));
    let frozen_at = stopping.await;
    let (ended_within, code) = {
        let ended = eventually("the command has ended", SOON, async || {
            let shell = fs::read_dir("/proc").expect("processes").flatten().find(|process| {
                let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).into_owned();
                line.contains(&*started.to_string_lossy()) && line.starts_with("sh\0")
            });
            if shell.is_none() { Ok(frozen_at.elapsed()) } else { Err("it runs".to_owned()) }
        })
        .await;
        cluster.ids().iter().for_each(|id| cluster.resume(*id));
        (ended, running.await.expect("no panic").0.code)
    };
    println!(
        "the command was ended {ended_within:.2?} after the members were stopped; its lease has {ttl:?}"
    );
    assert!(ended_within < ttl, "it outlived the lock: {ended_within:?}");
    assert_eq!(code, Some(3));
}

#[tokio::test]
async fn leaders_are_elected_and_observed() {
    let cluster = Cluster::three().await;
    let mut observer = start(quorate(&cluster, &["observe", "boss", "-o", "json"]));
    let (nobody, mut lines) = line(&mut observer);
    let nobody: Value = serde_json::from_str(&nobody).expect("JSON");
    assert_eq!(nobody["leader"], Value::Null);
    cluster.cli(&["elect", "boss", "alice", "--", "true"]).expect(0);
    let mut leader = start(quorate(&cluster, &["elect", "boss", "bob", "--ttl", "3s"]));
    let (held, _out) = line(&mut leader);
    let client = connect(&cluster);
    assert!(client.try_lock(LockOptions::new("boss")).await.expect("an answer").is_none());
    signal(leader.0.id(), Signal::TERM);
    leader.0.wait().expect("its end");
    let mut next = || {
        let mut text = String::new();
        lines.read_line(&mut text).expect("a line");
        let told: Value = serde_json::from_str(&text).expect("JSON");
        (told["leader"]["value"].clone(), told["leader"]["create_revision"].clone())
    };
    let told = [next(), next(), next(), next()];
    assert_eq!(
        told.clone().map(|(value, _)| value),
        ["alice".into(), Value::Null, "bob".into(), Value::Null]
    );
    assert_eq!(told[2].1.to_string(), held.split_once('\t').expect("two fields").1);
    signal(observer.0.id(), Signal::TERM);
    assert_eq!(observer.0.wait().expect("its end").code(), Some(0));
}
