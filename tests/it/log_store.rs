//! openraft's adapter: what is durable, what is cached, what is refused.

use std::{future::Future, io, sync::Arc};

use futures::{FutureExt, TryStreamExt};
use openraft::{
    storage::{IOFlushed, RaftLogReader, RaftLogStorage},
    type_config::TypeConfigExt,
};
use quorate::{
    log::{Disk, Driver, Position, RaftLog},
    raft::{
        log_store::{LogStore, READ_BYTES_MAX},
        snapshots::SnapshotStore,
        types::{Entry, EntryPayload, LogId, Proposal, TypeConfig, Vote},
    },
    state::{Command, Operation},
    types::Put,
};

fn id(term: u64, index: u64) -> LogId {
    LogId::new_term_index(term, index)
}

fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: id(term, index), payload: EntryPayload::Blank }
}

fn put(index: u64, bytes: usize) -> Entry {
    let put = Put { key: "k".into(), value: vec![7; bytes].into(), ..Put::default() };
    let command = Command { request_id: format!("r{index}"), ..Operation::Put(put).into() };
    Entry { log_id: id(1, index), payload: EntryPayload::Normal(Proposal::new(&command).unwrap()) }
}

fn store(cache_bytes: usize) -> (LogStore, Arc<dyn RaftLog>, Driver) {
    let (log, driver) = Disk::default().open();
    (LogStore::new(Arc::clone(&log), cache_bytes), log, driver)
}

async fn append(store: &mut LogStore, entries: impl IntoIterator<Item = Entry>) {
    store.append(entries.into_iter().collect::<Vec<_>>(), IOFlushed::noop()).await.unwrap();
}

/// Whether something is done already.
fn ready(future: impl Future<Output = io::Result<()>>) -> bool {
    future.now_or_never().is_some_and(|result| result.is_ok())
}

#[tokio::test]
async fn entry_is_durable_when_its_append_is() {
    let (mut store, _log, driver) = store(1 << 20);
    append(&mut store, [blank(1, 0), blank(1, 1)]).await;
    append(&mut store, [blank(1, 2)]).await;
    assert!(!ready(store.wait_durable(id(1, 0))));
    driver.pump(1);
    assert!(ready(store.wait_durable(id(1, 1))));
    assert!(!ready(store.wait_durable(id(1, 2))));
    let waiter = tokio::spawn({
        let store = store.clone();
        async move { store.wait_durable(id(1, 2)).await }
    });
    tokio::task::yield_now().await;
    driver.pump(1);
    waiter.await.unwrap().unwrap();
    let beyond = store.wait_durable(id(1, 3)).await.unwrap_err();
    assert_eq!(beyond.kind(), io::ErrorKind::InvalidInput);
}

/// A leader brings back an entry, same term and index, that another leader had removed: it is durable no
/// longer.
#[tokio::test]
async fn entry_that_was_truncated_and_came_back_is_not_durable() {
    let (mut store, _log, driver) = store(1 << 20);
    append(&mut store, [blank(1, 0), blank(2, 1), blank(2, 2)]).await;
    driver.pump(usize::MAX);
    assert!(ready(store.wait_durable(id(2, 2))));

    store.truncate_after(Some(id(1, 0))).await.unwrap();
    append(&mut store, [blank(2, 1), blank(2, 2)]).await;
    assert!(ready(store.wait_durable(id(1, 0))), "was not touched");
    assert!(!ready(store.wait_durable(id(2, 1))));
    assert!(!ready(store.wait_durable(id(2, 2))));
    driver.pump(usize::MAX);
    assert!(ready(store.wait_durable(id(2, 2))));
}

#[tokio::test]
async fn truncation_inside_an_unsynced_append_leaves_its_rest_unsynced() {
    let (mut store, _log, driver) = store(1 << 20);
    append(&mut store, (0..6).map(|index| blank(1, index))).await;
    store.truncate_after(Some(id(1, 2))).await.unwrap();
    append(&mut store, [blank(3, 3)]).await;
    driver.pump(1);
    assert!(ready(store.wait_durable(id(1, 2))));
    assert!(!ready(store.wait_durable(id(3, 3))));
    driver.pump(usize::MAX);
    assert!(ready(store.wait_durable(id(3, 3))));
}

#[tokio::test]
async fn barrier_waits_for_all_before_it() {
    let (mut store, _log, driver) = store(1 << 20);
    append(&mut store, [blank(1, 0)]).await;
    store.purge(id(1, 0)).await.unwrap();
    let mut barrier = Box::pin(store.barrier());
    assert!(barrier.as_mut().now_or_never().is_none());
    driver.pump(1);
    assert!(barrier.as_mut().now_or_never().is_none(), "the purge is not on disk");
    driver.pump(1);
    assert!(ready(barrier));
}

