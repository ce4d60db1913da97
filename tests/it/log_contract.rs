//! What every Raft log store must do, run on all three.

use std::{
    io,
    sync::{Arc, Mutex, mpsc},
};

use quorate::log::{self, Completion, Disk, Kind, LogState, OpenError, Position, RaftLog, Record, Vote};
use tempfile::TempDir;

/// A log of some kind that can be closed and opened again.
pub struct Store {
    kind: Kind,
    dir: TempDir,
    disk: Disk,
}

impl Store {
    pub fn all() -> Vec<Store> {
        let new = |kind| Store { kind, dir: tempfile::tempdir().unwrap(), disk: Disk::default() };
        [Kind::Wal, Kind::Sled, Kind::Memory].map(new).into()
    }

    pub fn open(&self) -> Arc<dyn RaftLog> {
        match self.kind {
            Kind::Memory => self.disk.open_threaded().unwrap(),
            kind => log::open(kind, self.dir.path()).unwrap(),
        }
    }

    /// Checks `expect` on the log as it is, and once more after it was closed and opened.
    fn check_reopened(&self, log: Arc<dyn RaftLog>, expect: impl Fn(&dyn RaftLog)) -> Arc<dyn RaftLog> {
        expect(&*log);
        log.close().unwrap();
        drop(log);
        let log = self.open();
        expect(&*log);
        log
    }
}

pub fn at(term: u64, index: u64) -> Position {
    Position { term, index }
}

pub fn record(term: u64, index: u64) -> Record {
    Record { at: at(term, index), payload: format!("{term}.{index}").into() }
}

/// Calls something that completes later, and waits for it.
pub fn wait(submit: impl FnOnce(Completion) -> io::Result<()>) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    submit(Box::new(move |result| sender.send(result).unwrap()))?;
    receiver.recv().expect("the completion was dropped")
}

pub fn append(log: &dyn RaftLog, term: u64, indexes: std::ops::Range<u64>) {
    wait(|done| log.append(indexes.map(|index| record(term, index)).collect(), done)).unwrap();
}

/// The entries as "term.index", after checking that each payload belongs to its place.
pub fn entries(log: &dyn RaftLog) -> String {
    let start = log.state().purged.map_or(0, |purged| purged.index + 1);
    let records = log.read(start..u64::MAX, usize::MAX).unwrap();
    for found in &records {
        assert_eq!(found, &record(found.at.term, found.at.index));
    }
    records
        .iter()
        .map(|record| format!("{}.{}", record.at.term, record.at.index))
        .collect::<Vec<_>>()
        .join(" ")
}

fn kind_of(result: io::Result<impl Sized>) -> io::ErrorKind {
    result.err().expect("must be refused").kind()
}

#[test]
fn empty_log_has_no_state() {
    for store in Store::all() {
        store.check_reopened(store.open(), |log| {
            assert_eq!(log.state(), LogState::default());
            assert_eq!(entries(log), "");
        });
    }
}

#[test]
fn appended_entries_are_there_after_reopening() {
    for store in Store::all() {
        let log = store.open();
        append(&*log, 1, 0..3);
        append(&*log, 2, 3..5);
        let log = store.check_reopened(log, |log| {
            assert_eq!(entries(log), "1.0 1.1 1.2 2.3 2.4");
            assert_eq!(log.state().last, Some(at(2, 4)));
        });
        append(&*log, 2, 5..6);
        store.check_reopened(log, |log| assert_eq!(entries(log), "1.0 1.1 1.2 2.3 2.4 2.5"));
    }
}

