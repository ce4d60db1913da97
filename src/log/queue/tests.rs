//! What happens when calls overlap (a backend that lets the test act in the middle of a read), and when the
//! backend panics.

use std::sync::OnceLock;

use super::*;
use crate::log::Disk;

/// A disk in memory, and what to do during the first read of it.
#[derive(Default)]
struct Interrupted {
    disk: Disk,
    during_read: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Backend for Arc<Interrupted> {
    fn commit(&self, ops: &[Op], sync: bool) -> io::Result<()> {
        self.disk.commit(ops, sync)
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let interruption = self.during_read.lock().unwrap().take();
        interruption.into_iter().for_each(|act| act());
        self.disk.read(range, bytes_max)
    }

    fn size(&self) -> u64 {
        0
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

fn record(term: u64, index: u64) -> Record {
    Record { at: Position { term, index }, payload: "x".into() }
}

/// A log with entries 1.0 to 1.4 on disk; `act` happens in the middle of the next read.
fn interrupted(act: impl FnOnce(&QueuedLog) + Send + 'static) -> Arc<QueuedLog> {
    let backend = Arc::new(Interrupted::default());
    let queue = Queue::new(Box::new(Arc::clone(&backend)), LogState::default(), None);
    let log = Arc::new(QueuedLog::pumped(queue));
    log.append((0..5).map(|index| record(1, index)).collect(), Box::new(drop)).unwrap();
    log.queue.pump(usize::MAX);
    let actor: Arc<OnceLock<Arc<QueuedLog>>> = Arc::default();
    actor.set(Arc::clone(&log)).ok().unwrap();
    *backend.during_read.lock().unwrap() = Some(Box::new(move || act(actor.get().unwrap())));
    log
}

#[test]
fn read_that_overlaps_with_a_truncation_sees_the_log_after_it() {
    let log = interrupted(|log| {
        log.truncate_after(Some(record(1, 1).at)).unwrap();
        log.append(vec![record(2, 2)], Box::new(drop)).unwrap();
        log.queue.pump(1);
    });
    let expected = [record(1, 0), record(1, 1), record(2, 2)];
    assert_eq!(log.read(0..9, usize::MAX).unwrap(), expected);
}

#[test]
fn read_that_overlaps_with_a_purge_is_refused() {
    let log = interrupted(|log| {
        log.purge(record(1, 3).at).unwrap();
        log.queue.pump(1);
    });
    assert_eq!(log.read(2..9, usize::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn hole_in_the_backend_is_an_error() {
    let log = interrupted(|_| ());
    // Behind the queue's back.
    log.queue.backend.commit(&[Op::Truncate(Some(record(1, 2).at))], true).unwrap();
    let error = log.read(0..5, usize::MAX).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (io::ErrorKind::InvalidData, "entry 3 is missing")
    );
    assert_eq!(log.read(0..3, usize::MAX).unwrap().len(), 3);
}

#[test]
fn full_queue_makes_the_next_append_wait_for_the_disk() {
    let queue = Queue::new(Box::new(Disk::default()), LogState::default(), None);
    let log = Arc::new(QueuedLog::pumped(Arc::clone(&queue)));
    let payload = bytes::Bytes::from(vec![0; QUEUE_BYTES_MAX]);
    let large = move |index| vec![Record { at: Position { term: 1, index }, payload: payload.clone() }];
    log.append(large(0), Box::new(drop)).unwrap();
    let appender = thread::spawn({
        let log = Arc::clone(&log);
        move || log.append(large(1), Box::new(drop))
    });
    while !appender.is_finished() {
        assert!(queue.queued() <= 1, "the second one must wait for the first");
        queue.pump(1);
    }
    appender.join().unwrap().unwrap();
    queue.pump(1);
    assert_eq!(log.state().last, Some(Position { term: 1, index: 1 }));
}

#[test]
fn committed_position_alone_costs_no_sync() {
    let queue = Queue::new(Box::new(Disk::default()), LogState::default(), None);
    let log = QueuedLog::pumped(Arc::clone(&queue));
    log.append((0..9).map(|index| record(1, index)).collect(), Box::new(drop)).unwrap();
    queue.pump(usize::MAX);
    assert_eq!(log.stats().syncs, 1);
    for index in 0..9 {
        log.save_committed(record(1, index).at).unwrap();
    }
    assert_eq!(queue.queued(), 1, "only the last one matters");
    queue.pump(usize::MAX);
    assert_eq!(log.stats().syncs, 1);
}

/// A backend whose every call panics, as sled does over some damage.
struct Panicking;

impl Backend for Panicking {
    fn commit(&self, _ops: &[Op], _sync: bool) -> io::Result<()> {
        panic!("a broken page")
    }

    fn read(&self, _range: Range<u64>, _bytes_max: usize) -> io::Result<Vec<Record>> {
        panic!("a broken page")
    }

    fn size(&self) -> u64 {
        0
    }

    fn close(&self) -> io::Result<()> {
        panic!("a broken page")
    }
}

/// The error that a completion gets, if it is called before the test's patience ends.
fn fate(submit: impl FnOnce(Completion) -> io::Result<()>) -> String {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let submitted = submit(Box::new(move |result| sender.send(result).unwrap()));
    let told = receiver.recv_timeout(std::time::Duration::from_secs(20)).expect("the completion is called");
    drop(submitted);
    told.unwrap_err().to_string()
}

#[test]
fn panic_of_the_writer_ends_the_log_instead_of_leaving_all_waiting() {
    let queue = Queue::new(Box::new(Panicking), LogState::default(), None);
    let log = QueuedLog::threaded(queue).unwrap();
    let expected = "the log has failed: the log store panicked: a broken page";
    assert_eq!(fate(|done| log.append(vec![record(1, 0)], done)), expected);
    assert_eq!(fate(|done| log.append(vec![record(1, 1)], done)), expected, "so does what comes after it");
    assert_eq!(fate(|done| log.save_vote(Vote::default(), done)), expected);
    assert_eq!(fate(|done| log.sync(done)), expected);
    assert_eq!(log.read(0..1, 1).unwrap_err().to_string(), expected);
    assert_eq!(log.close().unwrap_err().to_string(), expected);
}

#[test]
fn panic_of_a_reader_is_an_error_of_the_read() {
    let at = Position { term: 1, index: 0 };
    let state = LogState { last: Some(at), ..LogState::default() };
    let log = QueuedLog::pumped(Queue::new(Box::new(Panicking), state, Some(0)));
    let error = log.read(0..1, 1).unwrap_err().to_string();
    assert_eq!(error, "the log store panicked: a broken page");
    let error = log.close().unwrap_err().to_string();
    assert_eq!(error, "the log has failed: the log store panicked: a broken page", "nor who closes it");
}
