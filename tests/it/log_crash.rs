//! What survives a crash: everything that was reported durable, and of the rest a prefix.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
};

use quorate::log::{self, Disk, Kind, Record, Vote};

use crate::log_contract::{append, at, entries, record, wait};

/// Tells the helper test below that it is the process to be killed.
const VICTIM: &str = "QUORATE_TEST_LOG_VICTIM";

#[test]
fn unsynced_operations_are_lost_in_a_crash() {
    let disk = Disk::default();
    let (log, driver) = disk.open();
    log.append(vec![record(1, 0), record(1, 1)], Box::new(|_| ())).unwrap();
    driver.pump(1);
    log.save_vote(Vote { term: 2, node_id: 1, committed: false }, Box::new(|_| ())).unwrap();
    log.append(vec![record(1, 2)], Box::new(|_| ())).unwrap();
    assert_eq!(entries(&*log), "1.0 1.1 1.2");
    driver.crash(0).unwrap();
    assert!(log.read(0..1, 1).is_err(), "a crashed log is of no use");

    let (log, _) = disk.open();
    assert_eq!(entries(&*log), "1.0 1.1");
    assert_eq!(log.state().vote, None);
}

#[test]
fn of_unsynced_operations_a_prefix_may_survive() {
    let expected = ["1.0", "1.0 1.1", "1.0 1.1", "1.0 1.1", "1.0", "1.0 2.1", "1.0 2.1"];
    for (keep, expected) in expected.into_iter().enumerate() {
        let disk = Disk::default();
        let (log, driver) = disk.open();
        append_unsynced(&*log, vec![record(1, 0)]);
        driver.pump(usize::MAX);
        // Each entry counts: an append may be torn.
        append_unsynced(&*log, vec![record(1, 1)]);
        log.save_vote(Vote { term: 2, node_id: 3, committed: true }, Box::new(|_| ())).unwrap();
        log.save_committed(at(1, 0)).unwrap();
        log.truncate_after(Some(at(1, 0))).unwrap();
        append_unsynced(&*log, vec![record(2, 1)]);
        driver.crash(keep).unwrap();
        let (log, _) = disk.open();
        assert_eq!(entries(&*log), expected, "{keep} survive");
        assert_eq!(log.state().vote.is_some(), keep >= 2);
    }
}

fn append_unsynced(log: &dyn log::RaftLog, records: Vec<Record>) {
    log.append(records, Box::new(|_| ())).unwrap();
}

#[test]
fn completion_fires_only_for_what_was_synced() {
    let disk = Disk::default();
    let (log, driver) = disk.open();
    let (sender, receiver) = mpsc::channel();
    for n in 0..3 {
        let sender = sender.clone();
        log.append(vec![record(1, n)], Box::new(move |result| sender.send((n, result.is_ok())).unwrap()))
            .unwrap();
    }
    driver.pump(2);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [(0, true), (1, true)]);
    driver.crash(0).unwrap();
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [(2, false)]);
    assert_eq!(entries(&*disk.open().0), "1.0 1.1");
}

#[test]
fn after_the_first_failure_every_call_returns_it() {
    let disk = Disk::default();
    let log = disk.open_threaded().unwrap();
    append(&*log, 1, 0..2);
    disk.break_down(quorate::log::Failure::Dead);
    let error = wait(|done| log.append(vec![record(1, 2)], done)).unwrap_err().to_string();
    assert_eq!(error, "the log has failed: the disk broke down");
    let errors = [
        wait(|done| log.append(vec![record(1, 3)], done)),
        wait(|done| log.save_vote(Vote::default(), done)),
        wait(|done| log.sync(done)),
        log.save_committed(at(1, 1)),
        log.truncate_after(None),
        log.purge(at(1, 1)),
        log.read(0..1, 1).map(drop),
        log.close(),
    ];
    for result in errors {
        assert_eq!(result.unwrap_err().to_string(), error);
    }
}

/// Kills a process that appends, at a random moment, and looks whether everything it reported is there.
#[test]
fn what_was_reported_survives_kill_9() {
    for kind in [Kind::Wal, Kind::Sled] {
        let dir = tempfile::tempdir().unwrap();
        let mut before = None;
        for round in 0..5 {
            let reported = run_victim(kind, dir.path(), 40 + 53 * round).unwrap();
            let log = log::open(kind, dir.path()).unwrap();
            let last = log.state().last.map(|last| last.index);
            assert!(reported.is_some() && last >= reported, "{kind}: reported {reported:?}, found {last:?}");
            assert!(reported > before, "{kind}: no progress");
            let found = entries(&*log);
            assert_eq!(found.split(' ').count() as u64, last.unwrap() + 1, "{kind}: each entry once");
            assert!(log.state().vote.is_some_and(|vote| Some(vote.term) >= reported.map(|n| n / 10 * 10)));
            before = last;
            log.close().unwrap();
        }
    }
}

/// Starts this test binary once more, with only [`victim`], and kills it after it reported `entries` entries.
/// Returns the last one reported before it died.
fn run_victim(kind: Kind, dir: &Path, entries: u64) -> io::Result<Option<u64>> {
    let mut child = Command::new(env::current_exe()?)
        .args(["--exact", "log_crash::victim", "--nocapture", "--ignored"])
        .env(VICTIM, format!("{kind}:{}", dir.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut reported = None;
    let mut count = 0;
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for line in lines {
        if let Some(index) = line?.strip_prefix("durable ").and_then(|index| index.parse().ok()) {
            reported = Some(index);
            count += 1;
        }
        if count == entries {
            // SIGKILL. What is still in the pipe was reported as well.
            child.kill()?;
            count += 1;
        }
    }
    child.wait()?;
    Ok(reported)
}

/// Not a test by itself: appends for ever, and prints the index of each entry whose completion fired.
#[test]
#[ignore = "started by what_was_reported_survives_kill_9"]
fn victim() {
    let Ok(task) = env::var(VICTIM) else { return };
    let (kind, dir) = task.split_once(':').unwrap();
    let kind = if kind == "wal" { Kind::Wal } else { Kind::Sled };
    let log = log::open(kind, Path::new(dir)).unwrap();
    let next = log.state().last.map_or(0, |last| last.index + 1);
    for index in next..next + 1_000_000 {
        if index % 10 == 0 {
            let vote = Vote { term: index, node_id: 1, committed: false };
            log.save_vote(vote, Box::new(|result| result.unwrap())).unwrap();
        }
        if index % 7 == 0 && index > 0 {
            log.save_committed(at(1, index - 1)).unwrap();
        }
        log.append(vec![record(1, index)], Box::new(move |result| report(index, result))).unwrap();
        if index % 5 == 0 {
            wait(|done| log.sync(done)).unwrap();
        }
    }
}

fn report(index: u64, result: io::Result<()>) {
    result.unwrap();
    // One write, so that a line is whole or absent.
    io::stdout().write_all(format!("durable {index}\n").as_bytes()).unwrap();
}
