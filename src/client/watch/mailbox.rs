//! What has arrived for one watch and was not yet read. Bounded, so that one reader cannot hold up the
//! others.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use prost::Message;
use tokio::sync::Notify;

use crate::{
    error::Error,
    pb::{
        convert::{self, RequestKind, answer},
        v1,
    },
    types::{Header, WatchEvent},
};

/// Responses that wait. One more, and the watch is begun again when they are read.
const RESPONSES_MAX: usize = 256;

/// Bytes of responses that wait.
const BYTES_MAX: usize = 1 << 20;

/// Why nothing more comes.
#[derive(Clone, Debug)]
pub enum Lost {
    /// The mailbox was full.
    TooSlow,
    /// The link has ended.
    Link(Error),
    /// The member cancelled the watch.
    Refused(Error),
}

#[derive(Default)]
struct Content {
    waiting: VecDeque<(v1::WatchResponse, usize)>,
    bytes: usize,
    /// The last that came is not all of its revision: the rest must find room, or it would never be whole.
    partial: bool,
    lost: Option<Lost>,
}

/// The mailbox of one watch.
#[derive(Default)]
pub struct Mailbox {
    content: Mutex<Content>,
    changed: Notify,
}

impl Mailbox {
    /// Puts a response in. False if there is no room: nothing more may come then.
    pub fn put(&self, response: v1::WatchResponse) -> bool {
        let bytes = response.encoded_len();
        let mut content = self.content();
        let full = content.waiting.len() >= RESPONSES_MAX || content.bytes + bytes > BYTES_MAX;
        let room = !full || content.partial || content.waiting.is_empty();
        if room {
            content.partial = response.fragment;
            content.bytes += bytes;
            content.waiting.push_back((response, bytes));
        } else {
            content.lost = Some(Lost::TooSlow);
        }
        self.changed.notify_one();
        room
    }

    /// Nothing more comes.
    pub fn close(&self, why: Lost) {
        self.content().lost.get_or_insert(why);
        self.changed.notify_one();
    }

    /// The next response; behind the last, why nothing more comes.
    pub async fn take(&self) -> Result<v1::WatchResponse, Lost> {
        loop {
            {
                let mut content = self.content();
                if let Some((response, bytes)) = content.waiting.pop_front() {
                    content.bytes -= bytes;
                    return Ok(response);
                }
                if let Some(lost) = &content.lost {
                    return Err(lost.clone());
                }
            }
            self.changed.notified().await;
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What kind of response it is.
pub enum Kind {
    Created,
    Progress,
    Events,
}

/// A response, read.
pub struct Update {
    pub header: Header,
    pub kind: Kind,
    pub events: Vec<WatchEvent>,
    /// More events of this revision follow.
    pub more: bool,
}

impl Update {
    /// Reads a response.
    ///
    /// # Errors
    /// Why the watch was cancelled; `Protocol` for what makes no sense.
    pub fn read(response: v1::WatchResponse) -> Result<Update, Error> {
        if response.canceled {
            let end = || Error::Protocol("the watch was cancelled without a reason".into());
            let message = response.cancel_message;
            return Err(response.cancel.map_or_else(end, |d| convert::error::from_detail(d, &message)));
        }
        let kind = match (response.created, response.progress) {
            (true, _) => Kind::Created,
            (_, true) => Kind::Progress,
            _ => Kind::Events,
        };
        let read = || {
            let events = response.events.into_iter().map(WatchEvent::try_from);
            Ok(Update {
                header: answer::header(response.header)?,
                kind,
                events: events.collect::<Result<_, _>>()?,
                more: response.fragment,
            })
        };
        read().map_err(|error: Error| RequestKind::Read.unreadable(error.to_string()))
    }
}
