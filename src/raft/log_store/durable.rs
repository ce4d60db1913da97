//! Which entries are on this member's disk.
//!
//! An index alone cannot say it: entry 8 may be durable, be truncated, and be appended again (even with the
//! same term, when a leader brings back what another one had removed). So appends are numbered, the highest
//! durable *number* is what is published, and an entry is durable once the append that last wrote it is.

use std::{collections::VecDeque, io, sync::Arc};

use tokio::sync::watch;

use crate::log::Completion;

/// How far the disk has come.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// All appends up to this number are durable.
    synced: u64,
    failed: Option<(io::ErrorKind, Arc<str>)>,
}

/// The appends that may not be durable yet.
#[derive(Debug)]
pub(super) struct Unsynced {
    progress: watch::Sender<Progress>,
    /// The first index and the number of each, in order. As long as the log's own queue.
    appends: VecDeque<(u64, u64)>,
    /// The number of the last append.
    last: u64,
}

/// An append that an entry waits for.
pub(super) struct Wait {
    number: u64,
    progress: watch::Receiver<Progress>,
}

impl Unsynced {
    pub fn new() -> Self {
        let (progress, _) = watch::channel(Progress::default());
        Unsynced { progress, appends: VecDeque::new(), last: 0 }
    }

    /// Numbers an append that begins with entry `first`. What is returned must be called when it is durable
    /// (or never will be); it calls `then` after the progress is published.
    pub fn append(&mut self, first: u64, then: impl FnOnce(io::Result<()>) + Send + 'static) -> Completion {
        self.forget_synced();
        self.last += 1;
        let number = self.last;
        self.appends.push_back((first, number));
        let progress = self.progress.clone();
        Box::new(move |result| {
            progress.send_modify(|progress| match &result {
                Ok(()) => progress.synced = number,
                Err(error) => progress.failed = Some((error.kind(), error.to_string().into())),
            });
            then(result);
        })
    }

    /// Entries behind `last` are no longer in the log.
    pub fn truncate_after(&mut self, last: Option<u64>) {
        while self.appends.back().is_some_and(|(first, _)| Some(*first) > last) {
            self.appends.pop_back();
        }
    }

    /// What entry `index`, which is in the log, waits for; `None` if it is durable.
    pub fn wait_for(&mut self, index: u64) -> Option<Wait> {
        self.forget_synced();
        let number = self.appends.iter().rev().find(|(first, _)| *first <= index)?.1;
        Some(Wait { number, progress: self.progress.subscribe() })
    }

    fn forget_synced(&mut self) {
        let synced = self.progress.borrow().synced;
        while self.appends.front().is_some_and(|(_, number)| *number <= synced) {
            self.appends.pop_front();
        }
    }
}

impl Wait {
    /// Waits until the append is durable, or fails if it never will be.
    pub async fn done(mut self) -> io::Result<()> {
        let ended = |_| io::Error::other("the log ended before the entry was durable");
        let number = self.number;
        let settled = |progress: &Progress| progress.failed.is_some() || progress.synced >= number;
        let progress = self.progress.wait_for(settled).await.map_err(ended)?;
        match &progress.failed {
            Some((kind, text)) if progress.synced < number => Err(io::Error::new(*kind, text.to_string())),
            _ => Ok(()),
        }
    }
}
