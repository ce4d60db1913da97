//! What a reader makes of a member's responses, and how a mailbox fills.

use super::{
    mailbox::{Lost, Mailbox},
    *,
};
use crate::types::KeyRange;

fn response(revision: Revision) -> v1::WatchResponse {
    let header = v1::Header { revision, ..v1::Header::default() };
    v1::WatchResponse { header: Some(header), ..v1::WatchResponse::default() }
}

fn created(revision: Revision) -> v1::WatchResponse {
    v1::WatchResponse { created: true, ..response(revision) }
}

fn progress(revision: Revision) -> v1::WatchResponse {
    v1::WatchResponse { progress: true, ..response(revision) }
}

fn events(revision: Revision, key: &str, fragment: bool) -> v1::WatchResponse {
    let kv = v1::KeyValue { key: key.to_owned().into(), mod_revision: revision, ..v1::KeyValue::default() };
    let events = vec![v1::Event { kv: Some(kv), ..v1::Event::default() }];
    v1::WatchResponse { events, fragment, ..response(revision) }
}

fn position(start_revision: Revision, interval: Option<Duration>) -> Position {
    Position::new(&Watch { start_revision, progress_interval: interval, ..Watch::new(KeyRange::all()) })
}

/// What is told, as text.
fn told(position: &mut Position, response: v1::WatchResponse) -> String {
    match position.take(response) {
        Ok(None) => "-".to_owned(),
        Ok(Some(WatchUpdate::Created(header))) => format!("created {}", header.revision),
        Ok(Some(WatchUpdate::Progress(header))) => format!("progress {}", header.revision),
        Ok(Some(WatchUpdate::Events { header, events })) => {
            let keys: Vec<_> = events.iter().map(|event| event.kv.key.escape_ascii().to_string()).collect();
            format!("{}: {}", header.revision, keys.join(" "))
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_watch_of_the_present_goes_on_behind_what_was_told() {
    let mut position = position(0, None);
    assert_eq!(told(&mut position, created(7)), "created 7");
    assert_eq!(position.next, 8);
    assert_eq!(told(&mut position, events(9, "a", false)), "9: a");
    assert_eq!(position.next, 10);
    assert_eq!(told(&mut position, progress(20)), "-", "nobody asked, but it counts");
    assert_eq!(position.next, 21);
    assert_eq!(told(&mut position, created(15)), "-", "another member, which is behind");
    assert_eq!(position.next, 21);
    assert_eq!(told(&mut position, events(20, "a", false)), "-", "never twice");
    assert_eq!(told(&mut position, events(21, "b", false)), "21: b");
}

#[test]
fn a_watch_of_the_past_begins_there_whatever_the_member_is_at() {
    let mut position = position(3, Some(Duration::from_secs(1)));
    assert_eq!(told(&mut position, created(2)), "created 2");
    assert_eq!(position.next, 3);
    assert_eq!(told(&mut position, events(3, "a", false)), "3: a");
    assert_eq!(told(&mut position, progress(3)), "progress 3");
    assert_eq!(told(&mut position, progress(2)), "-", "never back");
    assert_eq!(told(&mut position, progress(9)), "progress 9");
    assert_eq!(position.next, 10);
}

#[test]
fn a_revision_in_parts_is_told_as_one_or_asked_for_again() {
    let mut position = position(0, None);
    told(&mut position, created(1));
    assert_eq!(told(&mut position, events(2, "a", true)), "-");
    assert_eq!(position.next, 2, "it would be asked for again");
    assert_eq!(told(&mut position, events(2, "b", false)), "2: a b");
}

#[tokio::test]
async fn a_full_mailbox_takes_no_more_but_the_rest_of_a_revision() {
    let mailbox = Mailbox::default();
    let large = |fragment| {
        let kv = v1::KeyValue { value: vec![0; 800 << 10].into(), ..v1::KeyValue::default() };
        let events = vec![v1::Event { kv: Some(kv), ..v1::Event::default() }];
        v1::WatchResponse { events, fragment, ..response(2) }
    };
    assert!(mailbox.put(large(true)));
    assert!(mailbox.put(large(true)));
    assert!(mailbox.put(large(false)));
    assert!(!mailbox.put(large(false)), "the next revision finds no room");
    mailbox.close(Lost::Link(Error::ShuttingDown));
    for _ in 0..3 {
        mailbox.take().await.expect("what is there is read first");
    }
    assert!(matches!(mailbox.take().await, Err(Lost::TooSlow)));
}
