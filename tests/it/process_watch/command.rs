//! `quorate watch` as a person or a script runs it.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    SOON, cli,
    cluster::{Cluster, Spec, signal},
    eventually,
};

/// A running `quorate watch`.
struct Watching {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Watching {
    fn start(cluster: &Cluster, arguments: &[&str]) -> Watching {
        let mut command = cli::command();
        command.args(["--endpoints", &cluster.endpoints().join(",")]).arg("watch").args(arguments);
        Watching::of(command)
    }

    fn of(mut command: Command) -> Watching {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Watching { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.line()).expect("JSON")
    }

    /// Sends a signal; its exit code and what it said.
    fn end(mut self, which: Signal) -> (Option<i32>, String) {
        signal(self.child.id(), which);
        let mut said = String::new();
        self.child.stderr.take().expect("its errors").read_to_string(&mut said).expect("text");
        (self.child.wait().expect("its end").code(), said)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_prints_events_runs_commands_and_ends_cleanly() {
    let cluster = Cluster::start(Spec { members: 1, ..Spec::default() }).await;
    let node = cluster.node(1);
    let first = node.put("k/1", "one").await.expect("a put");
    let from = first.to_string();
    let json = ["k/", "--prefix", "--from-revision", &from, "--prev-kv", "-o", "json"];
    let mut json = Watching::start(&cluster, &[&json[..], &["--progress", "200ms"]].concat());
    let event = json.json();
    assert_eq!((&event["type"], &event["revision"]), (&"put".into(), &first.into()), "{event}");
    assert_eq!((&event["kv"]["key"], &event["kv"]["value"]), (&"k/1".into(), &"one".into()), "{event}");
    assert!(event.get("prev_kv").is_none(), "{event}");
    let progress = json.json();
    assert_eq!((&progress["type"], &progress["revision"]), (&"progress".into(), &first.into()), "{progress}");
    cluster.cli(&["del", "k/1"]).expect(0);
    let event = loop {
        let line = json.json();
        if line["type"] != "progress" {
            break line;
        }
    };
    assert_eq!((&event["type"], &event["prev_kv"]["value"]), (&"delete".into(), &"one".into()), "{event}");
    assert_eq!(json.end(Signal::TERM), (Some(0), String::new()));

    let simple = ["k/", "--prefix", "--from-revision", &from, "--no-put"];
    let mut simple = Watching::start(&cluster, &simple);
    assert_eq!(simple.line(), "delete\tk/1\n");
    assert_eq!(simple.end(Signal::INT), (Some(0), String::new()));

    let script = "read value; echo $QUORATE_WATCH_EVENT_TYPE $QUORATE_WATCH_KEY $QUORATE_WATCH_VALUE \
                  $QUORATE_WATCH_REVISION $value; exit 3";
    let run = ["k/", "--prefix", "--from-revision", &from, "--", "sh", "-c", script];
    let mut run = Watching::start(&cluster, &run);
    assert_eq!(run.line(), format!("put k/1 one {first} one\n"));
    assert_eq!(run.line(), format!("delete k/1 {}\n", first + 1));
    let (code, said) = run.end(Signal::TERM);
    assert_eq!(code, Some(0));
    assert!(said.contains("sh ended with exit status: 3"), "{said}");

    cluster.cli(&["compact", &(first + 1).to_string()]).expect(0);
    let gone = cluster.cli(&["watch", "k/1", "--from-revision", &from, "-o", "json"]).expect(3);
    assert_eq!(gone.json()["error"]["reason"], "compacted", "{gone:?}");
    let hasty = cluster.cli(&["watch", "k/1", "--progress", "1ms"]).expect(2);
    assert!(hasty.stderr.contains("interval of progress"), "{hasty:?}");
    let nobody = cli::run(&["--endpoints", "127.0.0.1:1", "--timeout", "1s", "watch", "k"]).expect(3);
    assert!(nobody.took < SOON, "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_will_not_end_is_killed() {
    let cluster = Cluster::start(Spec { members: 1, ..Spec::default() }).await;
    let from = cluster.node(1).put("k", "v").await.expect("a put").to_string();
    let script = "trap '' TERM; echo started; for _ in $(seq 1000); do sleep 0.05; done";
    let stubborn = ["k", "--from-revision", &from, "--", "sh", "-c", script];
    let mut both = [Watching::start(&cluster, &stubborn), Watching::start(&cluster, &stubborn)];
    for watching in &mut both {
        assert_eq!(watching.line(), "started\n");
        signal(watching.child.id(), Signal::TERM);
    }
    let [hasty, patient] = &mut both;
    // Two that come at once are one.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = Instant::now();
    signal(hasty.child.id(), Signal::TERM);
    assert_eq!(ended(&mut hasty.child).await, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "a second signal kills: {:?}", asked.elapsed());
    assert!(patient.child.try_wait().expect("its state").is_none(), "it has ten seconds");
    assert_eq!(ended(&mut patient.child).await, Some(0));
}

async fn ended(child: &mut Child) -> Option<i32> {
    eventually("it has ended", SOON, async || match child.try_wait() {
        Ok(Some(status)) => Ok(status.code()),
        other => Err(format!("{other:?}")),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_gone_ends_it() {
    let cluster = Cluster::start(Spec { members: 1, ..Spec::default() }).await;
    let mut watching = Watching::start(&cluster, &["k"]);
    let node = cluster.node(1);
    // It may not have begun: until it prints, events are made.
    let making = tokio::spawn(async move {
        loop {
            node.put("k", "v").await.expect("a put");
        }
    });
    assert_eq!(watching.line(), "put\tk\tv\n");
    let Watching { mut child, lines } = watching;
    drop(lines);
    let ended = tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic");
    assert_eq!(ended.expect("its end").code(), Some(0));
    making.abort();
}