/// openraft purges up to the snapshot that it knows of; its file may have turned out to be damaged.
#[tokio::test]
async fn entries_stay_while_the_snapshot_that_covers_them_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = Arc::new(SnapshotStore::open(dir.path().join("snapshots")).unwrap());
    let publish = |index| {
        let path = snapshots.unfinished();
        std::fs::write(&path, "x").unwrap();
        snapshots.publish(&path, Position { term: 1, index }).unwrap()
    };
    let (store, log, _driver) = store(1 << 20);
    let mut store = store.beside(snapshots.clone());
    append(&mut store, (0..9).map(|index| blank(1, index))).await;
    let file = publish(5);
    store.purge(id(1, 2)).await.unwrap();
    assert_eq!(log.state().purged.map(|at| at.index), Some(2), "control: the file is sound");

    snapshots.set_aside(&file, &io::ErrorKind::InvalidData.into()).unwrap();
    store.purge(id(1, 4)).await.unwrap();
    assert_eq!(log.state().purged.map(|at| at.index), Some(2), "nothing covers them");
    publish(7);
    store.purge(id(1, 6)).await.unwrap();
    assert_eq!(log.state().purged.map(|at| at.index), Some(6), "the next purge takes them along");

    let file = snapshots.newest().unwrap().unwrap();
    snapshots.set_aside(&file, &io::ErrorKind::InvalidData.into()).unwrap();
    store.purge(id(1, 20)).await.unwrap();
    append(&mut store, [blank(1, 21)]).await;
    assert_eq!(
        log.state().purged.map(|at| at.index),
        Some(20),
        "an installed snapshot covers what was not here"
    );
}

#[tokio::test]
async fn vote_is_saved_only_when_it_is_durable() {
    let (mut store, log, driver) = store(1 << 20);
    let vote = Vote::new(3, 2);
    let mut reader = store.clone();
    let mut saving = Box::pin(store.save_vote(&vote));
    assert!(saving.as_mut().now_or_never().is_none());
    assert_eq!(reader.read_vote().await.unwrap(), Some(vote), "but can be read");
    driver.pump(1);
    saving.await.unwrap();
    assert_eq!(log.state().vote.map(Vote::from), Some(vote));
}

#[tokio::test]
async fn failure_reaches_every_waiter() {
    let disk = Disk::default();
    let (log, driver) = disk.open();
    let mut store = LogStore::new(log, 1 << 20);
    let (sender, flushed) = TypeConfig::oneshot();
    store.append([blank(1, 0)], IOFlushed::signal(sender)).await.unwrap();
    let waiter = store.clone();
    let wait = waiter.wait_durable(id(1, 0));
    disk.break_down(quorate::log::Failure::Dead);
    driver.pump(1);
    assert!(flushed.await.unwrap().is_err());
    assert!(wait.await.unwrap_err().to_string().contains("the disk broke down"));
    assert!(store.append([blank(1, 1)], IOFlushed::noop()).await.is_err());
    assert!(store.save_vote(&Vote::new(1, 1)).await.is_err());
    assert!(store.barrier().await.is_err());
}

#[tokio::test]
async fn entries_read_the_same_from_cache_and_log() {
    let entries: Vec<Entry> = (0..50).map(|index| put(index, 1000)).collect();
    for cache_bytes in [0, 10_000, 1 << 20] {
        let (mut store, _log, driver) = store(cache_bytes);
        append(&mut store, entries.clone()).await;
        driver.pump(usize::MAX);
        for range in [0..50, 3..4, 30..50, 45..99] {
            let expected = &entries[range.start as usize..(range.end as usize).min(50)];
            assert_eq!(store.try_get_log_entries(range.clone()).await.unwrap(), expected);
            assert_eq!(store.limited_get_log_entries(range.start, range.end).await.unwrap(), expected);
            let streamed: Vec<Entry> = store.entries_stream(range).await.try_collect().await.unwrap();
            assert_eq!(streamed, expected);
        }
    }
}

#[tokio::test]
async fn one_message_to_a_peer_is_bounded_but_never_empty() {
    let (mut store, _log, driver) = store(0);
    append(&mut store, (0..8).map(|index| put(index, 300 << 10))).await;
    append(&mut store, [put(8, 2 << 20)]).await;
    driver.pump(usize::MAX);
    let read = store.limited_get_log_entries(0, 9).await.unwrap();
    assert!(read.len() == READ_BYTES_MAX / (300 << 10) + 1, "{}", read.len());
    assert_eq!(store.limited_get_log_entries(8, 9).await.unwrap().len(), 1);
    assert_eq!(store.limited_get_log_entries(3, 3).await.unwrap(), []);
    let all: Vec<Entry> = store.entries_stream(0..9).await.try_collect().await.unwrap();
    assert_eq!(all.len(), 9, "a stream goes on after each chunk");
}

#[tokio::test]
async fn entries_that_are_not_there_are_an_error_for_a_peer() {
    let (mut store, _log, driver) = store(0);
    append(&mut store, (0..9).map(|index| blank(1, index))).await;
    store.purge(id(1, 3)).await.unwrap();
    driver.pump(usize::MAX);
    for start in [2, 9] {
        let error = store.limited_get_log_entries(start, 20).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }
    let streamed: io::Result<Vec<Entry>> = store.entries_stream(2..6).await.try_collect().await;
    assert_eq!(streamed.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn undecodable_entry_is_an_error() {
    let (mut store, log, driver) = store(0);
    let damaged = quorate::log::Record { at: Default::default(), payload: b"\xff".as_slice().into() };
    log.append(vec![damaged], Box::new(|_| ())).unwrap();
    driver.pump(1);
    let error = store.try_get_log_entries(0..1).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