#[test]
fn entries_are_readable_before_they_are_durable() {
    let (log, driver) = Disk::default().open();
    log.append(vec![record(1, 0), record(1, 1)], Box::new(|_| ())).unwrap();
    assert_eq!(entries(&*log), "1.0 1.1");
    assert_eq!(driver.queued(), 1);
    driver.pump(1);
    log.append(vec![record(1, 2)], Box::new(|_| ())).unwrap();
    assert_eq!(entries(&*log), "1.0 1.1 1.2", "half from the disk, half from the queue");
    assert_eq!(log.read(1..2, usize::MAX).unwrap(), [record(1, 1)]);
    assert_eq!(log.read(2..3, usize::MAX).unwrap(), [record(1, 2)]);
}

#[test]
fn append_must_follow_the_last_entry() {
    for store in Store::all() {
        let log = store.open();
        append(&*log, 2, 0..3);
        for wrong in [record(2, 4), record(2, 2), record(1, 3)] {
            let refused = wait(|done| log.append(vec![wrong.clone()], done));
            assert_eq!(kind_of(refused), io::ErrorKind::InvalidInput, "{wrong:?}");
        }
        let hole = wait(|done| log.append(vec![record(2, 3), record(2, 5)], done));
        assert_eq!(kind_of(hole), io::ErrorKind::InvalidInput);
        append(&*log, 2, 3..4);
        store.check_reopened(log, |log| assert_eq!(entries(log), "2.0 2.1 2.2 2.3"));
    }
}

#[test]
fn truncated_entries_are_gone_and_can_be_replaced() {
    for store in Store::all() {
        let log = store.open();
        append(&*log, 1, 0..6);
        log.truncate_after(Some(at(1, 3))).unwrap();
        assert_eq!(log.state().last, Some(at(1, 3)));
        append(&*log, 3, 4..6);
        let log = store.check_reopened(log, |log| assert_eq!(entries(log), "1.0 1.1 1.2 1.3 3.4 3.5"));
        log.truncate_after(Some(at(3, 9))).unwrap();
        assert_eq!(log.state().last, Some(at(3, 5)), "nothing lies behind 9");
        log.truncate_after(None).unwrap();
        store.check_reopened(log, |log| {
            assert_eq!(entries(log), "");
            assert_eq!(log.state().last, None);
        });
    }
}

#[test]
fn committed_entries_are_not_truncated() {
    for store in Store::all() {
        let log = store.open();
        append(&*log, 1, 0..6);
        log.save_committed(at(1, 3)).unwrap();
        assert_eq!(kind_of(log.truncate_after(Some(at(1, 2)))), io::ErrorKind::InvalidInput);
        assert_eq!(kind_of(log.truncate_after(None)), io::ErrorKind::InvalidInput);
        log.truncate_after(Some(at(1, 3))).unwrap();
        store.check_reopened(log, |log| {
            assert_eq!(entries(log), "1.0 1.1 1.2 1.3");
            assert_eq!(log.state().committed, Some(at(1, 3)));
        });
    }
}

#[test]
fn committed_hint_never_goes_back_or_beyond() {
    for store in Store::all() {
        let log = store.open();
        append(&*log, 1, 0..6);
        for index in [3, 2, 9] {
            log.save_committed(at(1, index)).unwrap();
        }
        store.check_reopened(log, |log| assert_eq!(log.state().committed, Some(at(1, 3))));
    }
}

#[test]
fn purged_entries_are_gone() {
    for store in Store::all() {
        let log = store.open();
        append(&*log, 1, 0..4);
        append(&*log, 1, 4..8);
        log.purge(at(1, 2)).unwrap();
        log.purge(at(1, 1)).unwrap();
        let log = store.check_reopened(log, |log| {
            assert_eq!(entries(log), "1.3 1.4 1.5 1.6 1.7");
            assert_eq!(log.state().purged, Some(at(1, 2)));
            assert_eq!(kind_of(log.read(2..4, 1)), io::ErrorKind::NotFound, "2 is purged");
        });
        log.purge(at(1, 7)).unwrap();
        let log = store.check_reopened(log, |log| {
            assert_eq!(entries(log), "");
            assert_eq!(log.state().last, Some(at(1, 7)));
        });
        append(&*log, 2, 8..9);
        store.check_reopened(log, |log| assert_eq!(entries(log), "2.8"));
    }
}

