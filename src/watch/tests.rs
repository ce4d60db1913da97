//! The hub over a state in memory: what each watch tells, whatever path it comes on.

use std::{task::Poll, time::Duration};

use super::*;
use crate::{
    error::Error,
    state::{Command, Operation, Position, StateMachine, Step},
    types::{Delete, KeyRange, Op, Put, Revision, Txn, Watch, WatchEvent},
};

/// A state with its hub, and the dispatcher where a test wants it.
struct Store {
    machine: StateMachine,
    hub: Hub,
    index: u64,
}

impl Store {
    fn new() -> Store {
        Store::with_watches(1000)
    }

    fn with_watches(watches_max: usize) -> Store {
        let machine = StateMachine::in_memory();
        let hub = Hub::new(machine.reader(), watches_max);
        Store { machine, hub, index: 0 }
    }

    fn dispatching(self) -> Store {
        let hub = self.hub.clone();
        tokio::spawn(async move { hub.dispatch().await });
        self
    }

    /// Applies some operations as one commit, and publishes it.
    fn commit(&mut self, ops: Vec<Operation>) -> Revision {
        let mut batch = self.machine.begin();
        for op in ops {
            let at = Position { term: 1, index: self.index };
            self.index += 1;
            self.machine.apply(&mut batch, at, &Command::from(op)).expect("applied");
        }
        let committed = self.machine.commit(batch).expect("committed");
        let revision = self.machine.reader().position().revision;
        self.hub.publish(committed.events, revision);
        revision
    }

    fn put(&mut self, key: &str, value: &str) -> Revision {
        self.commit(vec![put(key, value)])
    }

    fn compact(&mut self, revision: Revision) {
        self.commit(vec![Operation::Compact(revision)]);
        while self.machine.compactor().step(1 << 20).expect("a step") != Step::Idle {}
    }

    fn watch(&self, watch: Watch) -> Watcher {
        self.hub.watch(watch).expect("a watch")
    }

    /// Pushes everything out of the ring.
    fn flood(&mut self) -> Revision {
        for _ in 0..RING_REVISIONS_MAX / 512 + 1 {
            self.commit((0..512).map(|n| put(&format!("flood/{n}"), "")).collect());
        }
        self.machine.reader().position().revision
    }
}

fn put_op(key: &str, value: &str) -> Put {
    Put { key: key.to_owned().into(), value: value.to_owned().into(), ..Put::default() }
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put(put_op(key, value))
}

fn delete(key: &str) -> Delete {
    Delete { keys: KeyRange::key(key.to_owned()), prev_kv: false }
}

fn from(keys: KeyRange, start_revision: Revision) -> Watch {
    Watch { start_revision, ..Watch::new(keys) }
}

fn line(event: &WatchEvent) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kv = &event.kv;
    let was = event.prev_kv.as_ref().map_or(String::new(), |was| format!(" was {}", text(&was.value)));
    match event.deleted {
        true => format!("-{}{was}", text(&kv.key)),
        false => format!("{}={}{was}", text(&kv.key), text(&kv.value)),
    }
}