#[test]
fn purge_may_reach_beyond_the_last_entry() {
    for store in Store::all() {
        let log = store.open();
        append(&*log, 1, 0..4);
        log.purge(at(3, 100)).unwrap();
        let log = store.check_reopened(log, |log| {
            assert_eq!(entries(log), "");
            assert_eq!((log.state().purged, log.state().last), (Some(at(3, 100)), Some(at(3, 100))));
        });
        append(&*log, 3, 101..103);
        let log = store.check_reopened(log, |log| assert_eq!(entries(log), "3.101 3.102"));
        log.truncate_after(Some(at(3, 100))).unwrap();
        store.check_reopened(log, |log| {
            assert_eq!(entries(log), "");
            assert_eq!(log.state().last, Some(at(3, 100)));
        });
    }
}

/// A leader of term 3 left us entries that nobody else has; then we get a snapshot of what was committed
/// without it.
#[test]
fn purge_covers_an_uncommitted_tail_of_a_later_term() {
    for store in Store::all() {
        let log = store.open();
        append(&*log, 1, 0..4);
        log.save_committed(at(1, 2)).unwrap();
        append(&*log, 3, 4..6);
        log.purge(at(2, 60)).unwrap();
        let log = store.check_reopened(log, |log| {
            assert_eq!(entries(log), "");
            assert_eq!((log.state().purged, log.state().last), (Some(at(2, 60)), Some(at(2, 60))));
        });
        append(&*log, 4, 61..63);
        store.check_reopened(log, |log| assert_eq!(entries(log), "4.61 4.62"));
    }
}

#[test]
fn log_without_a_beginning_keeps_its_bounds() {
    for store in Store::all() {
        let log = store.open();
        append(&*log, 2, 5..9);
        assert_eq!(kind_of(log.truncate_after(Some(at(2, 3)))), io::ErrorKind::InvalidInput);
        assert_eq!(kind_of(log.truncate_after(Some(at(1, 4)))), io::ErrorKind::InvalidInput, "what is 4?");
        log.truncate_after(Some(at(2, 6))).unwrap();
        log.purge(at(1, 2)).unwrap();
        let log = store.check_reopened(log, |log| {
            assert_eq!(log.read(5..9, usize::MAX).unwrap(), [record(2, 5), record(2, 6)]);
            assert_eq!(log.state().purged, None, "the log never had 2");
        });
        log.purge(at(2, 5)).unwrap();
        assert_eq!(kind_of(log.truncate_after(Some(at(1, 5)))), io::ErrorKind::InvalidInput, "not that one");
        log.truncate_after(Some(at(2, 5))).unwrap();
        store.check_reopened(log, |log| assert_eq!(entries(log), ""));
    }
}

#[test]
fn purge_of_a_fresh_log_begins_it_there() {
    for store in Store::all() {
        let log = store.open();
        log.purge(at(3, 100)).unwrap();
        append(&*log, 3, 101..102);
        store.check_reopened(log, |log| assert_eq!(entries(log), "3.101"));
    }
}

#[test]
fn purge_that_contradicts_the_log_is_refused() {
    for store in Store::all() {
        let log = store.open();
        append(&*log, 3, 0..9);
        assert_eq!(kind_of(log.purge(at(4, 5))), io::ErrorKind::InvalidInput);
        store.check_reopened(log, |log| assert_eq!(log.state().last, Some(at(3, 8))));
    }
}

#[test]
fn vote_is_kept_and_never_taken_back() {
    let vote = |term, node_id, committed| Vote { term, node_id, committed };
    for store in Store::all() {
        let log = store.open();
        let save = |vote| wait(|done| log.save_vote(vote, done));
        save(vote(4, 1, true)).unwrap();
        save(vote(5, 3, false)).unwrap();
        // Member 2, not our candidate 3, won term 5.
        save(vote(5, 2, true)).unwrap();
        assert_eq!(kind_of(save(vote(5, 2, false))), io::ErrorKind::InvalidInput);
        assert_eq!(kind_of(save(vote(4, 9, true))), io::ErrorKind::InvalidInput);
        store.check_reopened(log, |log| assert_eq!(log.state().vote, Some(vote(5, 2, true))));
    }
}