/// What the watch tells next, as text.
async fn told(watcher: &mut Watcher) -> String {
    match tokio::time::timeout(Duration::from_secs(10), watcher.next()).await {
        Err(_) => "nothing".to_owned(),
        Ok(Ok(Told::Created(revision))) => format!("created {revision}"),
        Ok(Ok(Told::Progress(revision))) => format!("progress {revision}"),
        Ok(Ok(Told::Events { revision, events, more })) => {
            let lines: Vec<_> = events.iter().map(line).collect();
            format!("{revision}: {}{}", lines.join(" "), if more { " …" } else { "" })
        }
        Ok(Err(error)) => error.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_hears_its_keys_in_order_and_a_transaction_as_one() {
    let mut store = Store::new().dispatching();
    store.put("a", "0");
    let mut key = store.watch(Watch::new(KeyRange::key("a")));
    let mut prefix = store.watch(Watch { prev_kv: true, ..Watch::new(KeyRange::prefix("a")) });
    let mut range = store.watch(Watch::new(KeyRange::interval("a", Some("b0".into()))));
    for watcher in [&mut key, &mut prefix, &mut range] {
        assert_eq!(told(watcher).await, "created 2");
    }
    let ops = vec![Op::Put(put_op("a", "1")), Op::Put(put_op("ab", "2")), Op::Put(put_op("b", "3"))];
    store.commit(vec![Operation::Txn(Txn { then_ops: ops, ..Txn::default() }), put("c", "4")]);
    store.commit(vec![Operation::Delete(delete("a")), put("a", "5")]);
    assert_eq!(told(&mut key).await, "3: a=1");
    assert_eq!(told(&mut key).await, "5: -a");
    assert_eq!(told(&mut key).await, "6: a=5");
    assert_eq!(told(&mut prefix).await, "3: a=1 was 0 ab=2");
    assert_eq!(told(&mut prefix).await, "5: -a was 1");
    assert_eq!(told(&mut prefix).await, "6: a=5");
    assert_eq!(told(&mut range).await, "3: a=1 ab=2 b=3");
    assert_eq!(told(&mut range).await, "5: -a");
    assert_eq!(told(&mut range).await, "6: a=5");
    assert_eq!(told(&mut key).await, "nothing");
}

#[tokio::test(start_paused = true)]
async fn filters_leave_out_and_progress_goes_on() {
    let mut store = Store::new().dispatching();
    let filter =
        Watch { no_put: true, progress_interval: Some(Duration::from_secs(1)), ..from(KeyRange::all(), 1) };
    let mut watcher = store.watch(filter);
    assert_eq!(told(&mut watcher).await, "created 0");
    store.put("a", "1");
    assert_eq!(told(&mut watcher).await, "progress 2");
    store.commit(vec![Operation::Delete(delete("a"))]);
    assert_eq!(told(&mut watcher).await, "3: -a");
    assert_eq!(told(&mut watcher).await, "progress 3");
    let mut deaf = store.watch(Watch { no_put: true, no_delete: true, ..Watch::new(KeyRange::all()) });
    assert_eq!(told(&mut deaf).await, "created 3");
    store.put("a", "2");
    deaf.progress_request().send();
    assert!(told(&mut deaf).await.starts_with("progress "));
    tokio::time::sleep(Duration::from_millis(1)).await;
    deaf.progress_request().send();
    assert_eq!(told(&mut deaf).await, "progress 4");
}

#[tokio::test(start_paused = true)]
async fn progress_comes_behind_what_it_covers() {
    let mut store = Store::new().dispatching();
    let mut watcher = store.watch(Watch::new(KeyRange::all()));
    assert_eq!(told(&mut watcher).await, "created 1");
    tokio::time::timeout(Duration::from_millis(1), watcher.next()).await.expect_err("live, and silent");
    store.put("a", "1");
    store.put("b", "2");
    tokio::time::sleep(Duration::from_millis(1)).await;
    watcher.progress_request().send();
    assert_eq!(told(&mut watcher).await, "2: a=1");
    assert_eq!(told(&mut watcher).await, "3: b=2");
    assert_eq!(told(&mut watcher).await, "progress 3");
}

#[tokio::test(start_paused = true)]
async fn the_future_is_waited_for_and_the_compacted_past_is_refused() {
    let mut store = Store::new().dispatching();
    let mut future = store.watch(from(KeyRange::all(), 4));
    assert_eq!(told(&mut future).await, "created 1");
    for value in ["1", "2", "3", "4"] {
        store.put("a", value);
        tokio::time::sleep(Duration::from_millis(1)).await;
        future.progress_request().send();
        if value < "3" {
            assert!(told(&mut future).await.starts_with("progress"));
        }
    }
    assert_eq!(told(&mut future).await, "4: a=3");
    assert_eq!(told(&mut future).await, "5: a=4");
    store.compact(4);
    let mut gone = store.watch(from(KeyRange::all(), 3));
    assert_eq!(told(&mut gone).await, "revision 3 is compacted: the oldest readable one is 4");
    let mut kept = store.watch(Watch { prev_kv: true, ..from(KeyRange::all(), 4) });
    assert_eq!(told(&mut kept).await, "created 3");
    assert_eq!(told(&mut kept).await, "4: a=3", "what it was before is compacted");
    assert_eq!(told(&mut kept).await, "5: a=4 was 3");
}

#[tokio::test(start_paused = true)]
async fn what_left_the_ring_comes_from_history_and_the_watch_joins_again() {
    let mut store = Store::new().dispatching();
    store.put("a", "1");
    let last = store.flood();
    let mut watcher = store.watch(from(KeyRange::key("a"), 2));
    assert_eq!(told(&mut watcher).await, "created 1");
    assert_eq!(told(&mut watcher).await, "2: a=1");
    assert_eq!(told(&mut watcher).await, "nothing");
    store.put("a", "2");
    assert_eq!(told(&mut watcher).await, format!("{}: a=2", last + 1));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_does_not_read_leaves_the_live_set_at_its_bound_and_loses_nothing() {
    let mut store = Store::new().dispatching();
    let mut slow = store.watch(Watch::new(KeyRange::prefix("a")));
    let mut quick = store.watch(Watch::new(KeyRange::prefix("a")));
    assert_eq!(told(&mut slow).await, "created 1");
    assert_eq!(told(&mut quick).await, "created 1");
    tokio::time::timeout(Duration::from_millis(1), slow.next()).await.expect_err("live, and silent");
    for n in 0..1000 {
        let revision = store.commit(vec![put("a/1", &n.to_string()), put("b", "")]);
        assert_eq!(told(&mut quick).await, format!("{}: a/1={n}", revision - 1));
    }
    assert!(store.hub.buffered_bytes() <= SEAT_BYTES_MAX, "{}", store.hub.buffered_bytes());
    for n in 0..1000 {
        assert_eq!(told(&mut slow).await, format!("{}: a/1={n}", 2 + 2 * n));
    }
    store.put("a/2", "");
    assert_eq!(told(&mut slow).await, "2002: a/2=");
    drop((slow, quick));
    assert_eq!((store.hub.buffered_bytes(), store.hub.watches()), (0, 0));
}

/// Deletes 30 values of 100 KiB under a watch that wants to know them.
async fn watch_of_large_deletion(store: &mut Store) -> Watcher {
    let value = "v".repeat(100 << 10);
    for n in 0..30 {
        store.put(&format!("large/{n:02}"), &value);
    }
    let mut watcher = store.watch(Watch { prev_kv: true, ..Watch::new(KeyRange::prefix("large/")) });
    assert_eq!(told(&mut watcher).await, "created 31");
    let all = Delete { keys: KeyRange::prefix("large/"), prev_kv: false };
    assert_eq!(store.commit(vec![Operation::Delete(all)]), 32);
    store.put("large/", "again");
    watcher
}

#[tokio::test(start_paused = true)]
async fn the_pairs_before_a_large_deletion_are_read_as_they_are_told() {
    let mut store = Store::new().dispatching();
    let mut watcher = watch_of_large_deletion(&mut store).await;
    let (mut keys, mut parts) = (Vec::new(), 0);
    loop {
        let Told::Events { revision: 32, events, more } = watcher.next().await.expect("a watch") else {
            panic!("not of the deletion")
        };
        let bytes: usize = events.iter().map(wire_bytes).sum();
        assert!((1..PART_BYTES + (101 << 10)).contains(&bytes), "{bytes} bytes in a part");
        let known = events.iter().filter(|event| event.prev_kv.is_some()).count();
        assert_eq!(known, if parts == 0 { events.len() } else { 0 }, "the rest was compacted meanwhile");
        if parts == 0 {
            store.compact(32);
        }
        keys.extend(events.into_iter().map(|event| event.kv.key));
        parts += 1;
        if !more {
            break;
        }
        watcher.progress_request().send();
    }
    assert_eq!(keys, (0..30).map(|n| format!("large/{n:02}")).collect::<Vec<_>>(), "each once, in order");
    assert!(parts > 1);
    assert_eq!(told(&mut watcher).await, "33: large/=again", "progress comes behind what it covers");
    assert_eq!(told(&mut watcher).await, "progress 33");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_asked_and_left_and_asked_again_loses_nothing() {
    let mut store = Store::new().dispatching();
    let mut watcher = watch_of_large_deletion(&mut store).await;
    let mut count = 0;
    loop {
        let asked = futures::poll!(Box::pin(watcher.next()));
        let next = match asked {
            Poll::Ready(next) => next,
            Poll::Pending => watcher.next().await,
        };
        let next = next.expect("a watch");
        let Told::Events { revision: 32, events, more } = next else {
            panic!("not of the deletion: {next:?}")
        };
        count += events.len();
        if !more {
            break;
        }
    }
    assert_eq!(count, 30);
}

#[tokio::test(start_paused = true)]
async fn what_watches_have_found_and_not_told_is_bounded_and_they_go_on_all_the_same() {
    let mut store = Store::new().dispatching();
    let value = "v".repeat(32 << 10);
    let last = (0..20).map(|_| store.put("a", &value)).last();
    store.flood();
    let watches = WATCHES_BYTES_MAX / HISTORY_BYTES + 20;
    let mut unread = Vec::new();
    for _ in 0..watches {
        let mut watcher = store.watch(from(KeyRange::key("a"), 2));
        assert_eq!(told(&mut watcher).await, "created 1");
        assert!(told(&mut watcher).await.starts_with("2: "));
        unread.push(watcher);
    }
    let held = store.hub.buffered_bytes();
    assert!(
        (WATCHES_BYTES_MAX / 2..WATCHES_BYTES_MAX + HISTORY_BYTES).contains(&held),
        "{held} bytes are held"
    );
    let mut read = unread.pop().expect("one of them");
    for revision in 3..=last.expect("some were put") {
        assert!(told(&mut read).await.starts_with(&format!("{revision}: ")));
    }
    drop((unread, read));
    assert_eq!(store.hub.buffered_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_fell_behind_the_ring_reads_history() {
    let mut store = Store::new();
    let mut watcher = store.watch(Watch::new(KeyRange::key("a")));
    assert_eq!(told(&mut watcher).await, "created 1");
    tokio::time::timeout(Duration::from_millis(1), watcher.next()).await.expect_err("live, and silent");
    store.put("a", "1");
    let last = store.flood();
    let mut store = store.dispatching();
    assert_eq!(told(&mut watcher).await, "2: a=1");
    store.put("a", "2");
    assert_eq!(told(&mut watcher).await, format!("{}: a=2", last + 1));
}

#[tokio::test(start_paused = true)]
async fn watches_that_are_not_read_while_they_catch_up_hold_up_nobody() {
    let mut store = Store::new().dispatching();
    let mut live = store.watch(Watch::new(KeyRange::key("a")));
    assert_eq!(told(&mut live).await, "created 1");
    store.put("a", "1");
    store.flood();
    assert_eq!(told(&mut live).await, "2: a=1");
    assert_eq!(told(&mut live).await, "nothing");
    let mut unread: Vec<_> =
        (0..HISTORY_READS_MAX * 3).map(|_| store.watch(from(KeyRange::key("a"), 2))).collect();
    let mut open = Vec::new();
    for watcher in &mut unread {
        assert_eq!(told(watcher).await, "created 1");
        let mut next = Box::pin(watcher.next());
        assert!(futures::poll!(&mut next).is_pending(), "it reads history, or waits for its turn");
        open.push(next);
    }
    let mut read = store.watch(from(KeyRange::key("a"), 2));
    assert_eq!(told(&mut read).await, "created 1");
    assert_eq!(told(&mut read).await, "2: a=1", "another one catches up");
    let revision = store.put("a", "2");
    store.flood();
    assert_eq!(told(&mut live).await, format!("{revision}: a=2"), "the dispatcher reads history too");
    for next in open {
        assert!(matches!(next.await, Ok(Told::Events { revision: 2, .. })), "whoever reads again goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn compaction_of_what_is_still_to_be_told_is_told() {
    let mut store = Store::new();
    let mut behind = store.watch(Watch::new(KeyRange::key("a")));
    let mut ahead = store.watch(from(KeyRange::key("a"), RING_REVISIONS_MAX * 2));
    assert_eq!(told(&mut behind).await, "created 1");
    assert_eq!(told(&mut ahead).await, "created 1");
    for watcher in [&mut behind, &mut ahead] {
        tokio::time::timeout(Duration::from_millis(1), watcher.next()).await.expect_err("live, and silent");
    }
    let last = store.flood();
    store.compact(last);
    let mut store = store.dispatching();
    let error = format!("revision 2 is compacted: the oldest readable one is {last}");
    assert_eq!(told(&mut behind).await, error);
    store.flood();
    let revision = store.put("a", "2");
    assert!(revision >= RING_REVISIONS_MAX * 2);
    assert_eq!(told(&mut ahead).await, format!("{revision}: a=2"));
}

#[tokio::test(start_paused = true)]
async fn an_installed_snapshot_is_no_gap() {
    let mut store = Store::new().dispatching();
    let mut watcher = store.watch(Watch::new(KeyRange::all()));
    assert_eq!(told(&mut watcher).await, "created 1");
    store.put("a", "1");
    let mut other = Store::new();
    for (key, value) in [("a", "1"), ("a", "2"), ("b", "3")] {
        other.put(key, value);
    }
    let revision = other.machine.reader().position().revision;
    store.machine.replace(other.machine);
    store.hub.reset(revision);
    store.index = 3;
    for expected in ["2: a=1", "3: a=2", "4: b=3"] {
        assert_eq!(told(&mut watcher).await, expected);
    }
    store.put("c", "4");
    assert_eq!(told(&mut watcher).await, "5: c=4");
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_watches_is_named_and_the_end_of_the_hub_ends_them() {
    let store = Store::with_watches(1).dispatching();
    let mut watcher = store.watch(Watch::new(KeyRange::all()));
    let refused = store.hub.watch(Watch::new(KeyRange::all())).map(|_| ()).expect_err("one too many");
    assert!(matches!(&refused, Error::Overloaded { what, limit: 1, .. } if what == "limits.watches_max"));
    let hasty = Watch { progress_interval: Some(Duration::from_millis(99)), ..Watch::new(KeyRange::all()) };
    assert!(matches!(store.hub.watch(hasty), Err(Error::Invalid(_))));
    assert_eq!(told(&mut watcher).await, "created 1");
    let hub = store.hub.clone();
    let waits = tokio::spawn(async move { told(&mut watcher).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    hub.close(Error::ShuttingDown);
    assert_eq!(waits.await.expect("no panic"), "member is shutting down");
    assert!(matches!(store.hub.watch(Watch::new(KeyRange::all())), Err(Error::ShuttingDown)));
}

#[test]
fn a_key_finds_its_watches_and_no_others() {
    let store = Store::new();
    let mut index = index::Index::default();
    let ranges = [
        KeyRange::key("ab"),
        KeyRange::prefix("a"),
        KeyRange::prefix("ab"),
        KeyRange::all(),
        KeyRange::prefix(b"\xff".to_vec()),
        KeyRange::interval("aa", Some("ac".into())),
        KeyRange::interval("b", None),
    ];
    let seats: Vec<_> = ranges.iter().map(|keys| store.hub.seat_of(&Watch::new(keys.clone()))).collect();
    seats.iter().for_each(|seat| index.insert(seat.clone()));
    for key in [&b"a"[..], b"ab", b"abc", b"b", b"", b"\xff\xff", b"zz"] {
        let mut found: Vec<_> = index.matching(key).map(|seat| seat.id).collect();
        found.sort_unstable();
        let expected: Vec<_> =
            seats.iter().filter(|seat| seat.keys.contains(key)).map(|seat| seat.id).collect();
        assert_eq!(found, expected, "{key:?}");
    }
    seats.iter().for_each(|seat| index.remove(seat));
    assert!(index.is_empty());
}