#[test]
fn completions_come_in_call_order_and_exactly_once() {
    for store in Store::all() {
        let log = store.open();
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |n: u64| -> Completion {
            let order = Arc::clone(&order);
            Box::new(move |result| {
                result.unwrap();
                order.lock().unwrap().push(n);
            })
        };
        for n in 0..200 {
            match n % 4 {
                0 => log.save_vote(Vote { term: n, node_id: 1, committed: false }, note(n)).unwrap(),
                1 => log.sync(note(n)).unwrap(),
                _ => log.append(vec![record(1, n / 4 * 2 + n % 4 - 2)], note(n)).unwrap(),
            }
        }
        wait(|done| log.sync(done)).unwrap();
        assert_eq!(*order.lock().unwrap(), (0..200).collect::<Vec<_>>());
        assert!(log.stats().syncs < 200, "{:?}: nothing was grouped", log.stats());
        assert_eq!((log.stats().entries, log.state().last), (100, Some(at(1, 99))));
    }
}

#[test]
fn read_stops_after_the_bytes_asked_for() {
    for store in Store::all() {
        let log = store.open();
        let large = |index| Record { at: at(1, index), payload: vec![index as u8; 1000].into() };
        wait(|done| log.append((0..50).map(large).collect(), done)).unwrap();
        store.check_reopened(log, |log| {
            let indexes = |range, bytes_max| {
                let records = log.read(range, bytes_max).unwrap();
                records.iter().map(|record| record.at.index).collect::<Vec<_>>()
            };
            assert_eq!(indexes(10..50, 1), [10], "at least one");
            assert_eq!(indexes(10..50, 2500), [10, 11, 12]);
            assert_eq!(indexes(48..90, usize::MAX), [48, 49], "the end of the log");
            assert_eq!(indexes(50..90, usize::MAX), Vec::<u64>::new());
            assert_eq!(indexes(20..20, usize::MAX), Vec::<u64>::new());
        });
    }
}

#[test]
fn closed_log_refuses_everything() {
    for store in Store::all() {
        let log = store.open();
        append(&*log, 1, 0..3);
        log.close().unwrap();
        log.close().unwrap();
        assert_eq!(kind_of(wait(|done| log.append(vec![record(1, 3)], done))), io::ErrorKind::BrokenPipe);
        assert_eq!(kind_of(log.read(0..1, 1)), io::ErrorKind::BrokenPipe);
        assert_eq!(kind_of(log.purge(at(1, 0))), io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn refused_call_still_completes() {
    let (log, _driver) = Disk::default().open();
    let (sender, receiver) = mpsc::channel();
    let wrong = vec![record(1, 0), record(1, 7)];
    assert!(log.append(wrong, Box::new(move |result| sender.send(result).unwrap())).is_err());
    assert_eq!(kind_of(receiver.recv().unwrap()), io::ErrorKind::InvalidInput);
}

#[test]
fn log_of_another_kind_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    log::open(Kind::Wal, dir.path()).unwrap().close().unwrap();
    let Err(error) = log::open(Kind::Sled, dir.path()) else { panic!("opened a wal as sled") };
    assert!(matches!(&error, OpenError::WrongKind { .. }), "{error}");
    assert!(error.to_string().contains("holds a wal log, not sled"), "{error}");
    log::open(Kind::Wal, dir.path()).unwrap();
}

#[test]
fn directory_of_something_else_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.tex"), "x").unwrap();
    let Err(error) = log::open(Kind::Wal, dir.path()) else { panic!("opened a foreign directory") };
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}
